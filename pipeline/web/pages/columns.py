"""Counts over time as stacked columns: a campaign's course by hour, and its forecast."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from markupsafe import Markup

from pipeline.web.pages.svg import LEFT, TOP, compact, line, rect, rounded_up, svg, text, times
from pipeline.web.pages.times import DAY_MS, HOUR_MS, clock, day, span

_STEPS: Final = (HOUR_MS, 3 * HOUR_MS, 6 * HOUR_MS, 12 * HOUR_MS, DAY_MS, 2 * DAY_MS, 7 * DAY_MS, 28 * DAY_MS)
_UNITS: Final = {HOUR_MS: "hour", DAY_MS: "day", 7 * DAY_MS: "week"}
MOST_COLUMNS: Final = 72


@dataclass(frozen=True, slots=True)
class Column:
    """Counts at one time, by look."""

    at_ms: int
    counts: Mapping[str, int]


def gathered(columns: Sequence[Column], most: int = MOST_COLUMNS) -> tuple[list[Column], int]:
    """Return at most `most` columns without a gap, and their width in ms: an hour, or as many as it takes."""
    if not columns:
        return [], HOUR_MS
    first, last = min(each.at_ms for each in columns), max(each.at_ms for each in columns)
    fitting = (each for each in _STEPS if last // each - first // each < most)
    width = next(fitting, (last - first) // (most - 1) + 1)
    sums: dict[int, dict[str, int]] = {at: {} for at in range(first // width, last // width + 1)}
    for column in columns:
        found = sums[column.at_ms // width]
        for look, count in column.counts.items():
            found[look] = found.get(look, 0) + count
    return [Column(at * width, counts) for at, counts in sums.items()], width


def by_hour(columns: Sequence[Column], looks: Sequence[str], what: str = "touches") -> Markup:
    """Draw counts over time as stacked columns of an hour, or as many hours as it takes."""
    return stacked(*gathered(columns), looks, what)


def stacked(drawn: Sequence[Column], width_ms: int, looks: Sequence[str], what: str) -> Markup:
    """Draw columns of `width_ms` that follow each other, the looks from the bottom up."""
    if not drawn:
        return Markup()
    top = rounded_up(max(sum(each.counts.values()) for each in drawn))
    height, wide = 96, 98.0 / len(drawn)
    parts = [line(LEFT, 99, TOP, "grid"), line(LEFT, 99, TOP + height, "axis")]
    for at, column in enumerate(drawn):
        parts += _stack(column, looks, LEFT + at * wide, wide, per_pixel=top / height, width_ms=width_ms)
    parts += [text(LEFT, TOP - 3, f"{compact(top)} {what} per {_UNITS.get(width_ms, span(width_ms))}", "start")]
    parts += times(drawn[0].at_ms, drawn[-1].at_ms + width_ms, TOP + height + 14)
    total = sum(sum(each.counts.values()) for each in drawn)
    said = f"{total:,} {what} from {day(drawn[0].at_ms)} {clock(drawn[0].at_ms)} to {day(drawn[-1].at_ms)} {clock(drawn[-1].at_ms)} UTC"
    return svg(said, TOP + height + 20, parts, "hours")


def _stack(
    column: Column, looks: Sequence[str], left: float, wide: float, *, per_pixel: float, width_ms: int
) -> list[Markup]:
    parts, bottom = [], float(TOP + 96)
    for look in looks:
        count = column.counts.get(look, 0)
        if count:
            tall = max(1.0, count / per_pixel)
            bottom -= tall
            when = f"{day(column.at_ms)} {clock(column.at_ms)} UTC, {span(width_ms)}"
            parts.append(rect(left + wide * 0.06, bottom, wide * 0.88, tall, look, title=f"{count:,} {look}: {when}"))
    return parts
