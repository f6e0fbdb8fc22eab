"""The breaker of a lane: closed while the provider answers, open for a while when it does not, then half open for one call."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from pipeline.domain.lifecycle import BreakerState

PROBE_MS: Final = 1_000
LONGEST_PROBE_MS: Final = 3_000
"""A lane must make calls again within 5 s of the provider's recovery."""
LONGEST_RETRY_AFTER_MS: Final = 3_600_000
"""The longest Retry-After that is followed (`channels.http`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outage:
    """Why and until when a breaker is open. Instants are epoch milliseconds."""

    since_ms: int
    until_ms: int
    tries: int
    """How often the breaker has opened since `since_ms`."""
    code: str
    error: str
    is_retry_after: bool = False
    """The provider itself gave `until_ms`."""


@dataclass(frozen=True, slots=True)
class Breaker:
    """The breaker at one moment."""

    outage: Outage | None = None
    """None: closed."""
    lost_in_a_row: int = 0
    """Calls in a row whose answer was lost."""

    def state_at(self, now_ms: int) -> BreakerState:
        """Return the state at `now_ms`: time alone turns OPEN into HALF_OPEN."""
        if self.outage is None:
            return BreakerState.CLOSED
        return BreakerState.OPEN if now_ms < self.outage.until_ms else BreakerState.HALF_OPEN

    @property
    def until_ms(self) -> int:
        """The instant from which a call may be made, as far as the breaker is concerned; 0 if it is closed."""
        return 0 if self.outage is None else self.outage.until_ms

    def opened(self, now_ms: int, *, code: str, error: str, retry_after_s: float | None = None) -> Breaker:
        """Return the breaker opened for the provider's Retry-After, or else for 1, 2, 3, 3 … s."""
        tries = 1 if self.outage is None else self.outage.tries + 1
        since_ms = now_ms if self.outage is None else self.outage.since_ms
        wait_ms = min(PROBE_MS * tries, LONGEST_PROBE_MS)
        if retry_after_s is not None:
            wait_ms = max(1, round(retry_after_s * 1000))
        return replace(
            self,
            outage=Outage(
                since_ms=since_ms,
                until_ms=now_ms + wait_ms,
                tries=tries,
                code=code,
                error=error,
                is_retry_after=retry_after_s is not None,
            ),
        )

    def lost(self) -> Breaker:
        """Return the breaker after one more lost answer; it opens only by `opened`."""
        return replace(self, lost_in_a_row=self.lost_in_a_row + 1)

    def shifted(self, jump_ms: int, now_ms: int) -> Breaker:
        """Return the breaker after the clock was set by `jump_ms`: the outage began, and ends, as far from now as before."""
        if self.outage is None:
            return self
        since_ms = min(self.outage.since_ms + jump_ms, now_ms)
        until_ms = min(self.outage.until_ms + jump_ms, now_ms + LONGEST_RETRY_AFTER_MS)
        return replace(self, outage=replace(self.outage, since_ms=since_ms, until_ms=until_ms))


CLOSED: Final = Breaker()
