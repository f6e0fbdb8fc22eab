"""Instants and durations as people read them: always UTC, always said so, and no figure finer than it is useful."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

SECOND_MS: Final = 1_000
MINUTE_MS: Final = 60 * SECOND_MS
HOUR_MS: Final = 60 * MINUTE_MS
DAY_MS: Final = 24 * HOUR_MS
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_UNITS: Final = ((DAY_MS, "d"), (HOUR_MS, "h"), (MINUTE_MS, "min"), (SECOND_MS, "s"))
_TENTHS_BELOW_MS: Final = 10 * SECOND_MS


def moment(at_ms: int) -> datetime:
    """Return the instant as an aware datetime in UTC; what no calendar has becomes its end."""
    try:
        return datetime.fromtimestamp(at_ms / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        return datetime.max.replace(tzinfo=UTC)


def epoch_ms(text: str) -> int:
    """Return an instant that is written as `iso` does, in epoch milliseconds."""
    return round(datetime.fromisoformat(text).timestamp() * 1000)


def iso(at_ms: int) -> str:
    """Return the instant for machines: `2026-11-27T03:12:07.250Z`."""
    return moment(at_ms).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def clock(at_ms: int) -> str:
    """Return the time of day: `03:12:07`."""
    return moment(at_ms).strftime("%H:%M:%S")


def day(at_ms: int) -> str:
    """Return the day without its year: `Fri 27 Nov`."""
    at = moment(at_ms)
    return f"{_DAYS[at.weekday()]} {at.day} {_MONTHS[at.month - 1]}"


def dated(at_ms: int, now_ms: int) -> str:
    """Return the instant with its day, as lists have it: `Fri 27 Nov 03:12:07`; with its year if that is not this one."""
    at = moment(at_ms)
    year = "" if at.year == moment(now_ms).year else f" {at.year}"
    return f"{day(at_ms)}{year} {clock(at_ms)}"


def instant(at_ms: int, now_ms: int) -> str:
    """Return the instant as seen from `now_ms`: only the time of day today, the day besides on another, its year in another year."""
    at, now = moment(at_ms), moment(now_ms)
    if at.date() == now.date():
        return f"{clock(at_ms)} UTC"
    year = "" if at.year == now.year else f" {at.year}"
    return f"{day(at_ms)}{year}, {clock(at_ms)} UTC"


def span(of_ms: int) -> str:
    """Return a duration in its two largest units: `0.4 s`, `3 min 20 s`, `2 d 4 h`."""
    of_ms = abs(of_ms)
    if of_ms < _TENTHS_BELOW_MS:
        return f"{of_ms / 1000:.1f}".removesuffix(".0") + " s"
    for at, (unit_ms, name) in enumerate(_UNITS):
        if of_ms >= unit_ms:
            whole, rest = divmod(of_ms, unit_ms)
            finer = _UNITS[at + 1] if at + 1 < len(_UNITS) else None
            more = 0 if finer is None else rest // finer[0]
            return f"{whole:,} {name}" + (f" {more} {finer[1]}" if finer is not None and more else "")
    return "0 s"


def seen_from(at_ms: int, now_ms: int) -> str:
    """Return how far an instant is from `now_ms`: `in 4 h 48 min`, `3 min before`."""
    return f"in {span(at_ms - now_ms)}" if at_ms > now_ms else f"{span(now_ms - at_ms)} before"
