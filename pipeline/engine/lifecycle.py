"""The state machine of an owned partition; docs/lifecycle.md draws it."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final


class PartitionState(StrEnum):
    """The states of an owned partition."""

    OPENING = "opening"
    """Its table is open; its agent is not started."""
    RUNNING = "running"
    """Its loop steps and commits."""
    PARKING = "parking"
    """A rebalance has begun: the step and the calls under way end, and their results are committed."""
    PARKED = "parked"
    """Its loop waits; every decided step is committed."""
    CLOSED = "closed"
    """The partition is revoked: agent and table are closed."""


PARTITION: Final[Mapping[PartitionState, frozenset[PartitionState]]] = {
    PartitionState.OPENING: frozenset({PartitionState.RUNNING}),
    PartitionState.RUNNING: frozenset({PartitionState.PARKING, PartitionState.CLOSED}),
    # Not back to RUNNING: the records in the inbox are dropped, and the next offset is known only when parked.
    PartitionState.PARKING: frozenset({PartitionState.PARKED, PartitionState.CLOSED}),
    PartitionState.PARKED: frozenset({PartitionState.RUNNING, PartitionState.CLOSED}),
    PartitionState.CLOSED: frozenset(),
}
