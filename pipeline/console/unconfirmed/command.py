"""`faust -A pipeline unconfirmed list|resolve`: the commands; `work` reads, asks and records, `view` shows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import click
from faust.cli.base import argument, cli, option

from pipeline.console.command import DONE, Subcommand, complain
from pipeline.console.operator import operator
from pipeline.console.progress import ProgressReport
from pipeline.console.status.view import time_of
from pipeline.console.unconfirmed.view import json_of, line_of, told
from pipeline.console.unconfirmed.work import OperatorAnswer, ask, named, record, resolved, unconfirmed
from pipeline.domain.unconfirmed import Resolved

if TYPE_CHECKING:
    from pipeline.console.command_context import CommandContext
    from pipeline.domain.unconfirmed import Unconfirmed


ABSENT = (
    "the provider has no such message; nothing is recorded. If it was not sent, send it again with: "
    "faust -A pipeline unconfirmed resolve --not-sent {touch_id}"
)


@cli.group("unconfirmed")
def _unconfirmed() -> None:
    """Show touches that may or may not have been sent, and record what became of them.

    Their terminal status is `unconfirmed` and stays so; what is found out later is recorded in touches.unconfirmed.

    \b
    Examples:
      faust -A pipeline unconfirmed list
      faust -A pipeline unconfirmed resolve --ask-provider t-1001
      faust -A pipeline unconfirmed resolve --not-sent t-1001
    """  # noqa: D301 - \b is click's


class _UnconfirmedCommand(Subcommand):
    abstract: ClassVar[bool] = True
    group = _unconfirmed


class ListUnconfirmed(_UnconfirmedCommand):
    """Show a line per unresolved touch: time, touch_id, channel, sender, to, error. With --all also those resolved, and how.

    `faust -A pipeline --json unconfirmed list` prints a JSON object per touch.

    \b
    Examples:
      faust -A pipeline unconfirmed list
      faust -A pipeline --json unconfirmed list --all

    \b
    Exit codes:
      0  shown
      1  Kafka cannot be reached
      2  wrong usage or configuration
    """  # noqa: D301

    verb = "list"
    options: list[Any] = [option("--all", "is_all", is_flag=True, help="Also show resolved touches.")]  # noqa: RUF012 - faust reads it off the class

    async def serve(self, context: CommandContext, *, is_all: bool) -> int:
        """Show the lines."""
        form = json_of if self.json else line_of
        for left in (await unconfirmed(context.cluster, complain)).values():
            if is_all or left.resolution is None:
                click.echo(form(left))
        return DONE


class ResolveUnconfirmed(_UnconfirmedCommand):
    """Record what became of a touch that ended unconfirmed.

    --ask-provider looks the touch up now and sends nothing. If it is found, it is recorded as sent; if not, nothing is
    recorded. Resend cannot be asked without the risk of sending: look at its dashboard. --not-sent sends the same text
    to the same person as a new touch: t-1 becomes t-1:again, with statuses of its own. Doing this twice sends it once.

    \b
    Examples:
      faust -A pipeline unconfirmed resolve --ask-provider t-1001
      faust -A pipeline unconfirmed resolve --sent --id SM0123456789abcdef0123456789abcdef t-1001
      faust -A pipeline unconfirmed resolve --not-sent t-1001

    \b
    Exit codes:
      0  recorded, or recorded so before; with --ask-provider: the provider has answered
      1  TOUCH_ID is not unconfirmed, or is recorded otherwise; the provider cannot tell; Kafka cannot be reached
      2  wrong usage or configuration
    """  # noqa: D301

    verb = "resolve"
    options: list[Any] = [  # noqa: RUF012
        argument("touch_id"),
        option("--sent", "is_sent", is_flag=True, help="It was sent."),
        option("--not-sent", "is_not_sent", is_flag=True, help="It was not sent: send it again, as another touch."),
        option("--ask-provider", "is_asked", is_flag=True, help="Look it up at the provider now."),
        option(
            "--id", "message_id", metavar="PROVIDER_MESSAGE_ID", help="The provider's id of the message (with --sent)."
        ),
        option("--force", "is_forced", is_flag=True, help="Record it even if something else was recorded before."),
    ]

    async def serve(
        self,
        context: CommandContext,
        touch_id: str,
        *,
        is_sent: bool,
        is_not_sent: bool,
        is_asked: bool,
        message_id: str | None,
        is_forced: bool,
    ) -> int:
        """Record it."""
        if is_sent + is_not_sent + is_asked != 1:
            raise click.UsageError("one of --sent, --not-sent and --ask-provider is needed", self.ctx)
        if message_id is not None and not (is_sent and message_id.strip()):
            raise click.UsageError("--id goes with --sent", self.ctx)
        if is_asked:
            answer = await self._asked(context, touch_id, is_forced=is_forced)
        else:
            answer = OperatorAnswer(Resolved.SENT if is_sent else Resolved.NOT_SENT, message_id, overrules=is_forced)
        if answer is not None:
            await self._record(context, touch_id, answer)
        return DONE

    async def _asked(self, context: CommandContext, touch_id: str, *, is_forced: bool) -> OperatorAnswer | None:
        """Return what the provider says, None if it has no such message."""
        found = await unconfirmed(context.cluster, complain)
        left = named(found, touch_id)
        known = OperatorAnswer(Resolved.SENT, left.provider_message_id, overrules=is_forced)
        # What is recorded otherwise is refused before anybody is asked; what is known to the last needs no asking.
        if resolved(left, known, 0) is None and left.provider_message_id is not None:
            return known
        with ProgressReport("statuses read, for the message ids of other touches", lambda: None) as counting:
            message = await ask(context, found, left, complain, counting)
        if message is None:
            click.echo(ABSENT.format(touch_id=touch_id), err=self.json)
            return None
        return OperatorAnswer(Resolved.SENT, message.message_ids[0], overrules=is_forced)

    async def _record(self, context: CommandContext, touch_id: str, answer: OperatorAnswer) -> None:
        now_ms = context.now_ms()
        left, is_new = await record(context, touch_id, answer, operator(), complain)
        if self.json:
            click.echo(json_of(left))
            return
        click.echo(told(left) if is_new else f"{told(left)} since {time_of(left.resolved_at_ms)}")
        for line in _what_follows(left, now_ms):
            click.echo(line)


def _what_follows(left: Unconfirmed, now_ms: int) -> list[str]:
    if left.resent_as is None:
        return []
    if left.resolution is Resolved.SENT:
        return [f"it was produced again as {left.resent_as} before, which cannot be taken back"]
    expires_ms = left.work.expires_at_ms
    is_late = expires_ms is not None and expires_ms <= now_ms
    end = [f"its time was over at {time_of(expires_ms)}: it will end `expired`, and not be sent"] if is_late else []
    return [
        f"it is produced again as {left.resent_as}; follow it with: faust -A pipeline status --follow {left.resent_as}",
        *end,
    ]
