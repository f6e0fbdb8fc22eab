"""The hours in which a recipient may be contacted, by wall-clock time, correct across daylight-saving changes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import KW_ONLY, dataclass, field
from datetime import date
from functools import lru_cache
from typing import Final

import phonenumbers
from phonenumbers import timezone as phone_timezone

from pipeline.domain.answer_cache import AnswerCache
from pipeline.domain.zone import DAY_MS, DAY_S, is_zone, stretches

RECIPIENT: Final = "recipient"
ALL_DAYS: Final = frozenset(range(7))
HORIZON_DAYS: Final = 8
"""Zones that are not open together within this many days never are (a whole week, and one day more)."""

_EPOCH_ORDINAL = date(1970, 1, 1).toordinal()

Span = tuple[int, int]


class NeverOpens(ValueError):
    """The window never opens."""


@dataclass(frozen=True, slots=True)
class Open:
    """Open now. None in both: always."""

    until_ms: int | None
    """First instant that counts as closed (the margin deducted)."""
    closes_ms: int | None
    """The true close (for a provider's own validity); at most `HORIZON_DAYS` ahead."""


@dataclass(frozen=True, slots=True)
class Closed:
    """Closed now; `until_ms` is the first instant that is open."""

    until_ms: int


@dataclass(frozen=True, slots=True)
class Window:
    """The hours `[opens_s, closes_s)` of a wall clock, in seconds since midnight.

    `closes_s` <= `opens_s` wraps midnight; 86400 is the end of the day. Raises NeverOpens for an empty one.
    """

    opens_s: int
    closes_s: int
    zone: str
    """IANA name, or RECIPIENT."""
    fallback_zone: str | None = None
    """With RECIPIENT: the zone of recipients without a known zone, or with zones that are never open together."""
    _: KW_ONLY
    days: frozenset[int] = ALL_DAYS
    """Monday is 0. A window that wraps midnight counts by the day it opens on."""
    holidays: frozenset[date] = frozenset()
    """Dates without an opening, in the zone that applies."""
    margin_ms: int = 0
    """Length of the end of each opening that counts as closed."""
    feast_days: frozenset[int] = field(default=frozenset(), init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "feast_days", frozenset(day.toordinal() - _EPOCH_ORDINAL for day in self.holidays))
        length_s = self.closes_s - self.opens_s + (DAY_S if self.closes_s < self.opens_s else 0)
        if length_s * 1000 <= self.margin_ms or not self.days:
            raise NeverOpens(f"never opens: {length_s} s long, {self.margin_ms} ms margin, {len(self.days)} days")

    def __hash__(self) -> int:
        return hash((self.opens_s, self.closes_s, self.zone))  # quick: asked at every touch

    def opens_on(self, day: int, *, feasts: bool) -> bool:
        """Return whether an opening begins on `day` (days since 1970, local); `feasts`: whether holidays count."""
        return (day + 3) % 7 in self.days and not (feasts and day in self.feast_days)  # 1970-01-01 was a Thursday


def gate(window: Window | None, zones: tuple[str, ...], now_ms: int) -> Open | Closed:
    """Return whether `window` is open at `now_ms` in every one of `zones` (from `zones_of`), and until when.

    Answers are cached for as long as they hold, so a call per touch costs less than a microsecond.
    """
    if window is None:
        return _ALWAYS
    known = ANSWERS.find((window, zones), now_ms)
    return ANSWERS.keep((window, zones), *_answer(window, zones, now_ms)) if known is None else known


def first_open_ms(window: Window | None, zones: tuple[str, ...], at_ms: int) -> int:
    """Return the first instant, `at_ms` or later, at which `window` is open in every one of `zones`."""
    if window is None:
        return at_ms
    answer = ANSWERS.find((window, zones), at_ms)
    if answer is None:
        answer = _answer(window, zones, at_ms)[2]  # not kept: it would replace the answer about the present
    return answer.until_ms if isinstance(answer, Closed) else at_ms


def zones_of(window: Window | None, time_zone: str | None, to: str) -> tuple[str, ...]:
    """Return the zones whose clocks decide: the window's own, else the touch's `time_zone`, else those of number `to`.

    With a fixed zone the touch's own is ignored. `to` is E.164, or an e-mail address, which has no zones.
    """
    if window is None:
        return ()
    if window.zone != RECIPIENT:
        return (window.zone,)
    if time_zone is not None and is_zone(time_zone):
        return (time_zone,)
    return zones_of_number(to) or (window.fallback_zone or "UTC",)


_ALWAYS = Open(None, None)
ANSWERS: Final[AnswerCache[tuple[Window, tuple[str, ...]], Open | Closed]] = AnswerCache(capacity=8_192)
"""Answers of `gate`, by window and zones."""


@lru_cache(maxsize=65_536)
def zones_of_number(number: str) -> tuple[str, ...]:
    """Return the zones in which `number` (E.164) may be; none for an e-mail address or an unknown number."""
    if not number.startswith("+"):
        return ()
    try:
        zones = phone_timezone.time_zones_for_number(phonenumbers.parse(number))
    except phonenumbers.NumberParseException:
        return ()
    return tuple(sorted(zones)) if all(is_zone(zone) for zone in zones) else ()  # Etc/Unknown is no zone


def _answer(window: Window, zones: tuple[str, ...], now_ms: int) -> tuple[int, int, Open | Closed]:
    """Return (from_ms, until_ms, answer): the answer holds for every instant in between."""
    if len(zones) > 1 and not _open_together(window, zones, now_ms):
        zones = (window.fallback_zone or "UTC",)
    for start_ms, end_ms in _openings(window, zones, now_ms):
        usable_ms = end_ms - window.margin_ms
        if usable_ms <= max(start_ms, now_ms):
            continue
        if start_ms > now_ms:
            return now_ms, start_ms, Closed(start_ms)
        if end_ms - now_ms < HORIZON_DAYS * DAY_MS:
            return start_ms, usable_ms, Open(usable_ms, end_ms)
        horizon_ms = now_ms + HORIZON_DAYS * DAY_MS
        return now_ms, now_ms + DAY_MS, Open(horizon_ms, horizon_ms)
    raise NeverOpens(f"no opening in {zones} after {now_ms}")


def _open_together(window: Window, zones: tuple[str, ...], now_ms: int) -> bool:
    day = now_ms // DAY_MS
    return any(
        end_ms - max(start_ms, now_ms) > window.margin_ms
        for at in range(day, day + HORIZON_DAYS)
        for start_ms, end_ms in _joint(window, zones, at, feasts=False)
    )


def _openings(window: Window, zones: tuple[str, ...], now_ms: int) -> Iterator[Span]:
    """Yield the spans in which all `zones` are open, from the day of `now_ms` on, joined over midnight.

    A span is cut once it reaches beyond the horizon. Ends after a year without an opening past the last holiday.
    """
    first = now_ms // DAY_MS
    last = max(first, max(window.feast_days, default=first)) + 366
    open_from = open_until = -1
    for day in range(first, last):
        for start_ms, end_ms in _joint(window, zones, day, feasts=True):
            if start_ms != open_until:
                if open_until > 0:
                    yield open_from, open_until
                open_from = start_ms
            open_until = end_ms
        if open_until > 0 and (open_until < (day + 1) * DAY_MS or open_until - now_ms > HORIZON_DAYS * DAY_MS):
            yield open_from, open_until
            open_until = -1


def _joint(window: Window, zones: tuple[str, ...], day: int, *, feasts: bool) -> list[Span]:
    """Return the spans of UTC day `day` in which `window` is open in every one of `zones`."""
    spans = _day_spans(window, zones[0], day, feasts=feasts)
    for zone in zones[1:]:
        if not spans:
            break
        spans = _intersect(spans, _day_spans(window, zone, day, feasts=feasts))
    return spans


def _intersect(left: list[Span], right: list[Span]) -> list[Span]:
    cut = [(max(a, c), min(b, d)) for a, b in left for c, d in right]
    return [(start, end) for start, end in cut if start < end]


def _day_spans(window: Window, zone: str, day: int, *, feasts: bool) -> list[Span]:
    spans: list[Span] = []
    for start_ms, end_ms, offset_ms in stretches(zone, day):
        for opens_ms, closes_ms in _wall_spans(window, start_ms + offset_ms, end_ms + offset_ms, feasts=feasts):
            span = opens_ms - offset_ms, closes_ms - offset_ms
            if spans and spans[-1][1] == span[0]:
                spans[-1] = spans[-1][0], span[1]
            else:
                spans.append(span)
    return spans


def _wall_spans(window: Window, start_ms: int, end_ms: int, *, feasts: bool) -> Iterator[Span]:
    """Yield the open spans of a stretch of wall-clock time, in order."""
    opens, closes = window.opens_s * 1000, window.closes_s * 1000
    if closes <= opens:
        closes += DAY_MS
    for day in range(start_ms // DAY_MS - 1, (end_ms - 1) // DAY_MS + 1):
        if window.opens_on(day, feasts=feasts):
            begin, end = max(start_ms, day * DAY_MS + opens), min(end_ms, day * DAY_MS + closes)
            if begin < end:
                yield begin, end
