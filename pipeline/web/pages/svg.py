"""What pictures are drawn with: SVG text from values. Positions are percentages; nothing has a `style`, colours are classes."""

from __future__ import annotations

from collections.abc import Iterable
from math import log10
from typing import Final

from markupsafe import Markup

from pipeline.web.pages.times import DAY_MS, MINUTE_MS, clock, day, moment

TOP: Final = 14
LEFT: Final = 1.0
"""Room above and beside what is drawn over time: pixels, percent."""


def svg(title: str, height: int, parts: Iterable[Markup], look: str) -> Markup:
    """Return a picture with the title that a screen reader reads."""
    return Markup('<svg class="picture {}" role="img" aria-label="{}" width="100%" height="{}">{}</svg>').format(
        look, title, height, Markup().join(parts)
    )


def text(x: float, y: float, words: str, anchor: str = "middle", look: str = "label") -> Markup:
    """Return words at a place."""
    return Markup('<text x="{:.2f}%" y="{}" text-anchor="{}" class="{}">{}</text>').format(x, y, anchor, look, words)


def rect(x: float, y: float, width: float, height: float, look: str, *, title: str = "") -> Markup:
    """Return a rectangle; its title is shown to who points at it."""
    inner = Markup("<title>{}</title>").format(title) if title else Markup()
    return Markup('<rect x="{:.3f}%" y="{:.2f}" width="{:.3f}%" height="{:.2f}" class="{}">{}</rect>').format(
        x, y, width, height, look, inner
    )


def line(x1: float, x2: float, y: float, look: str) -> Markup:
    """Return a level line."""
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


def times(from_ms: int, until_ms: int, y: float) -> list[Markup]:
    """Return the words of a time axis: its begin, middle and end."""
    spread_ms, middle = until_ms - from_ms, (from_ms + until_ms) // 2
    words = [_tick(at, spread_ms) for at in (from_ms, middle, until_ms)]
    if spread_ms <= DAY_MS:
        words[0], words[2] = f"{day(from_ms)} {words[0]}", f"{words[2]} UTC"
    return [text(LEFT, y, words[0], "start"), text(50, y, words[1]), text(99, y, words[2], "end")]


def _tick(at_ms: int, spread_ms: int) -> str:
    if spread_ms <= 10 * MINUTE_MS:
        return clock(at_ms)
    if spread_ms <= DAY_MS:
        return f"{moment(at_ms):%H:%M}"
    return day(at_ms) if spread_ms > 5 * DAY_MS else f"{day(at_ms)} {moment(at_ms):%H:%M}"
