"""The body of a callback whose signature holds: a JSON object, of bounded depth; and what may be kept of its texts."""

from __future__ import annotations

import re
from typing import Any, Final

import orjson

from pipeline.domain.callback import NotReadable
from pipeline.domain.instant import NotAnInstant, instant_ms
from pipeline.domain.nesting import is_deeper_than
from pipeline.domain.story import shortened
from pipeline.masking import masked

DEEPEST: Final = 64
"""Most levels of nesting. WAHA repeats messages as its engines have them: about 20."""
LONGEST_ID: Final = 256
"""Characters of a message id; the longest known are WAHA's, about 80."""
ERROR_CHARACTERS: Final = 300
_NUMBER: Final = re.compile(r"\d[\d ().-]{5,}\d")
"""What may be a phone number; `masked` knows those with a plus sign."""


def json_object(body: bytes) -> dict[str, Any]:
    """Return the JSON object in `body`. Raises NotReadable."""
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError as error:  # not UTF-8, deeper than 1,024
        raise NotReadable(str(error)) from None
    if not isinstance(found, dict):
        raise NotReadable("no JSON object")
    if is_deeper_than(DEEPEST, found, body):
        raise NotReadable(f"nested deeper than {DEEPEST} levels")
    return found


def member(found: object, *names: str) -> Any:
    """Return the member at this path of nested objects, or None."""
    for name in names:
        found = found.get(name) if isinstance(found, dict) else None
    return found


def text_at(found: object, *names: str) -> str:
    """Return the text at this path of nested objects; "" if there is none."""
    said = member(found, *names)
    return said if isinstance(said, str) else ""


def id_at(found: object, *names: str) -> str:
    """Return the id at this path; "" if there is none, or none that can be a provider's."""
    said = text_at(found, *names)
    return said if len(said) <= LONGEST_ID else ""


def provider_ms(said: object) -> int | None:
    """Return the instant that a provider gives, epoch milliseconds, or None."""
    try:
        return instant_ms(said)
    except NotAnInstant:
        return None


def told_error(said: str) -> str | None:
    """Return a provider's words without addresses, or None."""
    line = " ".join("".join(letter if letter.isprintable() else " " for letter in said[: 4 * ERROR_CHARACTERS]).split())
    return shortened(_NUMBER.sub("***", masked(line)), ERROR_CHARACTERS) or None
