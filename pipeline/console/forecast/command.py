"""`faust -A pipeline forecast`: the command; `backlog` reads, `pipeline.forecast` decides, `view` shows."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Any

import click
from faust.cli.base import option

from pipeline.console.command import DONE, Command, complain
from pipeline.console.forecast import view as forecast_view
from pipeline.console.forecast.backlog import read_backlog
from pipeline.console.order.work import present_pauses
from pipeline.console.progress import ProgressReport
from pipeline.domain.work import Channel
from pipeline.forecast import AT_MOST_MS, Rehearsal
from pipeline.settings.kinds import duration_ms

if TYPE_CHECKING:
    from pipeline.console.command_context import CommandContext
    from pipeline.forecast import Backlog, Forecast


def _duration(_ctx: click.Context, _param: click.Parameter, value: str | None) -> int | None:
    if value is None:
        return None
    try:
        return duration_ms(value)
    except ValueError:
        raise click.BadParameter(f'{value!r} is no duration such as "500ms", "12h" or "30d"') from None


class forecast(Command):  # noqa: N801 - faust names the command after the class
    """Forecast when each lane and each campaign will be done, from backlog, limits, windows, caps and priorities.

    It only reads. It applies the lanes' own rules, ahead of time, to the touches that wait now, and assumes that
    nothing new is produced, that every call succeeds, and that a lane whose breaker is open continues when its next
    call is due. It prints a table of lanes, a table of campaigns, and a picture over time in which closed windows are
    empty. `faust -A pipeline --json forecast` prints one JSON object.

    \b
    Examples:
      faust -A pipeline forecast
      faust -A pipeline forecast --channel sms --at-most 7d
      faust -A pipeline --json forecast | jq '.campaigns[] | {campaign_id, done_at}'

    \b
    Exit codes:
      0  shown, also if there is no backlog
      1  Kafka cannot be reached, a topic is missing, or the command was interrupted
      2  wrong usage or configuration
    """  # noqa: D301 - \b is click's

    options: list[Any] = [  # noqa: RUF012 - faust reads it off the class
        option(
            "--channel",
            type=click.Choice([channel.value for channel in Channel]),
            default=None,
            help="Only this channel.",
        ),
        option(
            "--at-most",
            "at_most_ms",
            default=None,
            callback=_duration,
            metavar="DURATION",
            help="How far ahead to look; by default a year.",
        ),
        option(
            "--call-takes",
            "latency_ms",
            default=None,
            callback=_duration,
            metavar="DURATION",
            help="How long a call takes; by default as long as each lane's latest calls took, else 200ms.",
        ),
    ]

    async def serve(
        self, context: CommandContext, channel: str | None, at_most_ms: int | None, latency_ms: int | None
    ) -> int:
        """Compute and show the forecast."""
        channels = list(Channel) if channel is None else [Channel(channel)]
        backlog = await _read(context, channels)
        foreseen = await _foresee(context, backlog, AT_MOST_MS if at_most_ms is None else at_most_ms, latency_ms)
        held = await present_pauses(context)
        if self.json:
            click.echo(forecast_view.json_of(foreseen, held))
        else:
            forecast_view.show(foreseen, sys.stdout, held)
        return DONE


async def _read(context: CommandContext, channels: list[Channel]) -> Backlog:
    with ProgressReport("records read", lambda: None) as counting:
        return await read_backlog(context.cluster, channels, progress=counting, complain=complain)


async def _foresee(context: CommandContext, backlog: Backlog, at_most_ms: int, latency_ms: int | None) -> Forecast:
    rehearsal = Rehearsal(backlog, context.policies, context.now_ms(), at_most_ms=at_most_ms, latency_ms=latency_ms)
    with ProgressReport("touches foreseen", lambda: rehearsal.ended / (rehearsal.left or 1)) as counting:
        for ended in rehearsal.run():
            counting(ended)
            await asyncio.sleep(0)  # lets Ctrl-C interrupt
    return rehearsal.forecast()
