"""`faust -A pipeline unconfirmed list|resolve`: thin shells; what they do is in the module beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import click
import orjson
from faust.cli.base import argument, cli, option

from pipeline.console import unconfirmed
from pipeline.console.place import Failed
from pipeline.console.report import Counting
from pipeline.console.shell import DONE, FAILED, Verb, complain
from pipeline.console.story import printable, time_of
from pipeline.console.unconfirmed import Case, outcome_text
from pipeline.domain.unconfirmed import Found

if TYPE_CHECKING:
    from pipeline.console.desk import Desk


@cli.group("unconfirmed")
def _unconfirmed() -> None:
    """Find out about touches of which nobody could tell whether they were sent.

    \b
    Examples:
      faust -A pipeline unconfirmed list
      faust -A pipeline unconfirmed resolve --ask-provider t-1001
      faust -A pipeline unconfirmed resolve --not-sent t-1001
    """  # noqa: D301 - \b is click's


class _Verb(Verb):
    """A command below `unconfirmed`."""

    abstract: ClassVar[bool] = True
    group = _unconfirmed


class ListUnconfirmed(_Verb):
    """Show a line per unconfirmed touch that is still open: time, touch_id, channel, sender, address, error.

    `faust -A pipeline --json unconfirmed list` prints a JSON object per touch.

    \b
    Exit codes:
      0  shown; interrupted
      1  Kafka is away
      2  wrong usage or configuration
    """  # noqa: D301

    verb = "list"
    interrupted = DONE
    options: list[Any] = [  # noqa: RUF012 - faust reads it off the class
        option("--all", "is_all", is_flag=True, help="Also those that are resolved, and how."),
    ]

    async def serve(self, desk: Desk, *, is_all: bool) -> int:
        """Show the lines."""
        for case in (await unconfirmed.read_cases(desk.place, complain)).values():
            if is_all or case.said.found is None:
                click.echo(_json_of(case) if self.json else _line_of(case))
        return DONE


def _line_of(case: Case) -> str:
    said, work = case.said, case.said.work
    words = [time_of(said.occurred_at_ms), work.touch_id, work.channel.value, work.sender, printable(work.to), outcome_text(said)]
    return " ".join([*words, printable(said.error or "")]).rstrip()


def _json_of(case: Case) -> str:
    said, work = case.said, case.said.work
    members = {
        "touch_id": work.touch_id, "campaign_id": work.campaign_id, "lead_id": work.lead_id, "channel": work.channel.value,
        "sender": work.sender, "to": work.to, "occurred_at": said.occurred_at_ms, "claimed_at": said.claim.claimed_ms,
        "error": said.error, "resolution": said.found, "resolved_at": said.found_at_ms,
        "provider_message_id": said.message_id, "resent_as": said.resent_as,
    }  # fmt: skip
    return orjson.dumps({name: value for name, value in members.items() if value is not None}).decode()


class ResolveUnconfirmed(_Verb):
    """Write down what became of an unconfirmed touch; send it again if it was not sent.

    The touch's story in touches.status has ended and stays as it is. --sent: somebody saw that it was sent. --not-sent:
    somebody saw that it was not; it is produced again as another touch, TOUCH_ID:again (doing it twice sends it once).
    --ask-provider: Twilio and WAHA are asked now, and a message that is found is written down as --sent would.

    \b
    Examples:
      faust -A pipeline unconfirmed resolve --ask-provider t-1001
      faust -A pipeline unconfirmed resolve --sent --id SM0123456789abcdef t-1001
      faust -A pipeline unconfirmed resolve --not-sent t-1001

    \b
    Exit codes:
      0  resolved, now or before
      1  it is still open, or resolved otherwise before; no such touch; Kafka is away
      2  wrong usage or configuration
    """  # noqa: D301

    verb = "resolve"
    options: list[Any] = [  # noqa: RUF012 - faust reads it off the class
        argument("touch_id"),
        option("--sent", "is_sent", is_flag=True, help="It was sent."),
        option("--id", "message_id", default=None, metavar="MESSAGE_ID", help="The provider's id of the message (with --sent)."),
        option("--not-sent", "is_not_sent", is_flag=True, help="It was not sent: send it again, as another touch."),
        option("--ask-provider", "is_to_ask", is_flag=True, help="Ask the provider now."),
        option("--force", "is_forced", is_flag=True, help="Even if it is resolved otherwise."),
    ]

    async def serve(
        self, desk: Desk, touch_id: str, *, is_sent: bool, message_id: str | None, is_not_sent: bool, is_to_ask: bool,
        is_forced: bool,
    ) -> int:
        """Resolve it."""
        if is_sent + is_not_sent + is_to_ask != 1:
            raise click.UsageError("one of --sent, --not-sent, --ask-provider is needed", self.ctx)
        if message_id is not None and not is_sent:
            raise click.UsageError("--id goes with --sent", self.ctx)
        case = (await unconfirmed.read_cases(desk.place, complain)).get(touch_id)
        if case is None:
            raise Failed(f"{touch_id} is not among the unconfirmed touches; `unconfirmed list --all` shows them")
        if is_to_ask:
            return await _ask(desk, case)
        found = Found.SENT if is_sent else Found.NOT_SENT
        if case.said.found is not None and case.said.found is not found and not is_forced:
            raise Failed(f"{touch_id} is resolved as {outcome_text(case.said)}; --force overrides it")
        return await (_sent(desk, case, message_id) if is_sent else _not_sent(desk, case))


async def _sent(desk: Desk, case: Case, message_id: str | None) -> int:
    case = unconfirmed.resolved(case, Found.SENT, desk.now_ms(), message_id=message_id or case.said.message_id)
    await unconfirmed.record(desk.place, case)
    click.echo(f"{case.said.work.touch_id} is resolved: {outcome_text(case.said)}")
    return DONE


async def _not_sent(desk: Desk, case: Case) -> int:
    work = case.said.work
    # First the touch, then the record: whoever is interrupted in between does it again, and the router drops the repeat.
    again = await unconfirmed.send_again(desk.place, work)
    await unconfirmed.record(desk.place, unconfirmed.resolved(case, Found.NOT_SENT, desk.now_ms(), resent_as=again))
    expires = "" if work.expires_at_ms is None or work.expires_at_ms > desk.now_ms() else "; its expires_at is over, it will end expired"
    click.echo(f"{work.touch_id} is sent again as {again}{expires}; `faust -A pipeline status --follow {again}` tells its story")
    return DONE


async def _ask(desk: Desk, case: Case) -> int:
    work = case.said.work
    sender = desk.sender(work.channel, work.sender)
    if sender is None:
        raise Failed(f"sender {work.sender!r} of {work.channel.value} is not configured here: nobody can ask for it")
    known_ids: frozenset[str] = frozenset()
    if not sender.replays:
        with Counting("sent statuses read", lambda: None) as counting:
            known_ids = await unconfirmed.read_ids(desk.place, desk.read_status, work.sender, counting)
    answer = await unconfirmed.ask(sender, case, known_ids)
    if answer is Found.NOT_SENT:
        complain(f"{work.touch_id}: the provider does not have it; `unconfirmed resolve --not-sent {work.touch_id}` sends it again")
        return FAILED
    return await _sent(desk, case, None if isinstance(answer, Found) else answer)
