"""Secrets: a type that cannot be printed, and the removal of secrets from any text. Imports no other module."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from dataclasses import dataclass
from functools import cache
from typing import Final, Self
from urllib.parse import quote, unquote

MASK: Final = "***"
_ANYWHERE_CHARS: Final = 8
"""A secret of at least this length is masked inside words, too; a shorter one only as a whole word."""
_LEAST_CHARS: Final = 4
"""Shorter secrets are not masked: they cannot be distinguished from ordinary words."""
_USER_INFO = re.compile(r"(?<=://)[^\s/?#\"'<>]*@")
_known: dict[str, None] = {}


class Secret:
    """Text that only `reveal` returns: str, repr, format and log lines show `***`."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text
        if text not in _known:
            _known[text] = None
            _pattern.cache_clear()

    def reveal(self) -> str:
        """Return the text, to send it to its service."""
        return self._text

    def __str__(self) -> str:
        return MASK

    __repr__ = __str__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)

    def __reduce__(self) -> str:
        raise TypeError("a secret cannot be pickled or copied to a file")

    def __deepcopy__(self, memo: object) -> Secret:
        return self


@dataclass(frozen=True, slots=True)
class Address:
    """A URL, and separately the user and password that were in it."""

    url: str
    login: Secret | None = None
    """ "user:password", as it was in the URL."""

    @classmethod
    def read(cls, text: str) -> Self:
        """Return the URL `text` split into address and login."""
        scheme, mark, rest = text.partition("://")
        host = re.match(r"[^/?#]*", rest)
        user, at, _ = (host[0] if host else "").rpartition("@")
        if not at:
            return cls(text)
        password = unquote(user.partition(":")[2])
        if password:
            Secret(password)  # registers it, so that logs mask it without the user name, too
        Secret(unquote(user))
        return cls(scheme + mark + rest[len(user) + 1 :], Secret(user))

    @property
    def basic(self) -> tuple[str, str] | None:
        """(user, password) for HTTP basic authentication, or None."""
        if self.login is None:
            return None
        user, _, password = self.login.reveal().partition(":")
        return unquote(user), unquote(password)

    def with_login(self) -> str:
        """Return the URL with its login, to connect to it."""
        if self.login is None:
            return self.url
        return self.url.replace("://", f"://{self.login.reveal()}@", 1)

    def __str__(self) -> str:
        return self.url


def forget(secret: Secret) -> None:
    """Stop masking a secret that is no longer valid, such as an expired token."""
    _known.pop(secret.reveal(), None)
    _pattern.cache_clear()


def without_secrets(text: str) -> str:
    """Return `text` with the user info of URLs and every secret of this process masked, in any of its encodings."""
    text = _USER_INFO.sub(f"{MASK}@", text)
    pattern = _pattern()
    return text if pattern is None else pattern.sub(MASK, text)


@cache
def _pattern() -> re.Pattern[str] | None:
    forms = {form for text in _known for form in _forms(text)}
    if not forms:
        return None
    return re.compile("|".join(_expression(form) for form in sorted(forms, key=len, reverse=True)))


def _forms(text: str) -> set[str]:
    """Return the encodings of a secret to look for: plain, and as in repr, JSON, URLs and basic authentication."""
    raw = text.encode()
    written = {
        text,
        repr(text)[1:-1],
        repr(raw)[2:-1],
        json.dumps(text)[1:-1],
        quote(text, safe=""),
        quote(text),
        b64encode(raw).decode(),
    }
    return {form for form in written if len(form) >= _LEAST_CHARS}


def _expression(form: str) -> str:
    escaped = re.escape(form)
    return escaped if len(form) >= _ANYWHERE_CHARS else rf"(?<![A-Za-z0-9_]){escaped}(?![A-Za-z0-9_])"
