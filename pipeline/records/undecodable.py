"""What is said of bytes that are no touch."""

from __future__ import annotations

from typing import Final

ERROR_CHARACTERS: Final = 500
"""A library's message may hold the whole record."""


class Undecodable(Exception):
    """No touch can be read from these bytes; the message says why, and is short."""

    def __init__(self, why: str) -> None:
        super().__init__(why if len(why) <= ERROR_CHARACTERS else f"{why[:ERROR_CHARACTERS]}…")
