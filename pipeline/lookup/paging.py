"""Pages of lists whose rows are in order: where the next one begins is the key of the last row, packed into a word."""

from __future__ import annotations

import base64
import binascii
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, TypeVar
from zlib import crc32

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

PAGE: Final = 100
"""Most rows of a page."""
_LIST_BYTES: Final = 4

Page = tuple[list[dict[str, Any]], str | None]
"""The rows, newest first, and what gives the next page as `after`; None: there is none."""

T = TypeVar("T")


class BadCursor(ValueError):
    """An `after` that no page of this list gave."""


class Listing:
    """One list: its name and what it is chosen by. A cursor of another list does not fit it."""

    def __init__(self, *what: str | None) -> None:
        self._mark = crc32(repr(what).encode(errors="backslashreplace")).to_bytes(_LIST_BYTES)

    def start(self, after: str | None) -> bytes:
        """Return where in the list a page begins: behind the key that `after` packs. Raises BadCursor."""
        if after is None:
            return b""
        try:
            packed = base64.b64decode(after.encode() + b"=" * (-len(after) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            raise BadCursor("after: not what this list gave as next") from None
        if packed[:_LIST_BYTES] != self._mark:
            raise BadCursor("after: not what this list gave as next")
        return packed[_LIST_BYTES:] + b"\0"

    def page(self, rows: Iterable[tuple[bytes, T]], limit: int) -> tuple[list[T], str | None]:
        """Return the first `limit` rows (1 to PAGE) of those with their keys, and the cursor behind them; None at the end."""
        limit = min(max(limit, 1), PAGE)
        found = list(islice(rows, limit + 1))
        cursor = self._cursor(found[limit - 1][0]) if len(found) > limit else None
        return [row for _, row in found[:limit]], cursor

    def _cursor(self, key: bytes) -> str:
        return base64.urlsafe_b64encode(self._mark + key).rstrip(b"=").decode()


def chosen(rows: Iterator[tuple[bytes, bytes]], value: bytes | None) -> Iterator[tuple[bytes, bytes]]:
    """Yield the rows with this value; None: all."""
    return rows if value is None else (row for row in rows if row[1] == value)
