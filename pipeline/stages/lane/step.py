"""What goes into and comes out of one step of a lane."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import NamedTuple

from pipeline.domain.verdict import Resolution
from pipeline.domain.work import Claim
from pipeline.stage_io import Changes, Output


class Outcome(NamedTuple):
    """An answer that came home, to a call or to a question. Instants are epoch milliseconds."""

    claim_id: str
    answer: Resolution
    started_ms: int
    ended_ms: int


class Ask(NamedTuple):
    """A question to ask about a claim whose outcome is unknown."""

    claim: Claim
    known_ids: frozenset[str]
    """Messages with the same address and content that belong to other touches."""


class Hold(NamedTuple):
    """What keeps the next call back, in words, and until when at most."""

    why: str
    until_ms: int
    is_limit: bool = True
    """A limit of ours; not the provider's word, nor the hours."""


@dataclass(slots=True)
class LaneStep:
    """One decision of a lane, to be committed as one; the calls start afterwards."""

    changes: Changes = field(default_factory=dict)
    outputs: list[Output] = field(default_factory=list)
    calls: list[Claim] = field(default_factory=list)
    asks: list[Ask] = field(default_factory=list)
    wake_ms: int | None = None
    waiting: int = 0
    """Touches waiting in this lane, deferred ones not included."""
    open_claims: int = 0
    hold: Hold | None = None
    """What keeps touches back from now on, though a call could be made."""
    held_back: int = 0
    """How many touches."""
    paused_until_ms: int | None = None
    pause_error: str | None = None
    repeats: int = 0
    """Touches that came a second time, under another key."""
    aside: int = 0
    """What was put aside as dead letters."""

    def copied(self) -> LaneStep:
        """Return the step as it is now, to go back to."""
        return replace(self, outputs=list(self.outputs), calls=list(self.calls), asks=list(self.asks))
