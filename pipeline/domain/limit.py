"""Rate limits: calls are evenly spaced (GCRA), and at most `rate` reach the provider in any period of `per_ms`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

FORGIVEN_MS = 500
"""A call that starts late by less than this, or by less than half the spacing, does not delay the next ones: they catch up,
at least half the spacing apart. Without it, a process that wakes some tens of milliseconds late, or a slow answer, would
cost a call each time at 10 per second."""

_UNITS = (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1))


@dataclass(frozen=True, slots=True)
class Limit:
    """At most `rate` calls in any `per_ms` milliseconds, evenly spaced except for `burst` calls at once."""

    rate: int
    per_ms: int
    burst: int = 1

    def __str__(self) -> str:
        """Return it for people, such as "30 per 1m"."""
        return f"{self.rate} per {duration_text(self.per_ms)}"


@dataclass(frozen=True, slots=True)
class WarmUpStep:
    """The limit of a sender younger than `until_ms` milliseconds and older than the step before."""

    limit: Limit
    until_ms: int


@dataclass(frozen=True, slots=True)
class WarmUp:
    """The limits of a young sender, in steps. Raises ValueError unless there is a step and `until_ms` ascends."""

    steps: tuple[WarmUpStep, ...]

    def __post_init__(self) -> None:
        ages = [step.until_ms for step in self.steps]
        if not ages or any(left >= right for left, right in pairwise(ages)):
            raise ValueError(f"no ascending ages: {ages}")

    def step_at(self, started_ms: int | None, now_ms: int) -> WarmUpStep | None:
        """Return the step at `now_ms` of a sender in use since `started_ms` (None: not yet in use); None if it is warm."""
        age_ms = 0 if started_ms is None else now_ms - started_ms
        return next((step for step in self.steps if age_ms < step.until_ms), None)


@dataclass(frozen=True, slots=True)
class Gap:
    """The random rest of a sender between two calls, drawn anew each time. Raises ValueError for an empty range."""

    least_ms: int
    most_ms: int

    def __post_init__(self) -> None:
        if self.least_ms > self.most_ms:
            raise ValueError(f"an empty range: {self.least_ms} to {self.most_ms} ms")

    def drawn_ms(self, draw: float) -> int:
        """Return the gap in milliseconds; `draw` is uniform in [0, 1)."""
        return min(self.most_ms, self.least_ms + int(draw * (self.most_ms - self.least_ms + 1)))


class PastCall(NamedTuple):
    """A call that counts, in epoch milliseconds: `start_ms` rounded down, `end_ms` rounded up.

    `end_ms` is when it was answered or given up; for a call still without an answer, the last instant at which it can
    possibly run (lease end + request timeout + clock allowance).
    """

    start_ms: int
    end_ms: int


def duration_text(duration_ms: int) -> str:
    """Return a duration as written in the configuration, in the largest unit that divides it."""
    return next(f"{duration_ms // unit_ms}{unit}" for unit, unit_ms in _UNITS if duration_ms % unit_ms == 0)


def next_start_ms(limit: Limit, calls: Sequence[PastCall], now_ms: int) -> int:
    """Return the first instant, `now_ms` or later, at which the next call may start.

    `calls` are those made so far, oldest first; the `calls_to_remember` of them that end last are enough. A call
    reaches the provider somewhere between its start and its end. So while fewer than `rate` of the calls before have
    *ended* less than `per` ago (or not yet), no half-open window of `per` there can hold more than `rate`, whatever the
    network does.
    """
    return max(now_ms, _spaced_ms(limit, calls), _windowed_ms(limit, calls))


def calls_to_remember(limit: Limit | None, warm_up: WarmUp | None, gap: Gap | None = None) -> int:
    """Return how many of the calls that end last must be kept: the highest rate of the limits, or one for a gap."""
    limits = [limit] if limit else []
    limits += [step.limit for step in warm_up.steps] if warm_up else []
    return max([each.rate for each in limits], default=0 if gap is None else 1)


def _windowed_ms(limit: Limit, calls: Sequence[PastCall]) -> int:
    """Return `per` after the end of the call that is `rate`-th from last: a slow call occupies only its own place."""
    ends = sorted(call.end_ms for call in calls)
    return 0 if len(ends) < limit.rate else ends[-limit.rate] + limit.per_ms


def _spaced_ms(limit: Limit, calls: Sequence[PastCall]) -> int:
    """GCRA in units of 1/rate millisecond, in which the spacing per/rate is the whole number `per_ms`: no rounding."""
    if not calls:
        return 0
    rate, per = limit.rate, limit.per_ms
    # At least 1 ms: a start is the ideal instant rounded up.
    forgiven = max(rate, per // 2, FORGIVEN_MS * rate)
    due = -forgiven
    for start_ms, _ in calls:
        start = start_ms * rate
        due = (due if start < due + forgiven else start) + per
    due = max(due, calls[-1].start_ms * rate + per // 2)
    return -(((limit.burst - 1) * per - due) // rate)
