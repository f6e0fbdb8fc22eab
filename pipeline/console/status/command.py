"""`faust -A pipeline status`: the command; `work` reads, `view` shows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
from faust.cli.base import argument, option

from pipeline.console.command import DONE, FAILED, Command, complain
from pipeline.console.status import work
from pipeline.console.status.view import COLOURS, json_of, line_of
from pipeline.settings.kinds import duration_ms

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline.console.command_context import CommandContext


def _timeout(_ctx: click.Context, _param: click.Parameter, value: str | None) -> float | None:
    if value is None:
        return None
    try:
        return duration_ms(value) / 1000
    except ValueError:
        raise click.BadParameter(f'{value!r} is no duration such as "250ms", "30s" or "10m"') from None


class status(Command):  # noqa: N801
    """Show status records, one line each: time, touch_id, state, reason, and details.

    Without --follow it shows the records that exist now. With --follow it also shows new ones: with a TOUCH_ID until
    that touch has ended, otherwise until --timeout or Ctrl-C. `faust -A pipeline --json status` prints one JSON object
    per record.

    \b
    Examples:
      faust -A pipeline status
      faust -A pipeline status t-1001
      faust -A pipeline status --follow --timeout 30s t-1001

    \b
    Exit codes:
      0  shown; interrupted; with --follow TOUCH_ID: the touch has reached a terminal state
      1  the TOUCH_ID has no record, or has not ended in time; Kafka cannot be reached
      2  wrong usage or configuration
    """  # noqa: D301 - \b is click's

    interrupted = DONE
    options: list[Any] = [  # noqa: RUF012 - faust reads it off the class
        argument("touch_id", required=False),
        option("--follow", "-f", is_flag=True, help="Keep showing new records."),
        option(
            "--timeout",
            "timeout_s",
            default=None,
            callback=_timeout,
            metavar="DURATION",
            help="Stop after this time (with --follow).",
        ),
    ]

    async def serve(
        self, context: CommandContext, touch_id: str | None, *, follow: bool, timeout_s: float | None
    ) -> int:
        """Show the records."""
        if timeout_s is not None and not follow:
            raise click.UsageError("--timeout goes with --follow", self.ctx)
        form = json_of if self.json else line_of

        def show(told: Mapping[str, Any]) -> None:
            line = form(told)
            click.secho(line, fg=None if self.json else COLOURS.get(told["state"]))

        seen = await work.status(
            context.cluster,
            context.read_status,
            show=show,
            complain=complain,
            touch_id=touch_id,
            follow=follow,
            timeout_s=timeout_s,
        )
        if touch_id is None or (seen.records and (seen.ended or not follow)):
            return DONE
        complain(f"{touch_id} has not ended in time" if seen.records else f"{touch_id} has no status record")
        return FAILED
