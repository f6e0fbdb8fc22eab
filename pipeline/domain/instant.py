"""Instants as producers write them: integer milliseconds or ISO 8601 with offset, and none that cannot be meant."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Final

EARLIEST_MS: Final = 1_000_000_000_000
"""2001-09-09T01:46:40Z. Below it stand seconds, day numbers and zeros, and no touch of today."""
LATEST_MS: Final = 253_402_300_799_999
"""9999-12-31T23:59:59.999Z, which is written for "never"."""
FARTHEST_MS: Final = 7_258_118_400_000
"""2200-01-01: a touch that may not be sent before then is refused."""
ALLOWED: Final = "integer milliseconds since 1970, or ISO 8601 with offset"
_ISO = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d(:\d\d(\.\d{1,9})?)?([Zz]|[+-]\d\d(:?\d\d)?)")
_SECONDS, _MICROSECONDS, _NANOSECONDS = range(10**9, 10**11), range(10**14, 10**17), range(10**17, 10**20)
_DAY_NUMBERS = range(20_000, 100_000)
"""1954 to 2173, as a spreadsheet counts days."""


class NotAnInstant(ValueError):
    """No instant, or one that cannot be meant; the message says which."""


def instant_ms(value: object, *, earliest_ms: int = EARLIEST_MS, latest_ms: int = LATEST_MS) -> int:
    """Return `value` in epoch milliseconds. Raises NotAnInstant for what is none, or not within these bounds."""
    at = _read_ms(value)
    if at is None:
        raise NotAnInstant(ALLOWED)
    if earliest_ms <= at <= latest_ms:
        return at
    raise NotAnInstant(_looks_like(-1 if isinstance(value, str | datetime) else at, at))


def _read_ms(value: object) -> int | None:
    if isinstance(value, datetime):
        return round(value.timestamp() * 1000)
    if isinstance(value, float) and value.is_integer():  # a data frame's column with an empty cell
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if not isinstance(value, str) or len(value) > 40 or _ISO.fullmatch(value) is None:  # noqa: PLR2004 - the longest form
        return None
    try:
        return round(datetime.fromisoformat(value.upper()).timestamp() * 1000)
    except (ValueError, OverflowError):
        return None


def _looks_like(number: int, at_ms: int) -> str:
    for unit, span in (("seconds", _SECONDS), ("microseconds", _MICROSECONDS), ("nanoseconds", _NANOSECONDS)):
        if number in span:
            return f"{ALLOWED}; it looks like epoch {unit}: milliseconds are needed"
    if number in _DAY_NUMBERS:
        return f"{ALLOWED}; it looks like a spreadsheet's day number"
    return f"{ALLOWED}; it is {'before 2001-09-09' if at_ms < EARLIEST_MS else 'further ahead than can be meant'}"
