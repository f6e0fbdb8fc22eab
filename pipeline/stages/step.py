"""What a stage decided: changes and outputs to commit together, and what to count after the commit."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from pipeline.domain.dead_letter import DeadReason
from pipeline.domain.fact import FactKind
from pipeline.domain.story import Reason, State
from pipeline.domain.work import Channel
from pipeline.stage_io import Changes, Output

STEP_BYTES = 4 * 1024 * 1024
"""Approximate bytes of records and rows that one step takes; the rest waits for the next step."""

REST_MS_PER_RECORD = 20
"""Beyond 1000 / 20 = 50 records a second the rests of a partition grow, up to the longest one of its stage."""
LARGE_STEP = 250
"""A step of so many records has shared its transaction well: there is no rest after it, so that a crowd is not slowed down."""


def rest_ms(records: int, most_ms: int) -> int:
    """Return how long arrivals wait for each other after a step of `records`: a transaction costs the same for one and for many.

    What comes alone does not wait, what comes in a stream goes together (as with Nagle's algorithm, RFC 896).
    """
    return 0 if records >= LARGE_STEP else min(records * REST_MS_PER_RECORD, most_ms)


@dataclass(frozen=True, slots=True)
class StatusWritten:
    """A status record was written to `touches.status`."""

    channel: str
    state: State
    reason: Reason | None


@dataclass(frozen=True, slots=True)
class RepeatDropped:
    """A touch equal to an earlier one was dropped."""

    channel: str


@dataclass(frozen=True, slots=True)
class DeadLettered:
    """A dead letter was written."""

    reason: DeadReason


@dataclass(frozen=True, slots=True)
class Forwarded:
    """A touch was forwarded to its home partition."""


@dataclass(frozen=True, slots=True)
class UnknownMembers:
    """A touch had a member that the schema does not have."""


@dataclass(frozen=True, slots=True)
class DeliveryTold:
    """A record was written to `touches.deliveries`."""

    channel: Channel
    kind: FactKind


@dataclass(frozen=True, slots=True)
class FactDropped:
    """A fact was not told."""

    channel: Channel
    why: str
    """`repeated` or `unmatched`."""


@dataclass(frozen=True, slots=True)
class OptOutPending:
    """An opt-out was taken in whose number is not known."""


Counted = (
    StatusWritten
    | RepeatDropped
    | DeadLettered
    | Forwarded
    | UnknownMembers
    | DeliveryTold
    | FactDropped
    | OptOutPending
)


@dataclass(slots=True)
class StageStep:
    """One decision of the router, the scheduler or the dedup."""

    changes: Changes = field(default_factory=dict)
    outputs: list[Output] = field(default_factory=list)
    wake_ms: int | None = None
    """Instant of the next step if no record arrives before, epoch milliseconds; None: only records cause one."""
    rest_ms: int = 0
    """Time from the beginning of this step in which records that arrive wait for each other."""
    counts: Counter[Counted] = field(default_factory=Counter)
