"""Pictures as SVG text, from values alone: a touch's life, shares, a week of windows, the pace against the limit.

Positions are percentages and text has its own size, so one picture fits a phone and a screen, and prints. Nothing has a
`style`: colours are classes of the stylesheet. Each picture has a title, which is what a screen reader reads, and every figure
of it stands in words or a table beside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import log10
from typing import Final

from markupsafe import Markup

from pipeline.web.pages.svg import LEFT, TOP, line, rect, rounded_up, svg, text, times
from pipeline.web.pages.times import DAY_MS, HOUR_MS, MINUTE_MS, clock, day, moment, span

_LABEL_FROM: Final = 16.0
"""A stretch at least so wide (percent) has room for its duration."""


@dataclass(frozen=True, slots=True)
class LifeMark:
    """A point of a touch's life."""

    at_ms: int
    word: str
    look: str
    """A class of the stylesheet: how it stands."""


@dataclass(frozen=True, slots=True)
class Opening:
    """A stretch in which a window is open."""

    from_ms: int
    until_ms: int


def life(marks: Sequence[LifeMark], *, now_ms: int | None = None, next_ms: int | None = None) -> Markup:
    """Draw a touch's life: marks in time order, durations between them; `now_ms` if it goes on, `next_ms` when it is tried next.

    Stretches are drawn by the logarithm of their length: a life has milliseconds and days.
    """
    if not marks:
        return Markup()
    points = sorted(marks, key=lambda each: each.at_ms)
    if now_ms is not None:
        points.append(LifeMark(max(now_ms, points[-1].at_ms), "now", "now"))
        if next_ms is not None and next_ms > points[-1].at_ms:
            points.append(LifeMark(next_ms, "next", "next"))
    lengths = [b.at_ms - a.at_ms for a, b in pairwise(points)]
    weights = [1 + log10(1 + max(0, each) / 100) for each in lengths]
    total = sum(weights) or 1.0
    places = [6.0]
    for each in weights:
        places.append(places[-1] + 88.0 * each / total)
    parts = [_stretch(places[at], places[at + 1], points[at + 1], length) for at, length in enumerate(lengths)]
    parts += [_point(place, mark) for place, mark in zip(places, points, strict=True)]
    parts += [_word(places[at], points[at].word, at, len(points) - 1) for at in _spaced(places, 17.0)]
    told = ", ".join(f"{mark.word} {clock(mark.at_ms)}" for mark in points)
    return svg(f"Its life in time, distances compressed: {told} UTC", 52, parts, "life")


def _word(place: float, word: str, at: int, last: int) -> Markup:
    if 0 < at < last:
        return text(place, 42, word, look="label mark")
    return text(3, 42, word, "start", "label mark") if at == 0 else text(97, 42, word, "end", "label mark")


def _stretch(left: float, right: float, end: LifeMark, length_ms: int) -> Markup:
    drawn = line(left, right, 22, "ahead" if end.look in ("now", "next") else "past")
    return drawn + text((left + right) / 2, 11, span(length_ms)) if right - left >= _LABEL_FROM else drawn


def _point(place: float, mark: LifeMark) -> Markup:
    return Markup('<circle cx="{:.2f}%" cy="22" r="6" class="{}"><title>{}</title></circle>').format(
        place, mark.look, f"{mark.word}, {day(mark.at_ms)} {clock(mark.at_ms)} UTC"
    )


def _spaced(places: Sequence[float], apart: float) -> list[int]:
    """Return the indices that have room for a word: the last one first, then from the left what keeps its distance."""
    chosen = [len(places) - 1]
    at_left = -100.0
    for at, place in enumerate(places[:-1]):
        if place - at_left >= apart and places[-1] - place >= apart:
            chosen.append(at)
            at_left = place
    return sorted(chosen)


