"""The forecast as a bar chart over time: a row per lane, a column per period, a bar for the messages sent in it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from pipeline.domain.limit import duration_text
from pipeline.forecast.outlook import Forecast, LaneOutlook, per_bucket

COLUMNS = 60
BLOCKS = "▁▂▃▄▅▆▇█"
TICK_EVERY = 12
"""Columns between two labels of the axis."""
_SECOND, _MINUTE, _HOUR, _DAY = 1_000, 60_000, 3_600_000, 86_400_000
ROUND_MS = [
    *(n * _SECOND for n in (1, 2, 5, 10, 15, 30)),
    *(n * _MINUTE for n in (1, 2, 5, 10, 15, 30)),
    *(n * _HOUR for n in (1, 2, 3, 6, 12)),
    *(n * _DAY for n in (1, 2, 7, 28)),
]
"""Lengths that the period of a column may have."""


def lane_name(lane: LaneOutlook) -> str:
    """Return the name of a lane for people: its channel and sender."""
    return f"{lane.channel.value} {lane.sender or f'lane {lane.lane}'}"


def bucket_of(forecast: Forecast) -> tuple[int, int, int]:
    """Return (start in epoch ms, length in ms, number) of the columns, so that all messages fit into COLUMNS."""
    last_ms = max((max(lane.sent_ms) for lane in forecast.lanes if lane.sent_ms), default=forecast.now_ms)
    for length_ms in ROUND_MS:
        start_ms = forecast.now_ms - forecast.now_ms % length_ms
        if (last_ms - start_ms) // length_ms < COLUMNS:
            break
    return start_ms, length_ms, min((last_ms - start_ms) // length_ms + 1, COLUMNS)


def picture(forecast: Forecast) -> list[str]:
    """Return the lines of the chart; none if nothing is sent."""
    lanes = [lane for lane in forecast.lanes if lane.sent_ms]
    if not lanes:
        return []
    start_ms, length_ms, columns = bucket_of(forecast)
    width = max(len(lane_name(lane)) for lane in lanes)
    rows = [
        f"{lane_name(lane):<{width}}  {_blocks(per_bucket(lane.sent_ms, start_ms, length_ms, columns))}".rstrip()
        for lane in lanes
    ]
    margin = " " * (width + 2)
    ticks = range(0, columns, TICK_EVERY)
    axis = "".join("┬" if at in ticks else "─" for at in range(columns))
    labels = "".join(f"{_label(start_ms + at * length_ms, length_ms):<{TICK_EVERY}}" for at in ticks).rstrip()
    return [
        *rows,
        margin + axis,
        margin + labels,
        f"{margin}UTC; a column is {duration_text(length_ms)}, a full one each lane's busiest",
    ]


def _blocks(counts: Sequence[int]) -> str:
    most = max(counts)
    return "".join(" " if count == 0 else BLOCKS[-(-count * len(BLOCKS) // most) - 1] for count in counts)


def _label(at_ms: int, length_ms: int) -> str:
    at = datetime.fromtimestamp(at_ms / 1000, UTC)
    if length_ms * TICK_EVERY < _MINUTE:
        return f"{at:%H:%M:%S}"
    return f"{at:%H:%M}" if length_ms * COLUMNS <= _DAY else f"{at:%m-%d %H:%M}"
