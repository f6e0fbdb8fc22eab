"""A touch made ready to send, and the claim under which it is sent. Their repr contains no address and no text."""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar

from msgspec import field

from pipeline.domain.value import Value


class Channel(StrEnum):
    """Where a touch goes."""

    WHATSAPP = "whatsapp"
    EMAIL = "email"
    SMS = "sms"


class Purpose(StrEnum):
    """Why a touch is sent; an unsubscription concerns marketing only."""

    MARKETING = "marketing"
    TRANSACTIONAL = "transactional"


class Attachment(Value, frozen=True):
    """One e-mail attachment: `content` or `url`, not both."""

    hidden: ClassVar[frozenset[str]] = frozenset({"content", "url"})

    filename: str
    content_type: str | None = None
    content: bytes | None = None
    url: str | None = None


class Content(Value, frozen=True):
    """Composed content; nothing is rendered after the router."""

    hidden: ClassVar[frozenset[str]] = frozenset({"subject", "body", "text", "reply_to", "headers"})

    subject: str | None = None
    body: str | None = None
    """Text for WhatsApp and SMS, HTML for e-mail."""
    text: str | None = None
    """The plain part of an e-mail."""
    from_: str | None = None
    """The sender's address the touch picked; None means the sender's first."""
    reply_to: str | None = None
    headers: dict[str, str] = field(default_factory=dict)
    attachments: tuple[Attachment, ...] = ()


class Work(Value, frozen=True):
    """A valid touch on its way: normalised, composed, with its sender. Instants are epoch milliseconds."""

    hidden: ClassVar[frozenset[str]] = frozenset({"to", "metadata"})

    touch_id: str
    campaign_id: str
    lead_id: str
    channel: Channel
    to: str
    """E.164, or an address with its domain in lower case."""
    sender: str
    """Sender's name; its lane is the partition of the channel topic."""
    pinned: bool
    """The touch itself named its sender."""
    content: Content
    digest: bytes
    """16 bytes over what makes two touches *the same*."""
    origin: int
    """Partition of `touches` it came from; its results go home there."""
    priority: int = 5
    time_zone: str | None = None
    not_before_ms: int | None = None
    expires_at_ms: int | None = None
    metadata: dict[str, str] = field(default_factory=dict)
    created_at_ms: int = 0
    attempt: int = 0
    """Claims made so far."""
    refusals: int = 0
    """Answers that count against `attempts`."""
    first_call_ms: int | None = None
    """When its first claim was made: `retry_for` runs from here."""
    last_call_ms: int | None = None
    outage_noted_ms: int | None = None
    """Start of the outage for which it already has a `retrying`/`outage` record."""
    batch_cap: int = 0
    """At most so many touches in its next call (halved when a batch is refused for one of them); 0 means no cap."""
    returns: int = 0
    """How often it came back from `touches.scheduled`; 0 is fresh from the router."""
    purpose: Purpose = Purpose.MARKETING
    recipient: str | None = None
    """Hash of its address (`domain/address_hash.py`); None: written by a version without it."""
    accepted_ms: int = 0
    """When it was accepted; 0: written by a version without it."""


class Request(Value, frozen=True):
    """One HTTP request, byte for byte. Credentials are added by the sender, never stored."""

    hidden: ClassVar[frozenset[str]] = frozenset({"body"})

    path: str
    """Relative to the sender's `base_url`, starting with a slash."""
    body: bytes
    content_type: str
    handle: str
    """What the provider can be asked by: Resend's Idempotency-Key, WAHA's message id, "" for Twilio."""


class Phase(StrEnum):
    """The states of a claim; `domain/lifecycle.py` has the transitions."""

    CALLING = "calling"
    """Committed; its call may be under way in the process that made it."""
    LOOKING_UP = "looking_up"
    """The outcome of its call is unknown and will be looked up."""
    CLOSED = "closed"
    """Its outcome is known, or given up. No record has this phase: a closed claim is deleted."""


class Claim(Value, frozen=True):
    """The right, committed before the request leaves, to make exactly one call; carries the work byte for byte."""

    claim_id: str
    """Unique for ever; Resend's Idempotency-Key and WAHA's message id derive from it when made, and are kept in `handle`."""
    works: tuple[Work, ...]
    """One, or the frozen batch, in the order of the request. `attempt` counts this claim already."""
    request: Request
    claimed_ms: int
    lease_until_ms: int
    """The call may begin (its body be written) strictly before this instant: lease, window and expiry are all in it."""
    phase: Phase = Phase.CALLING
    refused: bool = False
    """The provider answered 5xx: if the look-up finds nothing, that was a refusal of this touch."""
    lost: bool = False
    """An answer was lost: the request may have been accepted, and a later refusal of a replay does not disprove that."""
    looks: int = 0
    next_look_ms: int = 0
    """When to ask what became of it; while it is called: the instant from which the call can no longer run."""
    resolve_until_ms: int = 0
    error_code: str | None = None
    error: str | None = None
    control_seen: int = 0
    """Offset of `touches.control` up to which orders were known when it was made."""
    suppressions_seen: int = 0
    """Offset of `touches.suppressions` up to which entries were known when it was made."""


class Scheduled(Value, frozen=True):
    """Work that is not due yet; `work` is its record, handed on without being decoded."""

    hidden: ClassVar[frozenset[str]] = frozenset({"work"})

    due_ms: int
    channel: Channel
    lane: int
    touch_id: str
    work: bytes
