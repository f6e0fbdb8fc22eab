"""What goes into and comes out of one step of a lane."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import NamedTuple

from pipeline.domain.held_by import HeldBy
from pipeline.domain.verdict import Resolution
from pipeline.domain.work import Claim
from pipeline.stage_io import Changes, Output


class Outcome(NamedTuple):
    """The answer to a call or a look-up. Instants are epoch milliseconds."""

    claim_id: str
    answer: Resolution
    started_ms: int
    ended_ms: int


class Ask(NamedTuple):
    """A look-up, or replay, to make about a claim whose outcome is unknown."""

    claim: Claim
    known_ids: frozenset[str]
    """Ids of messages with the same address and text that belong to other touches."""


class Hold(NamedTuple):
    """What prevents the next call, in words, and until when at most."""

    why: str
    until_ms: int
    is_limit: bool = True
    """True for our own rate limits; false for Retry-After, closed windows and orders."""
    by: HeldBy = HeldBy.LIMIT


@dataclass(slots=True)
class LaneStep:
    """The result of one step: changes and outputs to commit together, and what to call afterwards."""

    changes: Changes = field(default_factory=dict)
    outputs: list[Output] = field(default_factory=list)
    calls: list[Claim] = field(default_factory=list)
    """Claims whose calls start once the step is committed."""
    asks: list[Ask] = field(default_factory=list)
    """Look-ups and replays that start once the step is committed."""
    wake_ms: int | None = None
    """When to step again at the latest (epoch milliseconds); None: when something arrives."""
    rest_ms: int = 0
    """Time from the beginning of this step in which touches that arrive wait for each other: none of them could be called."""
    tell_ms: int | None = None
    """When to step again so that the lane tells what has changed; None: when something arrives. Nothing else waits for it."""
    waiting: int = 0
    """Touches in the queue, without deferred ones."""
    open_claims: int = 0
    hold: Hold | None = None
    """What prevents the next call although a call slot is free."""
    held_back: int = 0
    """Touches that wait because of `hold`."""
    breaker_until_ms: int | None = None
    """Until when the breaker is open, and its outage's error; None: it is closed."""
    breaker_error: str | None = None
    held_by: frozenset[HeldBy] = frozenset()
    """Everything that holds the lane now."""
    parked: int = 0
    """Touches that orders have parked."""
    control_in_force: int = 0
    """No call that was decided without the orders before this offset can begin any more, or is running."""
    replays_of_suppressed: int = 0
    """Touches whose replay begins although an entry forbids them: their batch keeps its bytes."""
    repeats: int = 0
    """Touches that were taken in before, under another key."""
    dead_letters: int = 0

    def copied(self) -> LaneStep:
        """Return a copy to go back to."""
        return replace(self, outputs=list(self.outputs), calls=list(self.calls), asks=list(self.asks))
