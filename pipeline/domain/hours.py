"""When a recipient may be contacted: in the channel's window and, if configured, the legal hours of the recipient's place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from pipeline.domain import window as windows
from pipeline.domain.answer_cache import AnswerCache
from pipeline.domain.calendar import Calendar, Jurisdiction, Rule
from pipeline.domain.window import Closed, Open, Window, zones_of
from pipeline.domain.zone import DAY_MS, is_zone

LOOKED_AHEAD_MS = 366 * DAY_MS
"""Hours that are not open together within this time never are."""

Clocks = list[tuple[Rule, tuple[str, ...]]]
"""Rules, each with its time zones: all must be open."""


@dataclass(frozen=True, slots=True)
class Never:
    """Window and calendar are never open together."""


Question = tuple[Window | None, tuple[str, ...], Calendar, Jurisdiction | None]
ANSWERS: Final[AnswerCache[Question, Open | Closed | Never]] = AnswerCache(capacity=8_192)
"""Answers of `gate`, by window with its zones, and calendar with the recipient's jurisdiction."""


def gate(
    window: Window | None, calendar: Calendar | None, time_zone: str | None, to: str, now_ms: int
) -> Open | Closed | Never:
    """Return whether `to` may be contacted at `now_ms` and until when, or from when on."""
    if calendar is None:
        return windows.gate(window, zones_of(window, time_zone, to), now_ms)
    own = zones_of(window, time_zone, to)
    jurisdiction = _jurisdiction(calendar, time_zone, to)
    key = window, own, calendar, jurisdiction
    known = ANSWERS.find(key, now_ms)
    return ANSWERS.keep(key, *_answer(_clocks(window, own, calendar, jurisdiction), now_ms)) if known is None else known


def own_hours(window: Window | None, calendar: Calendar | None, now_ms: int) -> Open | Closed | Never:
    """Return whether a channel's own hours are open at `now_ms`, whoever the recipient is.

    Where the recipient's clock decides, that of the window's fallback zone is asked.
    """
    return gate(window, calendar, None, "", now_ms)


def first_open_ms(
    window: Window | None, calendar: Calendar | None, time_zone: str | None, to: str, at_ms: int
) -> int | None:
    """Return the first instant, `at_ms` or later, at which `to` may be contacted; None: never."""
    if calendar is None:
        return windows.first_open_ms(window, zones_of(window, time_zone, to), at_ms)
    jurisdiction = _jurisdiction(calendar, time_zone, to)
    return _first_open_ms(_clocks(window, zones_of(window, time_zone, to), calendar, jurisdiction), at_ms)


def ever_open(window: Window | None, calendar: Calendar, now_ms: int) -> bool:
    """Return whether the window is ever open together with the calendar's default rule, in any of its zones."""
    somewhere = [
        [*_clocks(window, zones_of(window, zone, ""), calendar, None), (calendar.default, (zone,))]
        for zone in calendar.zones
    ]
    return any(_first_open_ms(clocks, now_ms) is not None for clocks in somewhere)


def _jurisdiction(calendar: Calendar, time_zone: str | None, to: str) -> Jurisdiction | None:
    return calendar.jurisdiction_of(time_zone if time_zone is not None and is_zone(time_zone) else None, to)


def _clocks(
    window: Window | None, zones: tuple[str, ...], calendar: Calendar, jurisdiction: Jurisdiction | None
) -> Clocks:
    own: Clocks = [] if window is None else [((window,), zones)]
    law = (
        []
        if jurisdiction is None
        else [(rule, (zone,)) for rule in calendar.rules_in(jurisdiction) for zone in jurisdiction.zones]
    )
    return own + law


def _answer(clocks: Clocks, now_ms: int) -> tuple[int, int, Open | Closed | Never]:
    """Return (from_ms, until_ms, answer): the answer holds for every instant in between."""
    first_ms = _first_open_ms(clocks, now_ms)
    if first_ms is None:
        return now_ms, now_ms + DAY_MS, Never()
    if first_ms > now_ms:
        return now_ms, first_ms, Closed(first_ms)
    opened = [_open_at(rule, zones, now_ms) for rule, zones in clocks]
    untils = [each.until_ms for each in opened if each is not None and each.until_ms is not None]
    closes = [each.closes_ms for each in opened if each is not None and each.closes_ms is not None]
    until_ms = min(untils, default=None)
    held_ms = now_ms + DAY_MS if until_ms is None else min(until_ms, now_ms + DAY_MS)
    return now_ms, held_ms, Open(until_ms, min(closes, default=None))


def _first_open_ms(clocks: Clocks, at_ms: int) -> int | None:
    """Advance to the latest next opening of any rule until all are open: no joint opening is skipped."""
    last_ms = at_ms + LOOKED_AHEAD_MS
    while at_ms <= last_ms:
        later_ms = at_ms
        for rule, zones in clocks:
            later_ms = max(later_ms, min(windows.first_open_ms(each, zones, later_ms) for each in rule))
        if later_ms == at_ms:
            return at_ms
        at_ms = later_ms
    return None


def _open_at(rule: Rule, zones: tuple[str, ...], now_ms: int) -> Open | None:
    """Return the longest opening of `rule` at `now_ms`."""
    found = [answer for each in rule if isinstance(answer := windows.gate(each, zones, now_ms), Open)]
    return max(found, key=lambda each: each.until_ms or 0, default=None)
