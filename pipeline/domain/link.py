"""Allowed sources of attachments. The provider fetches them, so no name is resolved here; only the URL itself is checked."""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import Final
from urllib.parse import unquote, urlsplit

from pipeline.domain.work import Attachment


class AttachmentUrls(StrEnum):
    """Allowed sources of an e-mail's attachments."""

    PUBLIC = "public"
    """https to a public name or address, without user info."""
    ANY = "any"


_PRIVATE_NAMES: Final = (
    "localhost",
    "localdomain",
    "local",
    "internal",
    "intranet",
    "private",
    "corp",
    "home",
    "lan",
    "home.arpa",
    "test",
    "invalid",
    "onion",
    "localtest.me",
    "lvh.me",
    "nip.io",
    "sslip.io",
    "xip.io",
)
"""Names that lead, with all names below them, into a private network or back to the host. Sources: RFC 6761, 6762, 8375,
ICANN's `.internal`; the last ones are public names of private addresses."""
_NUMBER: Final = re.compile(r"0[xX][0-9a-fA-F]*|[0-9]+")
_HOST: Final = re.compile(r"[^\s\x00-\x20\x7f<>\"#%/:?@\\^`{|}\[\]]+")
_DOTS: Final = str.maketrans("\u3002\uff0e\uff61", "...")
_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")
_IPV4_COMPATIBLE: Final = ipaddress.ip_network("::/96")

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def link_faults(attachments: Sequence[Attachment], allowed: AttachmentUrls) -> Iterator[str]:
    """Yield a fault for each attachment URL that `allowed` does not permit."""
    for at, attachment in enumerate(attachments if allowed != AttachmentUrls.ANY else ()):
        if attachment.url is not None and (wrong := link_fault(attachment.url)) is not None:
            yield f"attachments[{at}].url {wrong}"


def link_fault(url: str) -> str | None:
    """Return why `url` is not public, or None. Public is https to a name of the public DNS or a global address."""
    if any(unicodedata.category(letter) in ("Cc", "Zs", "Zl", "Zp") for letter in url) or "\\" in url:
        return "has blanks, control characters or backslashes"
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return "cannot be read as an address"
    if parts.scheme != "https":
        return "must begin with https://"
    if "@" in parts.netloc:
        return "has user info in it"
    return _host_fault(host or "", is_bracketed="[" in parts.netloc)


def _host_fault(said: str, *, is_bracketed: bool) -> str | None:
    # As a browser reads it: percent-decoded, compatibility characters folded, other alphabets' dots as dots.
    host = unicodedata.normalize("NFKC", unquote(said).translate(_DOTS)).casefold()
    if is_bracketed:
        return _address_fault(host)
    host = host.removesuffix(".")
    if not host or _HOST.fullmatch(host) is None or ".." in f".{host}":
        return "has no host that can be read"
    if _NUMBER.fullmatch(host.rpartition(".")[2]) is not None:
        return _address_fault(_dotted(host))
    if "." not in host:
        return f"has the host {host!r}, which is no public name"
    if any(host == name or host.endswith(f".{name}") for name in _PRIVATE_NAMES):
        return f"has the host {host!r}, which is in a private network"
    return None


def _dotted(host: str) -> str:
    """Return an IPv4 address as four decimals, whatever way it is written: hexadecimal, octal, in fewer parts (WHATWG URL)."""
    *first, last = (_whole(part) for part in host.split("."))
    if len(first) > 3 or any(part > 255 for part in first) or last >= 256 ** (4 - len(first)):  # noqa: PLR2004
        return ""
    number = sum(part << (24 - 8 * at) for at, part in enumerate(first)) + last
    return str(ipaddress.IPv4Address(number))


def _whole(part: str) -> int:
    """Return a part's number; one that is none is too large for any place."""
    if _NUMBER.fullmatch(part) is None or len(part) > 40:  # noqa: PLR2004
        return 1 << 64
    if part[:2].lower() == "0x":
        return int(part[2:] or "0", 16)
    try:
        return int(part, 8 if len(part) > 1 and part.startswith("0") else 10)
    except ValueError:
        return 1 << 64


def _address_fault(host: str) -> str | None:
    try:
        found = ipaddress.ip_address(host)
    except ValueError:
        return "has an address that cannot be read"
    if all(each.is_global and not each.is_multicast for each in (found, *_inside(found))):
        return None
    return f"has the address {found}, which is not public"


def _inside(address: _Address) -> Iterator[_Address]:
    """Yield the IPv4 addresses that an IPv6 address carries: mapped, compatible, 6to4, Teredo, NAT64."""
    if isinstance(address, ipaddress.IPv4Address):
        return
    mapped, teredo = address.ipv4_mapped, address.teredo
    yield from (each for each in (mapped, address.sixtofour, *(teredo or ())) if each is not None)
    if mapped is None and (address in _NAT64 or address in _IPV4_COMPATIBLE):
        yield ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
