"""Pictures as SVG text, from values alone: a touch's life, counts by hour, shares, a week of windows, the pace against the limit.

Positions are percentages and text has its own size, so one picture fits a phone and a screen, and prints. Nothing has a
`style`: colours are classes of the stylesheet. Each picture has a title, which is what a screen reader reads, and every figure
of it stands in words or a table beside it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import log10
from typing import Final

from markupsafe import Markup

from pipeline.web.pages.times import DAY_MS, HOUR_MS, MINUTE_MS, clock, day, moment, span

_STEPS: Final = (HOUR_MS, 3 * HOUR_MS, 6 * HOUR_MS, 12 * HOUR_MS, DAY_MS, 2 * DAY_MS, 7 * DAY_MS, 28 * DAY_MS)
_UNITS: Final = {HOUR_MS: "hour", DAY_MS: "day", 7 * DAY_MS: "week"}
MOST_COLUMNS: Final = 72
_TOP, _LEFT = 14, 1.0
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
class Column:
    """Counts at one time, by look."""

    at_ms: int
    counts: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Opening:
    """A stretch in which a window is open."""

    from_ms: int
    until_ms: int


def _svg(title: str, height: int, parts: Iterable[Markup], look: str) -> Markup:
    return Markup('<svg class="picture {}" role="img" aria-label="{}" width="100%" height="{}">{}</svg>').format(
        look, title, height, Markup().join(parts)
    )


def _text(x: float, y: float, words: str, anchor: str = "middle", look: str = "label") -> Markup:
    return Markup('<text x="{:.2f}%" y="{}" text-anchor="{}" class="{}">{}</text>').format(x, y, anchor, look, words)


def _rect(x: float, y: float, width: float, height: float, look: str, *, title: str = "") -> Markup:
    inner = Markup("<title>{}</title>").format(title) if title else Markup()
    return Markup('<rect x="{:.3f}%" y="{:.2f}" width="{:.3f}%" height="{:.2f}" class="{}">{}</rect>').format(
        x, y, width, height, look, inner
    )


def _line(x1: float, x2: float, y: float, look: str) -> Markup:
    return Markup('<line x1="{:.2f}%" x2="{:.2f}%" y1="{y}" y2="{y}" class="{}"/>').format(x1, x2, look, y=y)


def compact(number: float) -> str:
    """Return a count as short as a label has room for: `950`, `12.3k`, `1.2M`."""
    for size, unit in ((1_000_000_000, "G"), (1_000_000, "M"), (1_000, "k")):
        if number >= size:
            short = f"{number / size:.1f}"
            return short.removesuffix(".0") + unit
    return f"{number:,.0f}"


def rounded_up(number: float) -> float:
    """Return the next of 1, 2, 5, 10, 20, 50 … that is not below `number`; 1 for nothing."""
    if number <= 1:
        return 1
    size = 10 ** int(log10(number))
    return float(next(step * size for step in (1, 2, 5, 10, 20) if step * size >= number))


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
    return _svg(f"Its life in time, distances compressed: {told} UTC", 52, parts, "life")


def _word(place: float, word: str, at: int, last: int) -> Markup:
    if 0 < at < last:
        return _text(place, 42, word, look="label mark")
    return _text(3, 42, word, "start", "label mark") if at == 0 else _text(97, 42, word, "end", "label mark")


def _stretch(left: float, right: float, end: LifeMark, length_ms: int) -> Markup:
    drawn = _line(left, right, 22, "ahead" if end.look in ("now", "next") else "past")
    return drawn + _text((left + right) / 2, 11, span(length_ms)) if right - left >= _LABEL_FROM else drawn


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
    parts = [_line(_LEFT, 99, _TOP, "grid"), _line(_LEFT, 99, _TOP + height, "axis")]
    for at, column in enumerate(drawn):
        parts += _stack(column, looks, _LEFT + at * wide, wide, per_pixel=top / height, width_ms=width_ms)
    parts += [_text(_LEFT, _TOP - 3, f"{compact(top)} {what} per {_UNITS.get(width_ms, span(width_ms))}", "start")]
    parts += _times(drawn[0].at_ms, drawn[-1].at_ms + width_ms, _TOP + height + 14)
    total = sum(sum(each.counts.values()) for each in drawn)
    said = f"{total:,} {what} from {day(drawn[0].at_ms)} {clock(drawn[0].at_ms)} to {day(drawn[-1].at_ms)} {clock(drawn[-1].at_ms)} UTC"
    return _svg(said, _TOP + height + 20, parts, "hours")


def _stack(
    column: Column, looks: Sequence[str], left: float, wide: float, *, per_pixel: float, width_ms: int
) -> list[Markup]:
    parts, bottom = [], float(_TOP + 96)
    for look in looks:
        count = column.counts.get(look, 0)
        if count:
            tall = max(1.0, count / per_pixel)
            bottom -= tall
            when = f"{day(column.at_ms)} {clock(column.at_ms)} UTC, {span(width_ms)}"
            parts.append(_rect(left + wide * 0.06, bottom, wide * 0.88, tall, look, title=f"{count:,} {look}: {when}"))
    return parts


def _times(from_ms: int, until_ms: int, y: float) -> list[Markup]:
    spread_ms, middle = until_ms - from_ms, (from_ms + until_ms) // 2
    words = [_tick(at, spread_ms) for at in (from_ms, middle, until_ms)]
    if spread_ms <= DAY_MS:
        words[0], words[2] = f"{day(from_ms)} {words[0]}", f"{words[2]} UTC"
    return [_text(_LEFT, y, words[0], "start"), _text(50, y, words[1]), _text(99, y, words[2], "end")]


def _tick(at_ms: int, spread_ms: int) -> str:
    if spread_ms <= 10 * MINUTE_MS:
        return clock(at_ms)
    if spread_ms <= DAY_MS:
        return f"{moment(at_ms):%H:%M}"
    return day(at_ms) if spread_ms > 5 * DAY_MS else f"{day(at_ms)} {moment(at_ms):%H:%M}"


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
        parts.append(_rect(left, 0, percent, 18, look, title=f"{look}: {count:,} of {total:,}"))
        left += percent
    said = ", ".join(f"{count:,} {look}" for look, count in present)
    return _svg(said, 18, parts, "shares")


def week(openings: Sequence[Opening], now_ms: int) -> Markup:
    """Draw seven days of a window in UTC from the day of `now_ms` on, a row a day; what is open is filled."""
    first = now_ms // DAY_MS * DAY_MS
    row, left, right = 15, 17.0, 98.0

    def place(at_ms: int, begin_ms: int) -> float:
        return left + (right - left) * (at_ms - begin_ms) / DAY_MS

    parts = [_text(place(first + hour * HOUR_MS, first), 10, f"{hour:02}") for hour in (0, 6, 12, 18, 24)]
    for at in range(7):
        begin, y = first + at * DAY_MS, _TOP + at * row
        parts += [_text(0, y + 11, day(begin), "start"), _rect(left, y, right - left, row - 3, "closed")]
        for each in openings:
            start, end = max(each.from_ms, begin), min(each.until_ms, begin + DAY_MS)
            if start < end:
                said = f"open {day(begin)} {moment(start):%H:%M} to {moment(end - 1):%H:%M} UTC"
                width = place(end, begin) - place(start, begin)
                parts.append(_rect(place(start, begin), y, width, row - 3, "open", title=said))
    parts.append(_rect(place(now_ms, first), _TOP - 2, 0.5, row, "now-line", title="now"))
    return _svg("A week of the window, in UTC: " + _openings_said(openings, first), _TOP + 7 * row + 2, parts, "week")


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
    parts = [_line(_LEFT, 99, _TOP + height, "axis")]
    for at, count in enumerate(counts):
        tall = height * count / top
        if count:
            title = f"{count:,} at {clock((last - shown + 1 + at) * MINUTE_MS)} UTC"
            parts.append(_rect(_LEFT + at * wide, _TOP + height - tall, wide * 0.85, tall, "sent", title=title))
    if limit is not None:
        y = round(_TOP + height - height * limit / top, 1)
        parts += [_line(_LEFT, 99, y, "limit"), _text(99, y - 3, f"limit {limit:,.4g} a minute", "end")]
    parts += _times((last - shown + 1) * MINUTE_MS, (last + 1) * MINUTE_MS, _TOP + height + 14)
    against = "no limit" if limit is None else f"the limit is {limit:,.4g}"
    said = f"Sends per minute: {sum(counts):,} in {shown} minutes, at most {max(counts):,} in one; {against}"
    return _svg(said, _TOP + height + 20, parts, "pace")
