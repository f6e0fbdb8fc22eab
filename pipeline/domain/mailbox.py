"""E-mail addresses, each read once: what goes out is ASCII, the domain in lower case and in punycode."""

from __future__ import annotations

import re
from collections.abc import Callable
from email.utils import getaddresses
from functools import lru_cache
from typing import Final
from urllib.parse import quote, unquote

from email_validator import EmailNotValidError, ValidatedEmail, validate_email

from pipeline.domain.address import REMEMBERED, BadAddress, without_invisible

LONGEST: Final = 320
"""Characters of an address: 64 before the @, 255 behind it (RFC 5321 section 4.5.3.1)."""
DOMAINS: Final = 10_000
"""Number of judged domains kept in memory."""
MOST_COMMENTS: Final = 20
"""Parentheses in a header of addresses: the library that reads them goes into nested ones as deep as they go."""
LONGEST_MAILBOX: Final = 640
"""With a display name."""
_PLAIN = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]+@[a-z0-9-]+(\.[a-z0-9-]+)+")
LONGEST_PLAIN: Final = 254
"""Characters of an address with its @ (RFC 5321 section 4.5.3.1.3, a path less its < >)."""
_DOT_ATOM = re.compile(
    r"((?=.{1,64}@)[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*@)([A-Za-z0-9.-]+)"
)
"""What most addresses are (RFC 5322 section 3.4.1): its domain only is left to be judged."""
_ATOMS = re.compile(r"(?:[A-Za-z0-9!#$%&'*+/=?^_`{|}~ -]|[^\x00-\x7f])+")
_BARE_NAME = re.compile(r'([^"<>@\\]*[^"<>@\\ ]) *<([^<>]+)>')
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


@lru_cache(maxsize=REMEMBERED)
def normal_email(text: str) -> str:
    """Return the one e-mail address in `text`, its domain in lower case and ASCII. No DNS is asked. Raises BadAddress.

    Not taken: what SES, and so Resend, does not take; letters outside ASCII before the @ (RFC 6531, SMTPUTF8).
    """
    if len(text) > LONGEST:
        raise BadAddress(f"an e-mail address must not be longer than {LONGEST} characters")
    if (plainest := _DOT_ATOM.fullmatch(text)) is not None and len(text) <= LONGEST_PLAIN:
        return plainest[1] + _domain(plainest[2])
    plain = _trimmed(text)
    if re.search(r"[<>]", plain):
        raise BadAddress("not one e-mail address: it must stand alone, without a name and < >")
    return _ascii(_validated(plain, with_name=False))


@lru_cache(maxsize=REMEMBERED)
def normal_mailbox(text: str) -> str:
    """Return the one address in `text`, with its display name if it has one: `Name <a@b.c>`. Raises BadAddress."""
    if len(text) > LONGEST_MAILBOX:
        raise BadAddress(f"an address with its name must not be longer than {LONGEST_MAILBOX} characters")
    plain = _trimmed(text)
    if _CONTROL.search(plain):
        raise BadAddress("an address must have no line breaks or control characters")
    if (bare := _BARE_NAME.fullmatch(plain)) is not None:  # people do not quote what RFC 5322 wants quoted
        name, address = bare[1], _ascii(_validated(bare[2], with_name=False))
    else:
        found = _validated(plain, with_name=True)
        name, address = (found.display_name or "").strip(), _ascii(found)
    if not name:
        return address
    return f"{name if _ATOMS.fullmatch(name) else _quoted(name)} <{address}>"


def normal_header(name: str, value: str) -> str:
    """Return the value of an e-mail header, the addresses in it normalised. Raises BadAddress."""
    if (normal := _WITH_ADDRESSES.get(name.lower())) is None:
        return value
    return normal(value)


@lru_cache(maxsize=DOMAINS)
def _domain(text: str) -> str:
    """Return the domain of an address, in lower case and ASCII. Raises BadAddress."""
    return _ascii(_validated(f"a@{text}", with_name=False))[2:]


def _trimmed(text: str) -> str:
    """Return `text` without what is invisible at its ends; inside, a joiner may be part of a domain (RFC 5892)."""
    start, end = 0, len(text)
    while start < end and not without_invisible(text[start]).strip():
        start += 1
    while start < end and not without_invisible(text[end - 1]).strip():
        end -= 1
    return text[start:end]


def _validated(text: str, *, with_name: bool) -> ValidatedEmail:
    try:
        return validate_email(text, check_deliverability=False, allow_smtputf8=True, allow_display_name=with_name)
    except EmailNotValidError as error:
        raise BadAddress(f"not one e-mail address: {str(error)[:200]}") from None


def _ascii(found: ValidatedEmail) -> str:
    if not found.local_part.isascii():
        raise BadAddress(
            "not an e-mail address that is delivered everywhere: before the @ only ASCII is taken (no SMTPUTF8)"
        )
    return f"{found.local_part}@{found.ascii_domain.lower()}"


def _uris(value: str) -> str:
    """Normalise the mailto: addresses of a list of URIs in < > (RFC 2369, RFC 6068)."""
    return value if "mailto:" not in value.lower() else _MAILTO.sub(_mailto, value)


_MAILTO = re.compile(r"(?<=<)(\s*mailto:)([^?>]*)", re.IGNORECASE)


def _mailto(found: re.Match[str]) -> str:
    said = found[2].strip()
    if _PLAIN.fullmatch(said):
        return found[0]
    each = [normal_email(unquote(part)) for part in said.split(",")] if said else []
    return found[1].strip() + ",".join(quote(part, safe="@!$&'*+/=_`{|}~.-") for part in each)


def _mailboxes(value: str) -> str:
    if _PLAIN.fullmatch(value):
        return value
    if value.count("(") > MOST_COMMENTS:
        raise BadAddress(f"it has more than {MOST_COMMENTS} comments")
    return ", ".join(
        normal_mailbox(f"{_quoted(name)} <{address}>" if name else address) for name, address in getaddresses([value])
    )


def _quoted(name: str) -> str:
    return '"' + re.sub(r'(["\\])', r"\\\1", name) + '"'


_WITH_ADDRESSES: Final[dict[str, Callable[[str], str]]] = {
    **dict.fromkeys(
        ("list-unsubscribe", "list-subscribe", "list-help", "list-owner", "list-post", "list-archive"), _uris
    ),
    **dict.fromkeys(
        (
            "sender",
            "return-path",
            "errors-to",
            "disposition-notification-to",
            "return-receipt-to",
            "resent-from",
            "resent-sender",
            "resent-to",
            "resent-cc",
            "resent-bcc",
            "mail-reply-to",
            "mail-followup-to",
            "x-confirm-reading-to",
        ),
        _mailboxes,
    ),
}
"""Headers with addresses (RFC 2369, RFC 5322 section 3.6, RFC 8098 and what is used beside them)."""
