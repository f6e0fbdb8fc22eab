"""Addresses, normalised: E.164 by phonenumbers, one e-mail address with its domain in lower case."""

from __future__ import annotations

from functools import lru_cache

import phonenumbers
from email_validator import EmailNotValidError, validate_email

REMEMBERED = 50_000


class BadAddress(ValueError):
    """Not an address; the message says why."""


@lru_cache(maxsize=REMEMBERED)
def normal_phone(text: str, region: str | None, numbers: str) -> str:
    """Return `text` in E.164.

    `region` (ISO 3166, "US") reads numbers without "+"; None refuses them. `numbers` is "valid" (the numbering plan
    knows it) or "possible" (its length is right). Raises BadAddress.
    """
    stripped = text.strip()
    if not stripped.startswith("+") and region is None:
        raise BadAddress("a phone number must start with + (or configure the channel's region)")
    try:
        number = phonenumbers.parse(stripped, region)
    except phonenumbers.NumberParseException as error:
        raise BadAddress(f"not a phone number: {str(error).lower()}") from None
    if number.extension:
        raise BadAddress("a phone number must have no extension")
    if any(c.isalpha() for c in stripped):
        raise BadAddress("a phone number must have no letters")
    judge = phonenumbers.is_possible_number if numbers == "possible" else phonenumbers.is_valid_number
    if not judge(number):
        raise BadAddress(f"not a {numbers} phone number")
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


@lru_cache(maxsize=REMEMBERED)
def normal_email(text: str) -> str:
    """Return the one e-mail address in `text`, its domain in lower case. No DNS is asked. Raises BadAddress."""
    try:
        found = validate_email(text.strip(), check_deliverability=False, allow_smtputf8=True)
    except EmailNotValidError as error:
        raise BadAddress(f"not one e-mail address: {error}") from None
    return f"{found.local_part}@{found.domain.lower()}"
