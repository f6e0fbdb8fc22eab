"""The states of a touch, their reasons, and the events that report them."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from msgspec import field

from pipeline.domain.value import Value
from pipeline.domain.work import Work

ERROR_CHARACTERS: Final = 2_000
"""Most characters of an error's text in a record."""


class State(StrEnum):
    """States of `touches.status`."""

    ACCEPTED = "accepted"
    DEFERRED = "deferred"
    RETRYING = "retrying"
    SENT = "sent"
    FAILED = "failed"
    EXPIRED = "expired"
    UNCONFIRMED = "unconfirmed"
    CANCELLED = "cancelled"
    SUPPRESSED = "suppressed"


TERMINAL = frozenset({State.SENT, State.FAILED, State.EXPIRED, State.UNCONFIRMED, State.CANCELLED, State.SUPPRESSED})


class Reason(StrEnum):
    """Why a touch is in its state."""

    WINDOW = "window"
    NOT_BEFORE = "not_before"
    BACKOFF = "backoff"
    OUTAGE = "outage"
    LOOKING_UP = "looking_up"
    INVALID = "invalid"
    CHANNEL_OFF = "channel_off"
    UNKNOWN_SENDER = "unknown_sender"
    REJECTED = "rejected"
    ATTEMPTS_EXHAUSTED = "attempts_exhausted"
    EXPIRES_AT = "expires_at"
    NO_ANSWER = "no_answer"
    PAUSED = "paused"
    # What the target of a cancel names:
    TOUCH = "touch"
    LEAD = "lead"
    CAMPAIGN = "campaign"
    SENDER = "sender"
    CHANNEL = "channel"
    # Why nobody writes to the recipient:
    COMPLAINED = "complained"
    OPT_OUT = "opt_out"
    UNSUBSCRIBED = "unsubscribed"
    BOUNCED = "bounced"
    UNREACHABLE = "unreachable"
    MANUAL = "manual"


class Event(Value, frozen=True):
    """A change of a touch's state, as produced to `touches.results`. Instants are epoch milliseconds."""

    touch_id: str
    campaign_id: str
    lead_id: str
    channel: str
    """A `Channel`, or the value that an invalid touch has there."""
    state: State
    occurred_at_ms: int
    reason: Reason | None = None
    attempt: int = 0
    sender: str | None = None
    provider_message_id: str | None = None
    error_code: str | None = None
    error: str | None = None
    next_attempt_at_ms: int | None = None
    metadata: dict[str, str] = field(default_factory=dict)
    recipient: str | None = None
    """Hash of the address; None if the touch was refused as invalid."""
    order: str | None = None
    """Key of the order that parked or ended it."""


def shortened(text: str, most: int = ERROR_CHARACTERS) -> str:
    """Return `text`, cut where it is longer than `most` characters."""
    return text if len(text) <= most else f"{text[:most]}…"


def event_of(
    work: Work,
    state: State,
    now_ms: int,
    *,
    reason: Reason | None = None,
    provider_message_id: str | None = None,
    error_code: str | None = None,
    error: str | None = None,
    next_attempt_at_ms: int | None = None,
    order: str | None = None,
) -> Event:
    """Return the event that `work` is in `state` at `now_ms`."""
    return Event(
        touch_id=work.touch_id,
        campaign_id=work.campaign_id,
        lead_id=work.lead_id,
        channel=work.channel,
        state=state,
        occurred_at_ms=now_ms,
        reason=reason,
        attempt=work.attempt,
        sender=work.sender,
        provider_message_id=provider_message_id,
        error_code=error_code,
        error=None if error is None else shortened(error),
        next_attempt_at_ms=next_attempt_at_ms,
        metadata=work.metadata,
        recipient=work.recipient,
        order=order,
    )