def shares(counts: Mapping[str, int], looks: Sequence[str]) -> Markup:
    """Draw how a total divides, as one bar; a share that is not nothing has at least half a percent."""
    present = [(look, counts.get(look, 0)) for look in looks if counts.get(look, 0) > 0]
    total = sum(count for _, count in present)
    if not total:
        return Markup()
    raw = [max(0.5, 100 * count / total) for _, count in present]
    parts, left = [], 0.0
    for (look, count), wide in zip(present, raw, strict=True):
        percent = 100 * wide / sum(raw)
        parts.append(rect(left, 0, percent, 18, look, title=f"{look}: {count:,} of {total:,}"))
        left += percent
    said = ", ".join(f"{count:,} {look}" for look, count in present)
    return svg(said, 18, parts, "shares")


def week(openings: Sequence[Opening], now_ms: int) -> Markup:
    """Draw seven days of a window in UTC from the day of `now_ms` on, a row a day; what is open is filled."""
    first = now_ms // DAY_MS * DAY_MS
    row, left, right = 15, 17.0, 98.0

    def place(at_ms: int, begin_ms: int) -> float:
        return left + (right - left) * (at_ms - begin_ms) / DAY_MS

    parts = [text(place(first + hour * HOUR_MS, first), 10, f"{hour:02}") for hour in (0, 6, 12, 18, 24)]
    for at in range(7):
        begin, y = first + at * DAY_MS, TOP + at * row
        parts += [text(0, y + 11, day(begin), "start"), rect(left, y, right - left, row - 3, "closed")]
        for each in openings:
            start, end = max(each.from_ms, begin), min(each.until_ms, begin + DAY_MS)
            if start < end:
                said = f"open {day(begin)} {moment(start):%H:%M} to {moment(end - 1):%H:%M} UTC"
                width = place(end, begin) - place(start, begin)
                parts.append(rect(place(start, begin), y, width, row - 3, "open", title=said))
    parts.append(rect(place(now_ms, first), TOP - 2, 0.5, row, "now-line", title="now"))
    return svg("A week of the window, in UTC: " + _openings_said(openings, first), TOP + 7 * row + 2, parts, "week")


def _openings_said(openings: Sequence[Opening], first_ms: int) -> str:
    shown = [each for each in openings if each.until_ms > first_ms and each.from_ms < first_ms + 7 * DAY_MS]
    if not shown:
        return "it is not open"
    return ", ".join(f"{_at(each.from_ms)} to {_at(each.until_ms)}" for each in shown)


def _at(at_ms: int) -> str:
    return f"{day(at_ms)} {moment(at_ms):%H:%M}"


def pace(minutes: Mapping[int, int], limit: float | None, until_ms: int, *, shown: int = 60) -> Markup:
    """Draw sends per minute of the last `shown` minutes (by minute since 1970) against `limit` per minute (None: no limit)."""
    last = until_ms // MINUTE_MS
    counts = [minutes.get(at, 0) for at in range(last - shown + 1, last + 1)]
    top = rounded_up(max([*counts, limit or 0]))
    height, wide = 44, 98.0 / shown
    parts = [line(LEFT, 99, TOP + height, "axis")]
    for at, count in enumerate(counts):
        tall = height * count / top
        if count:
            title = f"{count:,} at {clock((last - shown + 1 + at) * MINUTE_MS)} UTC"
            parts.append(rect(LEFT + at * wide, TOP + height - tall, wide * 0.85, tall, "sent", title=title))
    if limit is not None:
        y = round(TOP + height - height * limit / top, 1)
        parts += [line(LEFT, 99, y, "limit"), text(99, y - 3, f"limit {limit:,.4g} a minute", "end")]
    parts += times((last - shown + 1) * MINUTE_MS, (last + 1) * MINUTE_MS, TOP + height + 14)
    against = "no limit" if limit is None else f"the limit is {limit:,.4g}"
    said = f"Sends per minute: {sum(counts):,} in {shown} minutes, at most {max(counts):,} in one; {against}"
    return svg(said, TOP + height + 20, parts, "pace")
