"""Time zones: which there are, in which stretches of time a wall clock runs evenly, and when its days begin."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import cache, lru_cache
from itertools import pairwise
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

DAY_MS: Final = 86_400_000
DAY_S: Final = 86_400

_FIRST_S, _LAST_S = -62_000_000_000, 253_300_000_000  # what datetime can hold, with room for an offset
_ZONE_NAME = re.compile(r"[A-Z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+)*")


class UnknownZone(ValueError):
    """No time zone of the IANA database."""


def is_zone(name: str) -> bool:
    """Return whether `name` is a time zone of the IANA database."""
    return name in _names() and _zone(name) is not None


def local_day(zone: str, at_ms: int) -> int:
    """Return the date on the wall clock of `zone`, in days since 1970."""
    return next(
        (at_ms + offset_ms) // DAY_MS
        for start_ms, end_ms, offset_ms in stretches(zone, at_ms // DAY_MS)
        if start_ms <= at_ms < end_ms
    )


def day_end_ms(zone: str, at_ms: int) -> int:
    """Return the first instant after `at_ms` at which the wall clock of `zone` shows a later date."""
    today = local_day(zone, at_ms)
    day = at_ms // DAY_MS
    while True:
        for start_ms, end_ms, offset_ms in stretches(zone, day):
            begins_ms = max(start_ms, at_ms, (today + 1) * DAY_MS - offset_ms)
            if begins_ms < end_ms:
                return begins_ms
        day += 1


@lru_cache(maxsize=16_384)
def stretches(zone: str, day: int) -> tuple[tuple[int, int, int], ...]:
    """Return UTC day `day` cut into (start_ms, end_ms, offset_ms) of one offset each. Raises UnknownZone."""
    found = _zone(zone)
    if found is None:
        raise UnknownZone(f"unknown time zone {zone!r}")
    start_s = day * DAY_S
    cuts = [start_s]
    for left, right in pairwise(range(start_s, start_s + DAY_S + 1, DAY_S // 4)):
        cuts.extend(_transition_s(found, left, right))
    cuts.append(start_s + DAY_S)
    return tuple((a * 1000, b * 1000, _offset_s(found, a) * 1000) for a, b in pairwise(cuts) if a < b)


def _transition_s(zone: ZoneInfo, left_s: int, right_s: int) -> list[int]:
    """Return the instant in (left, right] at which the offset changes, if it does: no zone changes twice in 6 h."""
    before = _offset_s(zone, left_s)
    if _offset_s(zone, right_s) == before:
        return []
    while right_s - left_s > 1:
        middle_s = (left_s + right_s) // 2
        left_s, right_s = (middle_s, right_s) if _offset_s(zone, middle_s) == before else (left_s, middle_s)
    return [right_s]


def _offset_s(zone: ZoneInfo, at_s: int) -> int:
    offset = datetime.fromtimestamp(min(max(at_s, _FIRST_S), _LAST_S), UTC).astimezone(zone).utcoffset()
    return 0 if offset is None else int(offset.total_seconds())


@cache
def _names() -> frozenset[str]:
    """Return what the database has: walking the disk takes ten milliseconds, and once is enough."""
    return frozenset(name for name in available_timezones() if _ZONE_NAME.fullmatch(name) and name != "Factory")


@lru_cache(maxsize=2_048)
def _zone(name: str) -> ZoneInfo | None:
    if name not in _names():
        return None
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):  # OSError: "America" is a directory
        return None
