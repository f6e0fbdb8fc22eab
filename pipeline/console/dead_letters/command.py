"""`faust -A pipeline dead-letters list|show|replay`: the commands; `work` reads, `view` shows, `replay` replays."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, ClassVar

import click
from faust.cli.base import argument, cli, option

from pipeline.console.command import DONE, FAILED, Subcommand, complain
from pipeline.console.dead_letters import replay as replaying
from pipeline.console.dead_letters.view import LetterFilter, json_of, line_of, moment_ms, page
from pipeline.console.dead_letters.work import DeadLetters
from pipeline.console.operator import operator
from pipeline.console.progress import ProgressReport
from pipeline.domain.dead_letter import DeadReason
from pipeline.domain.rules import is_touch_id
from pipeline.flow import TOUCHES
from pipeline.kafka.cluster import CommandFailed
from pipeline.kafka.topic import RecordPosition

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Collection

    from pipeline.console.command_context import CommandContext
    from pipeline.console.dead_letters.replay import Chosen
    from pipeline.console.dead_letters.view import ShownLetter


@cli.group("dead-letters")
def _dead_letters() -> None:
    """Show the records that could not become touches, and replay them.

    PLACE is the position of a dead letter in touches.dead-letters, as partition/offset; `list` shows it.

    \b
    Examples:
      faust -A pipeline dead-letters list --since 1h
      faust -A pipeline dead-letters show 3/17
      faust -A pipeline dead-letters replay --reason undecodable --since 1h
    """  # noqa: D301 - \b is click's


class _LettersCommand(Subcommand):
    """A command below `dead-letters`."""

    abstract: ClassVar[bool] = True
    group = _dead_letters

    def wanted(
        self, context: CommandContext, reasons: Collection[str], since: str | None, until: str | None
    ) -> LetterFilter:
        """Return the filter that the options describe. Raises UsageError."""
        now_ms = context.now_ms()

        def moment(name: str, text: str | None) -> int | None:
            try:
                return None if text is None else moment_ms(text, now_ms)
            except ValueError as error:
                raise click.UsageError(f"{name}: {error}", self.ctx) from None

        return LetterFilter(frozenset(map(DeadReason, reasons)), moment("--since", since), moment("--until", until))


class _Place(click.ParamType):
    name = "PLACE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> RecordPosition:
        """Return the position that `value` names."""
        partition, _, offset = str(value).partition("/")
        if not all(number.isascii() and number.isdigit() for number in (partition, offset)):
            self.fail(f"{value!r} is no place such as 3/17 (partition/offset)", param, ctx)
        return RecordPosition(int(partition), int(offset))


def _suffix(_ctx: click.Context, _param: click.Parameter, value: str | None) -> str | None:
    if value is not None and not is_touch_id(value):
        raise click.BadParameter(f"{value!r} cannot end a touch_id: A-Z a-z 0-9 . _ : - are allowed")
    return value


FILTERS: list[Any] = [
    option(
        "--reason",
        "reasons",
        multiple=True,
        type=click.Choice([str(each) for each in DeadReason]),
        help="Only letters with this reason; may be given again.",
    ),
    option("--since", metavar="WHEN", help='Only letters since then: "10m" (ago), or 2026-11-24T09:00:00Z.'),
    option("--until", metavar="WHEN", help="Only letters before then."),
]


class ListLetters(_LettersCommand):
    """Show a line per dead letter: time, place, reason, source as topic/partition/offset, touch_id or -, error.

    `faust -A pipeline --json dead-letters list` prints a JSON object per letter.

    \b
    Examples:
      faust -A pipeline dead-letters list
      faust -A pipeline dead-letters list --reason invalid --reason conflict --since 2h

    \b
    Exit codes:
      0  shown; interrupted
      1  Kafka cannot be reached
      2  wrong usage or configuration
    """  # noqa: D301

    verb = "list"
    interrupted = DONE
    options: list[Any] = FILTERS

    async def serve(
        self, context: CommandContext, reasons: tuple[str, ...], since: str | None, until: str | None
    ) -> int:
        """Show the lines."""
        wanted = self.wanted(context, reasons, since, until)
        form = json_of if self.json else line_of
        async with aclosing(DeadLetters(context.cluster, context.read_dead_letter, complain).all()) as letters:
            async for letter in letters:
                if letter in wanted:
                    click.echo(form(letter))
        return DONE


class ShowLetter(_LettersCommand):
    """Show one dead letter: reason, error, source, key, headers and value.

    The value is shown as JSON where it is JSON or an Avro Touch, else as text or as a dump of its bytes, always with
    escapes for what is not printable; --raw writes the bytes themselves to standard output. `faust -A pipeline --json
    dead-letters show PLACE` prints a JSON object, bytes as base64.

    \b
    Examples:
      faust -A pipeline dead-letters show 3/17
      faust -A pipeline dead-letters show --raw 3/17 > value

    \b
    Exit codes:
      0  shown
      1  there is no letter at PLACE; with --raw, its value is null; Kafka cannot be reached
      2  wrong usage or configuration
    """  # noqa: D301

    verb = "show"
    options: list[Any] = [  # noqa: RUF012 - faust reads it off the class
        argument("position", type=_Place(), metavar="PLACE"),
        option("--raw", "is_raw", is_flag=True, help="Write only the bytes of the value."),
    ]

    async def serve(self, context: CommandContext, position: RecordPosition, *, is_raw: bool) -> int:
        """Show the letter."""
        async with aclosing(DeadLetters(context.cluster, context.read_dead_letter, complain).at([position])) as found:
            letter = await anext(found, None)
        if letter is None:
            raise CommandFailed(f"there is no dead letter at {position}")
        if is_raw and letter.dead.value is None:
            raise CommandFailed(f"the value of {position} is null")
        if is_raw:
            click.echo(letter.dead.value, nl=False)
        elif self.json:
            click.echo(json_of(letter, whole=True))
        else:
            for line in page(letter, context.read_touch):
                click.echo(line)
        return DONE


class ReplayLetters(_LettersCommand):
    """Produce dead letters again to touches: key, value and headers as they were, to the partition they came from.

    The header pipeline-replay-of names the dead letter. Choose letters by PLACE, by filters, or with --all. Replaying
    is safe while touches are remembered (dedup_for): an accepted touch is not sent twice, and a record that is still
    wrong becomes a new dead letter. Dead letters are kept longer than that: exclude older ones with --since.

    A touch that was refused as invalid has ended as failed. While its touch_id is remembered (dedup_for), it is
    refused as a conflict even after it has been corrected. --new-id SUFFIX sends it as a new touch whose touch_id
    ends with SUFFIX.

    \b
    Examples:
      faust -A pipeline dead-letters replay 3/17
      faust -A pipeline dead-letters replay --reason undecodable --since 1h --dry-run
      faust -A pipeline dead-letters replay --reason invalid --since 1h --new-id .again

    \b
    Exit codes:
      0  every chosen letter is in Kafka
      1  a letter was refused or does not exist, Kafka refused one, or the command was interrupted
      2  wrong usage or configuration
    """  # noqa: D301

    verb = "replay"
    options: list[Any] = [  # noqa: RUF012 - faust reads it off the class
        argument("positions", type=_Place(), nargs=-1, metavar="[PLACE]..."),
        *FILTERS,
        option("--all", "is_all", is_flag=True, help="All letters."),
        option(
            "--new-id",
            default=None,
            callback=_suffix,
            metavar="SUFFIX",
            help="Replay as new touches: append SUFFIX to each touch_id.",
        ),
        option("--dry-run", "is_dry", is_flag=True, help="Print how many would be replayed; produce nothing."),
    ]

    async def serve(
        self,
        context: CommandContext,
        positions: tuple[RecordPosition, ...],
        *,
        reasons: tuple[str, ...],
        since: str | None,
        until: str | None,
        is_all: bool,
        new_id: str | None,
        is_dry: bool,
    ) -> int:
        """Choose the letters, and replay them."""
        if sum(map(bool, (positions, reasons or since or until, is_all))) != 1:
            raise click.UsageError("choose by PLACE, or by --reason, --since, --until, or --all", self.ctx)
        letters = DeadLetters(context.cluster, context.read_dead_letter, complain)
        wanted = self.wanted(context, reasons, since, until)
        chosen = await replaying.choose(letters.at(positions) if positions else letters.all(), wanted)
        missing = set(positions) - chosen.seen
        for position in sorted(missing):
            complain(f"there is no dead letter at {position}; skipped")
        if chosen.taken and new_id is None:
            complain(TAKEN.format(taken=len(chosen.taken), letters=len(chosen.letters)))
        again = letters.at(chosen.letters) if positions else letters.all(only=chosen.letters)
        refused = await (_rehearse if is_dry else _replay)(context, chosen, again, new_id)
        return FAILED if missing or refused else DONE


TAKEN = (
    "{taken:,} of {letters:,} have a touch_id whose story is told already: it ended failed/invalid, or is another touch's. "
    "While it is remembered (dedup_for) they come back as dead letters, even mended; --new-id sends them as other touches"
)


async def _replay(
    context: CommandContext, chosen: Chosen, letters: AsyncGenerator[ShownLetter, None], new_id: str | None
) -> int:
    """Replay, and return how many were refused."""
    total, refused = len(chosen.letters), []
    with ProgressReport(
        f"of {total:,} letters replayed", lambda: counting.count / total if total else None
    ) as counting:

        def refuse(position: str, why: str) -> None:
            refused.append(position)
            counting.say(f"{position}: {why}; skipped")

        try:
            done = await replaying.replay(context, letters, operator(), new_id=new_id, refuse=refuse, progress=counting)
        except asyncio.CancelledError:
            counting.say(f"interrupted; {counting.count:,} letters are replayed; replay again, repeats are dropped")
            raise
    click.echo(f"{len(done):,} letters replayed to {context.cluster.topic_name(TOUCHES)}{_rest(chosen, refused)}")
    return len(refused)


async def _rehearse(
    context: CommandContext, chosen: Chosen, letters: AsyncGenerator[ShownLetter, None], new_id: str | None
) -> int:
    """Print what would be replayed, and return how many would be refused."""
    refused: list[str] = []

    def refuse(position: str, why: str) -> None:
        refused.append(position)
        complain(f"{position}: {why}; would be skipped")

    count = await replaying.rehearse(context.cluster, letters, new_id=new_id, refuse=refuse)
    click.echo(f"{count:,} letters would be replayed to {context.cluster.topic_name(TOUCHES)}{_rest(chosen, refused)}")
    return len(refused)


def _rest(chosen: Chosen, refused: list[str]) -> str:
    skipped = f"; {len(refused):,} skipped" if refused else ""
    return skipped + (f"; {len(chosen.left_out):,} left out, they are back as newer letters" if chosen.left_out else "")
