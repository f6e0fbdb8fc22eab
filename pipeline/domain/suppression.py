"""A suppression: an entry that says who must not be written to, on which channels, and why."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from enum import StrEnum
from typing import Final

from pipeline.domain.order import escaped_id
from pipeline.domain.work import Channel

UNKNOWN_BY: Final = "unknown"
"""Who made an entry whose producer did not say."""


class Scope(StrEnum):
    """The channels that an entry concerns."""

    WHATSAPP = "whatsapp"
    EMAIL = "email"
    SMS = "sms"
    PHONE = "phone"
    """WhatsApp and SMS."""
    ANY = "*"

    @property
    def channels(self) -> frozenset[Channel]:
        """The channels of this scope."""
        return _CHANNELS[self]


_CHANNELS: Final = {
    Scope.WHATSAPP: frozenset({Channel.WHATSAPP}),
    Scope.EMAIL: frozenset({Channel.EMAIL}),
    Scope.SMS: frozenset({Channel.SMS}),
    Scope.PHONE: frozenset({Channel.WHATSAPP, Channel.SMS}),
    Scope.ANY: frozenset(Channel),
}


class Covers(StrEnum):
    """What an opt-out by SMS or WhatsApp concerns."""

    PHONE = "phone"
    """Both channels."""
    CHANNEL = "channel"
    """The channel on which it was said."""

    def scope(self, channel: Channel) -> Scope:
        """Return the scope of an opt-out that was said on `channel`."""
        is_phone = self is Covers.PHONE and channel in _CHANNELS[Scope.PHONE]
        return Scope.PHONE if is_phone else Scope(channel.value)


class SuppressionReason(StrEnum):
    """Why somebody is not written to; each is also the `Reason` of a status. The first for which there is an entry is told."""

    COMPLAINED = "complained"
    OPT_OUT = "opt_out"
    UNSUBSCRIBED = "unsubscribed"
    """Concerns marketing touches only."""
    BOUNCED = "bounced"
    UNREACHABLE = "unreachable"
    MANUAL = "manual"


ORDER_OF_REASONS: Final = tuple(SuppressionReason)


@dataclass(frozen=True, slots=True)
class Suppression:
    """One entry, for an address or for a lead. Lifting it leaves the entries with other reasons. Raises ValueError."""

    scope: Scope
    _: KW_ONLY
    address_hash: str | None = None
    lead_id: str | None = None
    """Exactly one of the two is given."""
    reason: SuppressionReason
    note: str | None = None
    touch_id: str | None = None
    """The touch that led to it."""
    by: str
    at_ms: int
    """Epoch milliseconds."""

    def __post_init__(self) -> None:
        """Refuse an entry for both or for neither."""
        if (self.address_hash is None) == (self.lead_id is None):
            raise ValueError("exactly one of address_hash and lead_id is given")

    @property
    def key(self) -> str:
        """What identifies it: `<scope>:<address_hash>:<reason>` or `<scope>:lead:<lead_id>:<reason>`."""
        whom = f"lead:{escaped_id(self.lead_id)}" if self.lead_id is not None else self.address_hash
        return f"{self.scope}:{whom}:{self.reason}"


def concerns(entry: Suppression, channel: Channel, purpose: str) -> bool:
    """Return whether `entry` forbids a touch on `channel` to its recipient; `purpose` is `marketing` or `transactional`."""
    is_exempt = purpose == "transactional" and entry.reason is SuppressionReason.UNSUBSCRIBED
    return channel in entry.scope.channels and not is_exempt


def strongest(entries: list[Suppression], channel: Channel, purpose: str) -> Suppression | None:
    """Return the entry that a status tells: of those that concern the touch the one whose reason stands first, or None."""
    found = [each for each in entries if concerns(each, channel, purpose)]
    return min(found, key=lambda each: (ORDER_OF_REASONS.index(each.reason), each.at_ms), default=None)
