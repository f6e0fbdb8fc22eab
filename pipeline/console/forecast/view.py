"""Shows a forecast: tables, a picture and notes, or one JSON object."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import orjson
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipeline.console.order.view import named_line
from pipeline.console.printing import json_escaped
from pipeline.console.status.view import printable
from pipeline.domain.story import TERMINAL, State
from pipeline.forecast import per_bucket
from pipeline.forecast.picture import bucket_of, lane_name, picture

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import TextIO

    from pipeline.domain.order import Order
    from pipeline.forecast import CampaignOutlook, Forecast, LaneOutlook
    from pipeline.forecast.outlook import Ending

WIDE = 160
"""Width in columns when the terminal's is unknown."""
_UNITS = (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1))


def show(forecast: Forecast, out: TextIO, pauses: Sequence[Order] = ()) -> None:
    """Write tables, picture and notes to `out`; `pauses` are those that are not over."""
    console = Console(file=out, width=None if out.isatty() else WIDE, highlight=False, markup=False)
    if forecast.left:
        _print(console, _lanes(forecast), _campaigns(forecast))
        for line in [*picture(forecast), ""]:
            console.print(line, soft_wrap=True)
    for line in [*notes(forecast), *holds(forecast, pauses)]:
        console.print(line, soft_wrap=True)


def notes(forecast: Forecast) -> Iterator[str]:
    """Yield what else must be known, a line each."""
    if not forecast.left:
        yield "no backlog: nothing waits in a lane, nothing is deferred"
    if forecast.not_accepted:
        yield f"not yet accepted: {forecast.not_accepted:,} records of touches; they are not in the forecast"
    for lane in forecast.lanes:
        if lane.outage is not None:
            yield f"{lane_name(lane)} is held by outage ({printable(lane.outage)}): assumed to be at work again at its next probe"
    assumed = [lane for lane in forecast.lanes if not lane.is_measured]
    if assumed:
        names = ", ".join(f"{lane_name(lane)} {lane.latency_ms} ms" for lane in assumed)
        yield f"duration of a call, assumed: {names}"


def holds(forecast: Forecast, pauses: Sequence[Order]) -> Iterator[str]:
    """Yield which pauses hold which lanes, and which park touches: the forecast is made as if there were none."""
    for lane in forecast.lanes:
        for order in _holding(lane, pauses):
            yield f"{lane_name(lane)} is held by {named_line(order)}; the forecast leaves that out"
    for order in pauses:
        if not order.target.holds_lane:
            yield f"touches may be held by {named_line(order)}; the forecast leaves that out"


def _holding(lane: LaneOutlook, pauses: Sequence[Order]) -> list[Order]:
    return [
        order for order in pauses if order.target.holds_lane and order.target.has_lane(lane.channel, lane.sender or "")
    ]


def _lanes(forecast: Forecast) -> Table:
    table = _table(
        "channel", "sender", ">waiting", ">deferred", ">expire", ">fail", "done at", "in", "held back most by"
    )
    for lane in forecast.lanes:
        _row(
            table,
            lane.channel.value,
            lane.sender or f"lane {lane.lane}: none",
            f"{lane.waiting:,}",
            f"{lane.deferred:,}",
            *_endings(lane),
            *_done(forecast, lane),
            lane.held_by or "-",
        )
    return table


def _campaigns(forecast: Forecast) -> Table:
    table = _table("campaign", "channels", ">left", ">deferred", ">expire", ">fail", "done at", "in")
    for campaign in forecast.campaigns:
        _row(
            table,
            campaign.name,
            _channels(campaign),
            f"{campaign.left:,}",
            f"{campaign.deferred:,}",
            *_endings(campaign),
            *_done(forecast, campaign),
        )
    return table


def _channels(campaign: CampaignOutlook) -> str:
    return ", ".join(sorted(channel.value for channel in campaign.channels))


def _endings(ending: Ending) -> tuple[str, str]:
    others = sum(count for state, count in ending.ends.items() if state not in (State.SENT, State.EXPIRED))
    return f"{ending.ends[State.EXPIRED]:,}", f"{others:,}"


def _done(forecast: Forecast, ending: Ending) -> tuple[str, str]:
    if ending.done_ms is None:
        return f"after {instant(forecast.until_ms)}", "-"
    return instant(ending.done_ms), duration(ending.done_ms - forecast.now_ms)


def _table(*names: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in names:
        table.add_column(name.removeprefix(">"), justify="right" if name.startswith(">") else "left", overflow="fold")
    return table


def _row(table: Table, *cells: str) -> None:
    table.add_row(*(Text(printable(cell)) for cell in cells))


def _print(console: Console, *tables: Table) -> None:
    for table in tables:
        console.print(table)


def instant(at_ms: int) -> str:
    """Return an instant in UTC, ISO 8601, to the second."""
    return f"{datetime.fromtimestamp(at_ms / 1000, UTC):%Y-%m-%dT%H:%M:%SZ}"


def duration(for_ms: int) -> str:
    """Return a duration in its two largest units: 3h 20m."""
    left_s = max(round(for_ms / 1000), 0)
    counts: list[tuple[str, int]] = []
    for unit, unit_s in _UNITS:
        count, left_s = divmod(left_s, unit_s)
        counts.append((unit, count))
    first = next((at for at, (_, count) in enumerate(counts) if count), len(counts) - 1)
    said = [f"{count}{unit}" for unit, count in counts[first : first + 2] if count]
    return " ".join(said) or "0s"


def json_of(forecast: Forecast, pauses: Sequence[Order] = ()) -> str:
    """Return the forecast as one line of JSON; `pauses` are those that are not over."""
    start_ms, length_ms, columns = bucket_of(forecast)

    def said(ending: Ending) -> dict[str, Any]:
        return {
            "left": ending.left,
            "deferred": ending.deferred,
            **{state.value: ending.ends[state] for state in State if state in TERMINAL},
            "done_at": None if ending.done_ms is None else instant(ending.done_ms),
            "sent_per_bucket": per_bucket(ending.sent_ms, start_ms, length_ms, columns),
        }

    found = orjson.dumps(
        {
            "now": instant(forecast.now_ms),
            "until": instant(forecast.until_ms),
            "not_accepted": forecast.not_accepted,
            "buckets": {"start": instant(start_ms), "seconds": length_ms // 1000, "count": columns},
            "lanes": [{**_lane(lane, pauses), **said(lane)} for lane in forecast.lanes],
            "campaigns": [
                {"campaign_id": each.name, "channels": sorted(each.channels), **said(each)}
                for each in forecast.campaigns
            ],
        }
    )
    return json_escaped(found.decode())


def _lane(lane: LaneOutlook, pauses: Sequence[Order]) -> dict[str, Any]:
    return {
        "channel": lane.channel,
        "lane": lane.lane,
        "sender": lane.sender,
        "waiting": lane.waiting,
        "held_by": lane.held_by,
        "outage": lane.outage,
        "orders": [order.key for order in _holding(lane, pauses)],
        "call_ms": lane.latency_ms,
        "call_ms_is_measured": lane.is_measured,
    }
