"""The story of a touch: its states, their reasons, and the events that tell it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from pipeline.domain.work import Work


class State(StrEnum):
    """States of `touches.status`."""

    ACCEPTED = "accepted"
    DEFERRED = "deferred"
    RETRYING = "retrying"
    SENT = "sent"
    FAILED = "failed"
    EXPIRED = "expired"
    UNCONFIRMED = "unconfirmed"


TERMINAL = frozenset({State.SENT, State.FAILED, State.EXPIRED, State.UNCONFIRMED})


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


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened to a touch, as it goes to `touches.results`. Instants are epoch milliseconds."""

    touch_id: str
    campaign_id: str
    lead_id: str
    channel: str
    """A `Channel`, or what stood there if the touch is invalid."""
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


def event_of(work: Work, state: State, now_ms: int, **more: object) -> Event:
    """Return the event that `work` is in `state` at `now_ms`; `more` are further fields of `Event`."""
    return Event(
        touch_id=work.touch_id,
        campaign_id=work.campaign_id,
        lead_id=work.lead_id,
        channel=work.channel,
        state=state,
        occurred_at_ms=now_ms,
        attempt=work.attempt,
        sender=work.sender,
        metadata=work.metadata,
        **more,  # type: ignore[arg-type]
    )
