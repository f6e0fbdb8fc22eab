"""The name under which a recipient's address stands in statuses, suppressions and links: a hash, never the address."""

from __future__ import annotations

import re
from enum import StrEnum
from hashlib import blake2b
from typing import Final

from pipeline.domain.address import BadAddress
from pipeline.domain.mailbox import normal_email
from pipeline.domain.phone import NoRegion, PhoneCheck, normal_phone
from pipeline.domain.work import Channel

DIGEST_BYTES: Final = 16
_FINGERPRINTED: Final = b"privacy.key"
"""No address: those begin with `phone:` or `email:`."""


_CHAT_ID: Final = re.compile(r"@(c\.us|s\.whatsapp\.net)\s*$")
"""Ends a number as WhatsApp writes it."""


class AddressKind(StrEnum):
    """What an address is; a number is the same on WhatsApp and SMS."""

    PHONE = "phone"
    EMAIL = "email"


def read_address(text: str) -> tuple[AddressKind, str]:
    """Return the kind of the address in `text`, and the address normalised. Raises BadAddress; a number needs its +."""
    if "@" in text and _CHAT_ID.search(text) is None:
        return AddressKind.EMAIL, normal_email(text)
    try:
        return AddressKind.PHONE, normal_phone(text, None, PhoneCheck.VALID)
    except NoRegion:  # that of a channel does not count here
        raise BadAddress("a phone number must start with + and its country code") from None
    except BadAddress as error:
        try:  # a channel may take such numbers (`numbers = "possible"`)
            return AddressKind.PHONE, normal_phone(text, None, PhoneCheck.POSSIBLE)
        except BadAddress:
            raise error from None


def address_hash(of: Channel | AddressKind, address: str, key: bytes = b"") -> str:
    """Return the hash of a normalised address of a channel or kind: 32 lower-case hexadecimal digits.

    BLAKE2b over `phone:<E.164>` or `email:<address in lower case>`, keyed with `key` (`privacy.key`; at most 64 bytes,
    empty: no key, and then a number can be found by trying all). A number has one hash on WhatsApp and SMS.
    """
    text = f"email:{address.lower()}" if of == AddressKind.EMAIL else f"phone:{address}"
    return blake2b(text.encode(), digest_size=DIGEST_BYTES, key=key).hexdigest()


def key_fingerprint(key: bytes) -> str:
    """Return what tells one `privacy.key` from another, without telling the key: 32 lower-case hexadecimal digits."""
    return blake2b(_FINGERPRINTED, digest_size=DIGEST_BYTES, key=key).hexdigest()
