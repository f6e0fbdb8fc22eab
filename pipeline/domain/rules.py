"""The single rules of a touch, each a predicate or a reader that names what is allowed."""

from __future__ import annotations

import re
import unicodedata
from zoneinfo import available_timezones

from pipeline.domain.zone import is_zone

TOUCH_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
NAME_LENGTH = 256
HEADER_NAME = re.compile(r"[!-9;-~]{1,76}")
"""RFC 5322 section 2.2: printable US-ASCII except colon."""
OWN_HEADERS = frozenset({"from", "to", "cc", "bcc", "subject", "reply-to", "date", "message-id", "mime-version"})
SMS_CHARACTERS = 1_600
"""Twilio error 21617."""
MOST_HEADER_BYTES = 998
"""RFC 5322 section 2.1.1."""


def is_touch_id(value: object) -> bool:
    """Whether `value` can be a touch_id."""
    return isinstance(value, str) and TOUCH_ID.fullmatch(value) is not None


def is_name(value: str) -> bool:
    """Whether `value` is 1 to 256 characters, none a control character."""
    return 0 < len(value) <= NAME_LENGTH and not any(unicodedata.category(c) == "Cc" for c in value)


def is_time_zone(value: str) -> bool:
    """Whether `value` names a zone of the IANA database."""
    return is_zone(value) or value in available_timezones()


def header_fault(name: str, value: str) -> str | None:
    """Return what is wrong with an e-mail header, or None (RFC 5322 section 2.2)."""
    if HEADER_NAME.fullmatch(name) is None:
        return "its name must be printable US-ASCII without a colon or space"
    if name.lower() in OWN_HEADERS or name.lower().startswith("content-"):
        return "it is set by the pipeline itself"
    if any(c in value for c in "\r\n\0"):
        return "its value must not contain line breaks"
    if len(name.encode()) + 2 + len(value.encode()) > MOST_HEADER_BYTES:
        return f"it must not be longer than {MOST_HEADER_BYTES} bytes"
    return None


def is_one_line(value: str) -> bool:
    """Whether `value` may stand in a header: no line breaks, no NUL."""
    return not any(c in value for c in "\r\n\0")
