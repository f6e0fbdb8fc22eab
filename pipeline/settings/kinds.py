"""The kinds of scalar values: each has the allowed values in words, and parses the TOML value."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from datetime import date, datetime, time
from difflib import get_close_matches
from email.utils import getaddresses
from enum import StrEnum
from typing import Final, Never, TypeVar
from urllib.parse import urlsplit
from zoneinfo import available_timezones

import phonenumbers

from pipeline.domain.window import RECIPIENT
from pipeline.domain.zone import is_zone
from pipeline.secret import Address, Secret
from pipeline.settings.key_path import InvalidValue
from pipeline.settings.schema import Scalar

_UNIT_MS: Final = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_DURATION = re.compile(r"(\d{1,12})(ms|s|m|h|d)")
_CLOCK = re.compile(r"([01]\d|2[0-3]):([0-5]\d)(?::([0-5]\d))?")
_SERVER = re.compile(r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+)(:[1-9]\d{0,4})?")
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_NO_SPACE = re.compile(r"[!-~]{1,4096}")
_LAST_PORT: Final = 65_535
_LONGEST_MS: Final = 3650 * _UNIT_MS["d"]
MOST_A_DAY: Final = 1_000_000_000
DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


def duration_ms(text: str) -> int:
    """Return a duration such as "250ms", "5s", "10m", "12h" or "30d" in milliseconds. Raises InvalidValue."""
    found = _DURATION.fullmatch(text)
    if found is None:
        raise InvalidValue
    return int(found[1]) * _UNIT_MS[found[2]]


def duration(least: str = "1ms", most: str = "3650d") -> Scalar[int]:
    """A duration in milliseconds between `least` and `most`."""
    low, high = duration_ms(least), duration_ms(most)

    def parse(value: object) -> int:
        found = duration_ms(_text(value))
        return found if low <= found <= high else _invalid()

    if high == _LONGEST_MS:
        return Scalar(f'a duration such as "250ms" "5s" "10m" "12h" "30d", at least "{least}"', parse)
    return Scalar(f'a duration such as "250ms" "5s" "10m" "12h" "30d", from "{least}" to "{most}"', parse)


def whole(least: int, most: int) -> Scalar[int]:
    """A whole number between `least` and `most`."""

    def parse(value: object) -> int:
        fits = isinstance(value, int) and not isinstance(value, bool) and least <= value <= most
        return value if fits and isinstance(value, int) else _invalid()

    return Scalar(f"a whole number from {least} to {most}", parse)


E = TypeVar("E", bound=StrEnum)


def choice(*words: str) -> Scalar[str]:
    """One of `words`."""

    def parse(value: object) -> str:
        return str(value) if isinstance(value, str) and value in words else _invalid()

    return Scalar(" or ".join(f'"{word}"' for word in words), parse)


def member_of(kind: type[E]) -> Scalar[E]:
    """One member of a closed set, written as its value."""
    spelled = choice(*(each.value for each in kind))
    return Scalar(spelled.allowed, lambda value: kind(spelled.parse(value)))


def text(pattern: str, allowed: str) -> Scalar[str]:
    """Text that matches `pattern` as a whole."""
    compiled = re.compile(pattern)

    def parse(value: object) -> str:
        found = _text(value)
        return str(found) if compiled.fullmatch(found) else _invalid()

    return Scalar(allowed, parse)


def _url(value: object) -> str:
    found = str(_text(value))
    check_url(found, query=False, user=False)
    return found.rstrip("/")


def _url_with_login(value: object) -> Address:
    found = str(_text(value))
    check_url(found, query=False, user=True)
    return Address.read(found.rstrip("/"))


def array(kind: Callable[[object], str], allowed: str, *, least: int = 1, one: bool = True) -> Scalar[tuple[str, ...]]:
    """An array of what `kind` parses, without repeats; with `one`, a single item needs no brackets."""

    def parse(value: object) -> tuple[str, ...]:
        items = [value] if one and isinstance(value, str) else value
        if not isinstance(items, list) or len(items) < least:
            raise InvalidValue
        found = tuple(dict.fromkeys(kind(item) for item in items))
        return found if len(found) == len(items) else _invalid("each only once")

    return Scalar(allowed, parse)


def _servers(value: object) -> tuple[str, ...]:
    items = value.split(",") if isinstance(value, str) else value
    if not isinstance(items, list) or not items:
        raise InvalidValue
    return tuple(dict.fromkeys(_server(item) for item in items))


def _server(value: object) -> str:
    found = _SERVER.fullmatch(_text(value).strip())
    if found is None or (found[2] and int(found[2][1:]) > _LAST_PORT):
        raise InvalidValue
    return found[1] + (found[2] or ":9092")


def _mail_address(value: object) -> str:
    found = str(_text(value))
    parsed = getaddresses([found])
    if not found.isprintable() or len(parsed) != 1 or not re.fullmatch(r"[^@\s]+@[^@\s]+", parsed[0][1]):
        raise InvalidValue
    return found


def _clock(value: object) -> int:
    if isinstance(value, time) and value.microsecond == 0:
        return value.hour * 3600 + value.minute * 60 + value.second
    found = _CLOCK.fullmatch(_text(value))
    if found is None:
        raise InvalidValue
    return int(found[1]) * 3600 + int(found[2]) * 60 + int(found[3] or 0)


def _clock_or_midnight(value: object) -> int:
    return 86_400 if value in ("24:00", "24:00:00") else _clock(value)


def _zone(value: object) -> str:
    name = str(_text(value))
    if is_zone(name):
        return name
    close = get_close_matches(name, sorted(available_timezones()), n=1)
    raise InvalidValue(f'did you mean "{close[0]}"?' if close else "")


def _zone_or_recipient(value: object) -> str:
    return RECIPIENT if value == RECIPIENT else _zone(value)


def _date(value: object) -> date:
    if isinstance(value, date) and not isinstance(value, datetime):
        return value
    found = _text(value)
    try:
        return date.fromisoformat(found) if _DATE.fullmatch(found) else _invalid()
    except ValueError:
        raise InvalidValue from None


def _dates(value: object) -> frozenset[date]:
    return frozenset(_date(item) for item in value) if isinstance(value, list) else _invalid()


def _days(value: object) -> frozenset[int]:
    if not isinstance(value, list) or not value or not all(isinstance(day, str) and day in DAYS for day in value):
        raise InvalidValue
    return frozenset(DAYS.index(day) for day in value)


def _region(value: object) -> str:
    return str(value) if isinstance(value, str) and value in phonenumbers.SUPPORTED_REGIONS else _invalid()


def _callback(value: object) -> Address:
    found = str(_text(value))
    without = found.replace("{touch_id}", "touch")
    if "{" in without or "}" in without:
        raise InvalidValue("the only thing filled in is {touch_id}")
    check_url(without, query=True, user=True)  # Twilio sends a user and password given there (basic authentication)
    return Address.read(found)


def check_url(found: str, *, query: bool, user: bool) -> None:
    """Raise InvalidValue if `found` is no URL of HTTP, or has a query, or user and password, that are not allowed."""
    try:
        parts = urlsplit(found)
        right = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        raise InvalidValue from None
    if not right or not _NO_SPACE.fullmatch(found) or parts.fragment or (parts.query and not query):
        raise InvalidValue
    if parts.username is not None and not user:
        raise InvalidValue("without user and password")


def _command(value: object) -> str:
    found = str(_text(value))
    try:
        return found if shlex.split(found) else _invalid()
    except ValueError:
        raise InvalidValue from None


def _text(value: object) -> str:
    return value if isinstance(value, str) else _invalid()


def _invalid(more: str = "") -> Never:
    raise InvalidValue(more)


def _flag(value: object) -> bool:
    return value if isinstance(value, bool) else _invalid()


def _cap(value: object) -> int | None:
    return None if value == "none" else whole(1, MOST_A_DAY).parse(value)


SERVERS = Scalar('one or more "host:port"', _servers)
CLOCK = Scalar('"HH:MM" or "HH:MM:SS"', _clock)
CLOCK_OR_MIDNIGHT = Scalar('"HH:MM", "HH:MM:SS" or "24:00"', _clock_or_midnight)
ZONE = Scalar('an IANA time zone such as "America/New_York"', _zone)
ZONE_OR_RECIPIENT = Scalar('an IANA time zone such as "America/New_York", or "recipient"', _zone_or_recipient)
FLAG = Scalar("true or false", _flag)
CAP = Scalar(f'a whole number from 1 to {MOST_A_DAY}, or "none"', _cap)
DATE = Scalar("a date such as 2026-11-01", _date)
DATES = Scalar("an array of dates such as [2026-12-25]", _dates)
WEEKDAYS = Scalar("an array of " + " ".join(f'"{day}"' for day in DAYS), _days)
REGION = Scalar('a region in two capital letters such as "US"', _region)
URL = Scalar('a URL such as "http://127.0.0.1:3000"', _url)
URL_WITH_LOGIN = Scalar('a URL such as "http://127.0.0.1:8081" or "https://user:password@example.com"', _url_with_login)
CALLBACK = Scalar('a URL such as "https://example.com/status/{touch_id}"', _callback)
SECRET = text(r"[!-~]{1,4096}", "text without blanks")
PASSWORD = text(r"[^\x00]{1,4096}", "text")
NAME = text(r"[^\x00-\x1f\x7f]{1,128}", "1 to 128 characters, none of them a control character")


def secrets(is_allowed: Callable[[str], bool], allowed: str) -> Scalar[tuple[Secret, ...]]:
    """One or an array of secrets, any of which counts; [] is none."""
    each = array(lambda value: SECRET.parse(value) if is_allowed(str(value)) else _invalid(), allowed, least=0)
    return Scalar(f"{allowed}, or an array of them", lambda value: tuple(Secret(text) for text in each.parse(value)))


COMMAND = Scalar("a command and its arguments, quoted as in a shell", _command)
FILE = text(r"[^\x00]+", "a path")
SENDER_ADDRESSES = array(_mail_address, 'one address or an array of them, each "a@b.c" or "Name <a@b.c>"')
