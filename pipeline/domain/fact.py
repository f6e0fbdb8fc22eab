"""Facts: what a provider tells of a message after it took it, and what they do to suppressions."""

from __future__ import annotations

from enum import StrEnum
from typing import Final
from zlib import crc32

from msgspec import field

from pipeline.domain.suppression import Scope, SuppressionReason
from pipeline.domain.value import Value
from pipeline.domain.work import Channel

BY_PROVIDER: Final = "provider"
BY_RECIPIENT: Final = "recipient"
"""Who made an entry: the provider's event, or the words or click of the recipient."""


class FactKind(StrEnum):
    """What became of a message; each is told at most once per touch."""

    DELIVERED = "delivered"
    DELAYED = "delayed"
    READ = "read"
    OPENED = "opened"
    CLICKED = "clicked"
    BOUNCED = "bounced"
    COMPLAINED = "complained"
    UNDELIVERED = "undelivered"
    SUPPRESSED_BY_PROVIDER = "suppressed_by_provider"
    REPLIED = "replied"


class Entry(Value, frozen=True):
    """A suppression that a callback asks for."""

    scope: Scope
    reason: SuppressionReason
    by: str
    note: str | None = None
    recipient: str | None = None
    """Hash of the address; None: that of the touch whose message it is about."""


class Callback(Value, frozen=True):
    """What one callback says, as produced to `touches.callbacks`: no body, no text, no address. Instants are epoch milliseconds."""

    channel: Channel
    sender: str
    """The sender whose path was called."""
    message_id: str
    """The provider's id of our message; "": it is about none of ours."""
    received_at_ms: int
    kind: FactKind | None = None
    """None: there is no fact to tell, only something to do."""
    occurred_at_ms: int | None = None
    """By the provider's clock."""
    detail: str | None = None
    error_code: str | None = None
    error: str | None = None
    entries: tuple[Entry, ...] = ()
    lifts: tuple[str | None, ...] = ()
    """Hashes of the numbers whose opt-outs are lifted; None: that of the touch whose message it is about."""
    acts_as: str = ""
    """What makes `entries` and `lifts` act once: the id of the message that asked for them."""
    lid: str = ""
    """The WhatsApp account (`…@lid`) that asks for something and hides its number; "": none does."""
    people: tuple[str, ...] = ()
    """Hashes of the number behind `lid`, in each way it may be written, once they are learnt."""
    settles: str = ""
    """Id of an opt-out of `lid` that an operator has resolved."""

    @property
    def place(self) -> str:
        """What it is about, which decides its partition: our message, or else the person who asks for something."""
        if self.message_id:
            return message_place(self.channel, self.message_id)
        if self.lid:
            return hidden_place(self.lid)
        asked = [*(each.recipient for each in self.entries), *self.lifts]
        return f"person/{asked[0] if asked else ''}"


class SentTouch(Value, frozen=True):
    """A touch whose message may have callbacks, as produced to `touches.callbacks` with its status `sent`."""

    touch_id: str
    campaign_id: str
    lead_id: str
    channel: Channel
    sender: str
    message_id: str
    """The provider's id of the message."""
    sent_at_ms: int
    """Epoch milliseconds."""
    home: int
    """The partition of its statuses, and of its deliveries."""
    recipient: str | None = None
    """Hash of the address."""
    metadata: dict[str, str] = field(default_factory=dict)

    @property
    def place(self) -> str:
        """What decides its partition."""
        return message_place(self.channel, self.message_id)


class PendingOptOut(Value, frozen=True):
    """An opt-out of a WhatsApp account whose number is not known yet; a record of `touches.opt-outs`."""

    id: str
    """That of the message."""
    at_ms: int
    """When it was taken in, epoch milliseconds."""
    sender: str
    """To whom it was written."""
    lid: str

    def shown(self) -> dict[str, str | int]:
        """Return the members under which commands, pages and the API show it; whose it is stays hidden."""
        return {"id": self.id, "at": self.at_ms, "sender": self.sender}


def hidden_place(lid: str) -> str:
    """Return what stands for a WhatsApp account that hides its number."""
    return f"lid/{lid}"


def message_place(channel: Channel, message_id: str) -> str:
    """Return what stands for a provider's message, among all messages of its channel."""
    return f"{channel}/{message_id}"


def callback_partition(place: str, partitions: int) -> int:
    """Return the partition of `touches.callbacks` where everything about `place` meets."""
    return crc32(place.encode()) % partitions
