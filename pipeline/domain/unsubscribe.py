"""Links that unsubscribe with one click (RFC 8058): a code per e-mail address, which needs no look-up and ages not."""

from __future__ import annotations

import base64
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from pipeline.domain.address_hash import DIGEST_BYTES

LIST_UNSUBSCRIBE: Final = "List-Unsubscribe"
LIST_UNSUBSCRIBE_POST: Final = "List-Unsubscribe-Post"
ONE_CLICK: Final = "List-Unsubscribe=One-Click"
"""The body of the request that a mail program sends (RFC 8058, section 3.1)."""
VARIABLE: Final = "unsubscribe_url"
"""What templates of e-mails call the link."""
PATH: Final = "u"
_EMAIL: Final = b"\x01"
"""What is unsubscribed: marketing e-mails. The only kind so far."""
_TAG_BYTES: Final = 16
_CODE: Final = re.compile(r"[A-Za-z0-9_-]{44}")
"""33 bytes in base64 without a bit to spare, so that each code is written in one way."""


@dataclass(frozen=True, slots=True)
class UnsubscribeLinks:
    """Makes and reads the codes. A code is the address's hash and a signature: no address, the same for the same address."""

    public_url: str
    """Without a slash at the end; not needed to read codes."""
    privacy_key: bytes = field(repr=False)
    """At least 32 bytes: who lacks it can make no code."""

    def url(self, recipient: str) -> str:
        """Return the link for an address, given its hash."""
        return f"{self.public_url}/{PATH}/{self.code(recipient)}"

    def code(self, recipient: str) -> str:
        """Return the code of an address, given its hash: 44 characters of `A-Za-z0-9_-`."""
        whom = _EMAIL + bytes.fromhex(recipient)
        return base64.urlsafe_b64encode(whom + self._tag(whom)).decode()

    def recipient(self, code: str) -> str | None:
        """Return the hash of the address that a code is for, or None: it was not made with this key."""
        if _CODE.fullmatch(code) is None:
            return None
        said = base64.urlsafe_b64decode(code)
        whom, tag = said[: 1 + DIGEST_BYTES], said[1 + DIGEST_BYTES :]
        is_ours = hmac.compare_digest(tag, self._tag(whom)) and whom[:1] == _EMAIL
        return whom[1:].hex() if is_ours else None

    def _tag(self, whom: bytes) -> bytes:
        return hmac.digest(self.privacy_key, b"unsubscribe\0" + whom, "sha256")[:_TAG_BYTES]


def with_one_click(headers: Mapping[str, str], url: str) -> dict[str, str]:
    """Return the headers of an e-mail with those of one-click unsubscribe, unless it has a `List-Unsubscribe` of its own."""
    names = {name.lower() for name in headers}
    if LIST_UNSUBSCRIBE.lower() in names:
        return dict(headers)
    kept = {name: value for name, value in headers.items() if name.lower() != LIST_UNSUBSCRIBE_POST.lower()}
    return {**kept, LIST_UNSUBSCRIBE: f"<{url}>", LIST_UNSUBSCRIBE_POST: ONE_CLICK}
