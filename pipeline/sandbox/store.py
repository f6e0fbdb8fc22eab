"""The messages that the sandbox accepted, and every request to send that arrived."""

from __future__ import annotations

import time
import uuid
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(slots=True)
class Message:
    """One accepted message."""

    provider: str
    id: str
    to: str
    text: str
    sender: str
    at_ms: int
    subject: str | None = None
    key: str | None = None
    """Resend's Idempotency-Key, or the message id that the caller gave to WAHA."""
    tags: dict[str, str] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Arrival:
    """One request to send."""

    provider: str
    sender: str
    at_ms: int
    count: int
    key: str | None = None
    """Resend's Idempotency-Key."""
    status: int = 0


def _clock_ms() -> int:
    return time.time_ns() // 1_000_000


def _new_id() -> str:
    return uuid.uuid4().hex


class Store:
    """Everything the sandbox keeps."""

    def __init__(self, clock_ms: Callable[[], int] = _clock_ms, new_id: Callable[[], str] = _new_id) -> None:
        self._clock_ms = clock_ms
        self.new_id = new_id
        """Returns 32 hexadecimal digits, unique in each call."""
        self.offset_ms = 0
        self.sessions: dict[str, dict[str, Any]] = {}
        self.on_accept: Callable[[Message], None] | None = None
        """Called with each accepted message, at once."""
        self.reset()

    def reset(self) -> None:
        """Delete all messages, arrivals, keys and counts."""
        self.accepted: list[Message] = []
        self.arrivals: list[Arrival] = []
        self.by_key: dict[str, tuple[int, bytes, Any]] = {}
        self.by_to: dict[tuple[str, str], list[Message]] = {}
        self.by_id: dict[str, Message] = {}
        self.tries: Counter[tuple[str, str]] = Counter()
        self.asks: Counter[str] = Counter()
        """Look-ups, by provider."""

    def now_ms(self) -> int:
        """Return the sandbox's own clock, epoch milliseconds."""
        return self._clock_ms() + self.offset_ms

    def accept(self, message: Message) -> Message:
        """Add a message to those accepted, and return it."""
        self.accepted.append(message)
        self.by_to.setdefault((message.provider, message.to), []).append(message)
        self.by_id[message.id] = message
        if self.on_accept is not None:
            self.on_accept(message)
        return message

    def arrive(self, provider: str, sender: str, count: int = 1, key: str | None = None) -> Arrival:
        """Add a request to send to the arrivals, and return it."""
        arrival = Arrival(provider, sender, self.now_ms(), count, key)
        self.arrivals.append(arrival)
        return arrival

    def counts(self) -> dict[str, int]:
        """Return the number of accepted messages per provider."""
        return dict(Counter(message.provider for message in self.accepted))

    def duplicates(self) -> list[dict[str, Any]]:
        """Return messages that were accepted more than once: same provider, address, subject and text."""
        seen = Counter((m.provider, m.to, m.subject, m.text) for m in self.accepted)
        return [
            {"provider": p, "to": to, "subject": subject, "text": text[:200], "count": count}
            for (p, to, subject, text), count in seen.items()
            if count > 1
        ]

    def listed(self, provider: str | None, since: int) -> list[dict[str, Any]]:
        """Return accepted messages from index `since` on."""
        return [asdict(m) for m in self.accepted[since:] if provider in (None, m.provider)]
