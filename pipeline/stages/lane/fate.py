"""What becomes of a touch: a value that one part of a step decides, and the draft writes."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Final, assert_never

from pipeline.domain.policy import ChannelPolicy
from pipeline.domain.story import Reason, State
from pipeline.domain.work import Work
from pipeline.stages.control import Pause, Stop
from pipeline.stages.lane.gate import Expired, NeverOpen, Wait

OUT_OF_TIME: Final = "retry_for is over"


@dataclass(frozen=True, slots=True)
class Ended:
    """The touch has a terminal state."""

    work: Work
    state: State
    reason: Reason | None = None
    _: KW_ONLY
    error_code: str | None = None
    error: str | None = None
    provider_message_id: str | None = None
    order: str | None = None
    """Key of the order that ended it."""


@dataclass(frozen=True, slots=True)
class Parked:
    """The touch waits on the shelf of its lane until no order holds it."""

    work: Work
    pause: Pause


@dataclass(frozen=True, slots=True)
class Deferred:
    """The touch goes to the scheduler until it may go; no attempt was made."""

    work: Work
    reason: Reason
    at_ms: int


@dataclass(frozen=True, slots=True)
class RetryAt:
    """The touch goes to the scheduler until its next attempt."""

    work: Work
    reason: Reason
    at_ms: int
    _: KW_ONLY
    error_code: str
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OutageNotice:
    """The event `retrying`/`outage` of a touch."""

    next_attempt_at_ms: int
    error_code: str
    error: str


@dataclass(frozen=True, slots=True)
class Requeued:
    """The touch returns to the queue: to its head, or in its turn."""

    work: Work
    is_at_head: bool
    notice: OutageNotice | None = None


@dataclass(frozen=True, slots=True)
class LookedUp:
    """The touch stays in its claim, whose outcome is unknown and will be looked up."""

    work: Work
    next_look_ms: int
    _: KW_ONLY
    error_code: str | None = None
    error: str | None = None


Fate = Ended | Deferred | Parked | RetryAt | Requeued | LookedUp


def turned_away(work: Work, decision: Wait | Expired | NeverOpen | Stop | Pause) -> Ended | Deferred | Parked:
    """Return the fate of a touch that the gate does not let pass."""
    match decision:
        case Wait():
            return Deferred(work, decision.reason, decision.at_ms)
        case Expired():
            return Ended(work, State.EXPIRED, Reason.EXPIRES_AT)
        case Stop():
            return stopped(work, decision)
        case Pause():
            return Parked(work, decision)
        case NeverOpen():
            error = f"the window of {work.channel} and the calendar of its place are never open together"
            return Ended(work, State.FAILED, Reason.INVALID, error=error)
        case _:
            assert_never(decision)


def stopped(work: Work, stop: Stop) -> Ended:
    """Return the fate of a touch that a cancel takes or an entry forbids."""
    return Ended(work, stop.state, stop.reason, error=stop.note, order=stop.order)


def exhausted(work: Work, *, error_code: str | None, error: str) -> Ended:
    """Return the fate of a touch after its last attempt, or the end of `retry_for`."""
    return Ended(work, State.FAILED, Reason.ATTEMPTS_EXHAUSTED, error_code=error_code, error=error)


def requeued(
    policy: ChannelPolicy,
    work: Work,
    now_ms: int,
    *,
    is_at_head: bool,
    error_code: str | None = None,
    error: str = OUT_OF_TIME,
) -> Requeued | Ended:
    """Return `work` to the queue, or fail it with `error_code` and `error` if `retry_for` has expired."""
    if is_out_of_time(policy, work, now_ms):
        return exhausted(work, error_code=error_code, error=error)
    return Requeued(work, is_at_head=is_at_head)


def is_out_of_time(policy: ChannelPolicy, work: Work, at_ms: int) -> bool:
    """Return whether `retry_for` has expired by `at_ms`."""
    return work.first_call_ms is not None and at_ms >= work.first_call_ms + policy.retry_for_ms
