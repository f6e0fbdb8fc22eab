"""Callbacks as they arrive, and what every provider's reader offers: verify, then say what they mean."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote

from pipeline.domain.fact import Callback
from pipeline.domain.opt_out import OptOutWords
from pipeline.domain.suppression import Covers
from pipeline.domain.work import Channel

_ROOT: Final = "callbacks"


class NotAuthentic(Exception):
    """The signature is missing or wrong, too old, or of another account than the sender's."""


class NotReadable(Exception):
    """It is signed, and neither a form nor a JSON object that can be read."""


@dataclass(frozen=True, slots=True)
class ReceivedCallback:
    """A request of a provider. Its repr shows neither body nor headers."""

    target: str
    """Path and query, byte for byte as received."""
    headers: Mapping[str, str] = field(repr=False)
    """By name in lower case."""
    body: bytes = field(repr=False)

    def header(self, name: str) -> str:
        """Return a header; "" if there is none."""
        return self.headers.get(name, "")


@dataclass(frozen=True, slots=True, kw_only=True)
class CallbackRules:
    """What the configuration says of callbacks, whatever the sender."""

    public_url: str
    """What providers call, without a slash at the end."""
    words: OptOutWords
    covers: Covers
    """What an opt-out by SMS or WhatsApp concerns."""
    remember_for_ms: int
    """How long a touch is known after it was sent."""
    privacy_key: bytes = field(repr=False)


ReadCallback = Callable[[ReceivedCallback, str, Any, CallbackRules, int], list[Callback]]
"""(request, name of the sender, its account, rules, now in epoch milliseconds) → what it says; [] when there is nothing to tell.

Raises NotAuthentic, NotReadable. Pure.
"""


@dataclass(frozen=True, slots=True)
class CallbackPath:
    """One path of a provider, `/callbacks/<provider>/<sender>` and `suffix`, and what is answered there."""

    suffix: str
    """ "" or "/status"."""
    read: ReadCallback
    status: int = 200
    """HTTP status when it was taken."""
    content_type: str | None = None
    body: bytes = b""


def callback_segments(provider: str, sender: str, suffix: str = "") -> tuple[str, ...]:
    """Return what stands between the slashes of a callback's path, not encoded; `provider` in lower case, `suffix` as in CallbackPath."""
    return (_ROOT, provider, sender, *suffix.split("/")[1:])


def callback_path(provider: str, sender: str, suffix: str = "") -> str:
    """Return the path as a URL has it, to stand behind the public URL: it begins with a slash, and each segment is percent-encoded."""
    return "".join("/" + quote(each, safe="") for each in callback_segments(provider, sender, suffix))


@dataclass(frozen=True, slots=True, kw_only=True)
class CallbackSetup:
    """What is set at a provider for a sender's callbacks, beside what should be. No login, no secret."""

    found: str
    """What is set, or what is wrong with it, or why it cannot be read."""
    wanted: str
    differs: bool | None
    """None: it cannot be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryRules:
    """What the stage of deliveries knows of the configuration. Durations are milliseconds."""

    senders: frozenset[tuple[Channel, str]]
    """The senders whose callbacks are on."""
    early_for_ms: int
    """How long a fact waits for its touch."""
    remember_for_ms: int
    """How long a touch is known after it was sent."""
    silent_after_ms: int
    """How long after it was sent a touch without any fact counts as silent."""
