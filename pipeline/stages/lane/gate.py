"""May this touch go now? Its expiry, its `not_before`, the window and the calendar of its recipient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_never

from pipeline.domain.hours import Never, first_open_ms, gate
from pipeline.domain.policy import ChannelPolicy
from pipeline.domain.story import Reason
from pipeline.domain.window import Closed, Open
from pipeline.domain.work import Work
from pipeline.stages.control import Pause, Stop


@dataclass(frozen=True, slots=True)
class Pass:
    """The touch may go; its call may begin strictly before `until_ms` (None: no bound)."""

    until_ms: int | None
    closes_ms: int | None
    """The end of the window."""


@dataclass(frozen=True, slots=True)
class Wait:
    """The touch may go at `at_ms`, not before."""

    at_ms: int
    reason: Reason


@dataclass(frozen=True, slots=True)
class Expired:
    """The touch cannot go before it expires."""


@dataclass(frozen=True, slots=True)
class NeverOpen:
    """The channel's window and the calendar of the recipient's place are never open together."""


@dataclass(frozen=True, slots=True)
class Held:
    """An order holds the lane whole: the touch keeps its place, and nothing is told of it."""


HoursDecision = Pass | Wait | Expired | NeverOpen
GateDecision = HoursDecision | Stop | Pause | Held


def is_expired(work: Work, now_ms: int) -> bool:
    """Return whether `work` is past its `expires_at`."""
    return work.expires_at_ms is not None and work.expires_at_ms <= now_ms


def decide(policy: ChannelPolicy, work: Work, now_ms: int, breaker_until_ms: int = 0) -> HoursDecision:
    """Decide about `work` at `now_ms` (epoch milliseconds).

    A wait ends in the first open instant after now, `not_before` and `breaker_until_ms`.
    """
    if is_expired(work, now_ms):
        return Expired()
    expires = work.expires_at_ms
    not_before = work.not_before_ms or 0
    at = gate(policy.window, policy.calendar, work.time_zone, work.to, now_ms)
    match at:
        case Open() if not_before <= now_ms:
            bounds = [bound for bound in (at.until_ms, expires) if bound is not None]
            return Pass(min(bounds, default=None), at.closes_ms)
        case Open() | Closed():
            reason = Reason.NOT_BEFORE if not_before > now_ms else Reason.WINDOW
            first = first_open_ms_of(policy, work, max(now_ms, not_before, breaker_until_ms))
            if first is None:
                return NeverOpen()
            return Expired() if expires is not None and expires <= first else Wait(first, reason)
        case Never():
            return NeverOpen()
        case _:
            assert_never(at)


def open_from(policy: ChannelPolicy, work: Work, at_ms: int) -> int | None:
    """Return the first instant from `at_ms` on at which `work` may go; None if it expires before, or never may go."""
    first = first_open_ms_of(policy, work, at_ms)
    return None if first is None or (work.expires_at_ms is not None and work.expires_at_ms <= first) else first


def first_open_ms_of(policy: ChannelPolicy, work: Work, at_ms: int) -> int | None:
    """Return the first instant from `at_ms` on at which its window and calendar are open; None: they never are."""
    return first_open_ms(policy.window, policy.calendar, work.time_zone, work.to, at_ms)
