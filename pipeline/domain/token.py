"""Tokens of users: 256 random bits, known to us by their hash only."""

from __future__ import annotations

from hashlib import sha256
from typing import Final

TOKEN_BYTES: Final = 32


def token_hash(token: str) -> str:
    """Return the SHA-256 of a token, in hexadecimal: 256 random bits need no slow hash."""
    return sha256(token.encode("utf-8", "surrogatepass")).hexdigest()
