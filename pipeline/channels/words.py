"""Extracts a provider's error text from an answer: JSON of any shape, plain text, or a web page."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Final

from pipeline.domain.verdict import Unknown

if TYPE_CHECKING:
    from pipeline.channels.http import HttpAnswer

MOST: Final = 300
"""Characters of an error."""
READ: Final = 20_000
"""Bytes of a text or page that are looked at for its words."""
DEEPEST: Final = 4
SPOKEN: Final = (
    "title",
    "message",
    "detail",
    "error",
    "error_message",
    "errorMessage",
    "error_description",
    "reason",
    "description",
    "exception",
    "errors",
)
"""Members in which errors speak (RFC 9457; NestJS; Twilio; Resend). No others: WAHA's 500 repeats the request, address
and text included."""
NAMED: Final = ("name", "code", "type", "error", "errors", "exception")
"""Text of an error that has no message."""
FAILED: Final = frozenset({"failed", "failure", "error", "undelivered", "canceled", "cancelled", "rejected", "refused"})
_TAG: Final = re.compile(r"\s*<[!a-zA-Z/?]")


def words(answer: HttpAnswer) -> str:
    """Return the provider's error text on one line of at most `MOST` characters; "" if there is none."""
    parsed = answer.json()
    found = _of_json(parsed) if parsed is not None else _of_text(answer)
    line = "; ".join(dict.fromkeys(each for each in map(_one_line, found) if each))
    return line if len(line) <= MOST else line[: MOST - 1] + "…"


def http_words(answer: HttpAnswer, cure: str | None = None) -> str:
    """Return the status, the provider's error text, and what an operator must do."""
    said = words(answer) or "no reason"
    return f"HTTP {answer.status}: {said}{f' ({cure})' if cure else ''}"


def elsewhere(answer: HttpAnswer) -> Unknown:
    """Return what a redirect means that may come after the deed."""
    return Unknown(str(answer.status), http_words(answer, "a redirect; check base_url"))


def says_failure(parsed: object) -> bool:
    """Whether the content of a 2xx says that the request has failed."""
    if parsed is False:
        return True
    if not isinstance(parsed, dict):
        return False
    if any(
        parsed.get(name) for name in ("error", "errors", "exception", "error_code", "error_message", "errorMessage")
    ):
        return True
    if any(parsed.get(name) is False for name in ("success", "ok", "sent")) or parsed.get("ack") == -1:
        return True
    status = parsed.get("status")
    return (isinstance(status, str) and status.lower() in FAILED) or inner_status(parsed) is not None


def inner_status(parsed: object) -> int | None:
    """Return the HTTP error status that the content of an answer speaks of, or None."""
    if not isinstance(parsed, dict):
        return None
    found = [parsed.get("statusCode"), parsed.get("status"), parsed.get("code")]
    own = next((each for each in found if type(each) is int and 400 <= each <= 599), None)  # noqa: PLR2004
    return own if own is not None else inner_status(parsed.get("error"))


def _of_json(parsed: object) -> list[str]:
    return list(_spoken(parsed, SPOKEN, DEEPEST)) or list(_spoken(parsed, NAMED, DEEPEST))


def _spoken(parsed: object, names: tuple[str, ...], deep: int) -> Iterator[str]:
    match parsed:
        case str():
            yield parsed[:MOST]
        case bool() | int() | float():
            yield str(parsed).lower()
        case list() if deep:
            for each in parsed[:DEEPEST]:
                yield from _spoken(each, names, deep - 1)
        case dict() if deep:
            for name in names:
                yield from _spoken(parsed.get(name), names, deep - 1)


def _of_text(answer: HttpAnswer) -> list[str]:
    text = answer.body[:READ].decode("utf-8", "replace")
    if "html" not in answer.headers.get("content-type", "") and not _TAG.match(text):
        return [text]
    page = _Page()
    page.feed(text)
    return [" ".join(page.title), " ".join(page.text)]


def _one_line(said: str) -> str:
    return " ".join("".join(letter if letter.isprintable() else " " for letter in said).split())


class _Page(HTMLParser):
    """The title and the text of a web page."""

    def __init__(self) -> None:
        super().__init__()
        self.title: list[str] = []
        self.text: list[str] = []
        self._inside = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        del attrs
        self._inside = tag

    def handle_endtag(self, tag: str) -> None:
        del tag
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "title":
            self.title.append(data)
        elif self._inside not in ("script", "style"):
            self.text.append(data)
