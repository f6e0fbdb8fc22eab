"""The backlog: the touches that wait in each lane, are deferred, or are not accepted yet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from pipeline.domain.work import Channel, Scheduled


@dataclass(frozen=True, slots=True)
class LaneRows:
    """The committed state of one lane."""

    channel: Channel
    lane: int
    rows: dict[bytes, bytes] = field(default_factory=dict)
    """Its table."""
    arrivals: Sequence[bytes] = ()
    """Work records in its topic behind its position."""


@dataclass(frozen=True, slots=True)
class Backlog:
    """All touches that have not ended."""

    lanes: Sequence[LaneRows]
    deferred: Sequence[Scheduled] = ()
    """Touches in the scheduler's table, or in its topic."""
    not_accepted: int = 0
    """Records of `touches` behind the routers' positions."""
