"""Words that end messages to a number, or ask for them again: the whole message must be one of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from unicodedata import combining, normalize

LONGEST = 1_000
"""Characters of a message that is compared at all; a word is shorter."""


def bare(text: str) -> str:
    """Return letters and digits of `text`: NFKC, without case and accents."""
    plain = normalize("NFD", normalize("NFKC", text).casefold())
    return "".join(letter for letter in plain if letter.isalnum() and not combining(letter))


@dataclass(frozen=True)
class OptOutWords:
    """The configured words, `stop` to opt out and `back` to come back."""

    stop: tuple[str, ...]
    back: tuple[str, ...]

    def stopping(self, text: str) -> str | None:
        """Return the word of `stop` that the message is, as it is configured, or None."""
        return self._stop.get(bare(text)) if len(text) <= LONGEST else None

    def is_back(self, text: str) -> bool:
        """Return whether the message is one of `back`."""
        return len(text) <= LONGEST and bare(text) in self._back

    @cached_property
    def _stop(self) -> Mapping[str, str]:
        return _by_bare(self.stop)

    @cached_property
    def _back(self) -> Mapping[str, str]:
        return _by_bare(self.back)


def _by_bare(words: Iterable[str]) -> Mapping[str, str]:
    return {bare(word): word for word in reversed(list(words))}
