"""The error for bytes that cannot be decoded."""

from __future__ import annotations

from typing import Final

ERROR_CHARACTERS: Final = 500
"""Most characters of the message: a library's may contain the whole record."""


class Undecodable(Exception):
    """These bytes cannot be decoded as a touch; the message is short and says why."""

    def __init__(self, why: str) -> None:
        super().__init__(why if len(why) <= ERROR_CHARACTERS else f"{why[:ERROR_CHARACTERS]}…")
