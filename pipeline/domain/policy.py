"""The configuration of channels and senders as the domain needs it: frozen values, no parsing."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from pipeline.domain.calendar import Calendar
from pipeline.domain.channel_spec import ChannelSpec
from pipeline.domain.limit import Gap, Limit, WarmUp
from pipeline.domain.link import AttachmentUrls
from pipeline.domain.phone import PhoneCheck
from pipeline.domain.retry import Retry
from pipeline.domain.sender_policy import SenderPolicy
from pipeline.domain.window import RECIPIENT, Window
from pipeline.domain.work import Channel


class Unresolved(StrEnum):
    """What happens to a touch whose outcome the provider cannot tell within `resolve_for`."""

    HOLD = "hold"
    """It ends `unconfirmed`."""
    SEND = "send"
    """It is sent again."""


@dataclass(frozen=True, slots=True)
class ChannelPolicy:
    """The rules of one channel. Durations are milliseconds."""

    spec: ChannelSpec
    senders: tuple[SenderPolicy, ...]
    """Empty: the channel is off."""
    window: Window | None
    """None: always open."""
    calendar: Calendar | None = field(default=None, kw_only=True)
    """The legal calendar that must be open, too; None: no calendar applies."""
    limit: Limit | None
    """None: unlimited."""
    warm_up: WarmUp | None
    gap: Gap | None = None
    """Random rest between two calls of one sender; None: no rest."""
    numbers: PhoneCheck = PhoneCheck.VALID
    region: str | None = None
    attempts: int = 5
    retry: Retry = field(default_factory=Retry)
    retry_for_ms: int = 259_200_000
    request_timeout_ms: int = 10_000
    lease_ms: int = 5_000
    resolve_after_ms: int = 5_000
    resolve_for_ms: int = 43_200_000
    unresolved: Unresolved = Unresolved.HOLD
    in_flight: int = 1
    batch: int = 1
    """Touches per call: 100 for e-mail, else 1."""
    gather_ms: int = 0
    attachment_urls: AttachmentUrls = AttachmentUrls.PUBLIC
    """Allowed sources of an e-mail's attachments."""

    @property
    def channel(self) -> Channel:
        """The channel that the policy is for."""
        return self.spec.channel

    @property
    def day_zone(self) -> str:
        """The time zone whose days the daily cap counts: the window's zone, or its fallback if the recipient's zone decides."""
        if self.window is None:
            return "UTC"
        return (self.window.fallback_zone or "UTC") if self.window.zone == RECIPIENT else self.window.zone

    @property
    def takers(self) -> tuple[SenderPolicy, ...]:
        """The senders that take new touches."""
        return tuple(sender for sender in self.senders if sender.is_enabled)

    def sender_on(self, lane: int) -> SenderPolicy | None:
        """Return the sender whose lane is `lane`, or None."""
        return next((s for s in self.senders if s.lane == lane), None)

    def sender_named(self, name: str) -> SenderPolicy | None:
        """Return the sender called `name`, or None."""
        return next((s for s in self.senders if s.name == name), None)

    def asks_by_text(self, sender: SenderPolicy | None) -> bool:
        """Return whether look-ups of `sender` compare address and text."""
        return self.spec.compares_text(sender)
