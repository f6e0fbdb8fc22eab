"""The backlog as it is found: what waits in each lane, what is deferred, what is not accepted yet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from pipeline.domain.work import Channel, Scheduled


@dataclass(frozen=True, slots=True)
class LaneRows:
    """One lane as committed."""

    channel: Channel
    lane: int
    rows: dict[bytes, bytes] = field(default_factory=dict)
    """Its table."""
    arrivals: Sequence[bytes] = ()
    """Work records in its topic that it has not taken in."""


@dataclass(frozen=True, slots=True)
class Backlog:
    """All that is known to be on the road."""

    lanes: Sequence[LaneRows]
    deferred: Sequence[Scheduled] = ()
    """In the scheduler's table, and on the way to it."""
    not_accepted: int = 0
    """Records of `touches` that no router has looked at."""
