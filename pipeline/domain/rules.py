"""The single rules of a touch, each a predicate or a reader that names what is allowed."""

from __future__ import annotations

import re

TOUCH_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
NAME_LENGTH = 256
MOST_ENTRIES = 1_000
"""Of variables, and of metadata."""
HEADER_NAME = re.compile(r"[!-9;-~]{1,76}")
"""RFC 5322 section 2.2: printable US-ASCII except colon."""
OWN_HEADERS = frozenset({"from", "to", "cc", "bcc", "subject", "reply-to", "date", "message-id", "mime-version"})
_CC = re.compile(r"[\x00-\x1f\x7f-\x9f]")
"""Unicode's control characters (category Cc)."""
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f\x85\u2028\u2029]")
"""All but the tab: an old header may be folded by it."""
MOST_HEADER_BYTES = 998
"""RFC 5322 section 2.1.1."""


def is_touch_id(value: object) -> bool:
    """Whether `value` can be a touch_id."""
    return isinstance(value, str) and TOUCH_ID.fullmatch(value) is not None


def is_name(value: str) -> bool:
    """Whether `value` is 1 to 256 characters, none a control character."""
    return 0 < len(value) <= NAME_LENGTH and _CC.search(value) is None


def header_fault(name: str, value: str) -> str | None:
    """Return what is wrong with an e-mail header, or None (RFC 5322 section 2.2)."""
    if HEADER_NAME.fullmatch(name) is None:
        return "its name must be printable US-ASCII without a colon or space"
    if name.lower() in OWN_HEADERS or name.lower().startswith("content-"):
        return "it is set by the pipeline itself"
    if len(value) > MOST_HEADER_BYTES or len(name.encode()) + 2 + len(value.encode()) > MOST_HEADER_BYTES:
        return f"it must not be longer than {MOST_HEADER_BYTES} bytes"
    if not is_one_line(value):
        return "its value must not contain line breaks or control characters"
    return None


def is_one_line(value: str) -> bool:
    """Whether `value` may stand in a header: no line breaks, no control characters."""
    return _CONTROL.search(value) is None
