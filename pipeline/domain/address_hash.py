"""The name under which a recipient's address stands in statuses, suppressions and links: a hash, never the address."""

from __future__ import annotations

from hashlib import blake2b
from typing import Final

from pipeline.domain.work import Channel

DIGEST_BYTES: Final = 16
_FINGERPRINTED: Final = b"privacy.key"
"""No address: those begin with `phone:` or `email:`."""


def address_hash(channel: Channel, address: str, key: bytes = b"") -> str:
    """Return the hash of a normalised address of `channel`: 32 lower-case hexadecimal digits.

    BLAKE2b over `phone:<E.164>` or `email:<address in lower case>`, keyed with `key` (`privacy.key`; at most 64 bytes,
    empty: no key, and then a number can be found by trying all). A number has one hash on WhatsApp and SMS.
    """
    text = f"email:{address.lower()}" if channel is Channel.EMAIL else f"phone:{address}"
    return blake2b(text.encode(), digest_size=DIGEST_BYTES, key=key).hexdigest()


def key_fingerprint(key: bytes) -> str:
    """Return what tells one `privacy.key` from another, without telling the key: 32 lower-case hexadecimal digits."""
    return blake2b(_FINGERPRINTED, digest_size=DIGEST_BYTES, key=key).hexdigest()
