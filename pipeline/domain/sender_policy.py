"""The configuration of one sender as the domain needs it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class WahaEngine(StrEnum):
    """How a WAHA server talks to WhatsApp."""

    NOWEB = "NOWEB"
    GOWS = "GOWS"
    WEBJS = "WEBJS"
    WPP = "WPP"


OWN_IDS = frozenset({WahaEngine.NOWEB, WahaEngine.GOWS})
"""WAHA engines that accept a message id from the client (since WAHA 2026.4.3): look-ups go by id, not by text."""


@dataclass(frozen=True, slots=True)
class SenderPolicy:
    """What a lane needs of its sender; credentials stay with the provider's client."""

    name: str
    lane: int
    addresses: tuple[str, ...] = ()
    """E-mail: the `from` addresses, first is the default. SMS: the number or the Messaging Service SID. WhatsApp: the session."""
    started_on_ms: int | None = None
    """Start of the warm-up (UTC midnight); None: the first send."""
    is_enabled: bool = True
    """A disabled sender takes no new touches, settles its open claims and hands its queue on."""
    daily_cap: int | None = None
    """Most messages per calendar day; None: no cap."""
    engine: WahaEngine | None = None
    """Engine of the WAHA session; None on other channels."""
    status_callback: str | None = None
    """Twilio: URL template; `{touch_id}` is replaced, percent-encoded."""
