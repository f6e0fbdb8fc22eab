"""Reads attachments as producers write them; each fault names its member."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Mapping
from typing import Final

from pipeline.domain.rules import is_one_line
from pipeline.domain.work import Attachment

FILENAME_LENGTH: Final = 255
CONTENT_TYPE_LENGTH: Final = 255
URL_LENGTH: Final = 8_192
_DATA = re.compile(r"data:([^;,]*)(?:;[^;,]+)*;base64,", re.IGNORECASE)
_SPACE: Final = dict.fromkeys(map(ord, " \t\r\n"))
_URL_SAFE: Final = str.maketrans("-_", "+/")

Complain = Callable[[str, object, str], None]
"""Takes the member's name, what was found, and what is allowed."""


class NotBase64(ValueError):
    """The message says what is wrong."""


def read_attachment(name: str, value: object, complain: Complain) -> Attachment | None:
    """Return the attachment that `value` describes, or None after having complained."""
    if not isinstance(value, Mapping):
        complain(name, value, "filename, content_type, and content or url")
        return None
    filename = _line(f"{name}.filename", value.get("filename"), FILENAME_LENGTH, complain)
    kind = _line(f"{name}.content_type", value.get("content_type"), CONTENT_TYPE_LENGTH, complain, absent=True)
    url = _url(f"{name}.url", value.get("url"), complain)
    content = _content(f"{name}.content", value.get("content"), complain)
    if value.get("content") is None and value.get("url") is None:
        complain(name, filename, "either content (base64) or url; it has neither")
    elif value.get("content") is not None and value.get("url") is not None:
        complain(name, filename, "either content (base64) or url; it has both")
    return None if filename is None else Attachment(filename, kind or None, content, url)


def decoded(text: str) -> bytes:
    """Return the bytes of base64, as mailers and web pages write it. Raises NotBase64.

    Line breaks, the URL-safe alphabet, padding left out, and `data:…;base64,` before it leave nothing to guess.
    """
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return _mended(text)


def _mended(text: str) -> bytes:
    if text[:5].lower() == "data:":
        if (found := _DATA.match(text[:1_000])) is None:
            raise NotBase64("a data: URI must be ;base64")
        text = text[found.end() :]
    plain = text.translate(_SPACE).rstrip("=")
    if ("-" in plain or "_" in plain) and ("+" in plain or "/" in plain):
        raise NotBase64("it mixes two alphabets")
    plain = plain.translate(_URL_SAFE)
    if (wrong := re.search(r"[^A-Za-z0-9+/]", plain)) is not None:
        raise NotBase64(f"{wrong[0]!r} is not of its alphabet")
    if len(plain) % 4 == 1:
        raise NotBase64("it is cut off")
    return base64.b64decode(plain + "=" * (-len(plain) % 4))


def _line(name: str, value: object, most: int, complain: Complain, *, absent: bool = False) -> str | None:
    if value is None and absent:
        return None
    if not isinstance(value, str) or not (absent or value) or len(value) > most or not is_one_line(value):
        complain(name, value, f"one line of 1 to {most} characters, no control characters")
        return None
    return value


def _content(name: str, value: object, complain: Complain) -> bytes | None:
    if value is None or isinstance(value, bytes):
        return value
    if not isinstance(value, str):
        complain(name, value, "base64")
        return None
    try:
        return decoded(value)
    except NotBase64 as error:
        complain(name, value, f"base64; {error}")
        return None


def _url(name: str, value: object, complain: Complain) -> str | None:
    if value is None:
        return None
    if (
        not isinstance(value, str)
        or not value.startswith(("https://", "http://"))
        or len(value) > URL_LENGTH
        or not is_one_line(value)
    ):
        complain(name, value, f"an http(s) address of at most {URL_LENGTH} characters")
        return None
    return value
