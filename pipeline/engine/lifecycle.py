"""The state machine of an owned partition; docs/lifecycle.md draws it."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final


class PartitionState(StrEnum):
    """What an owned partition is doing."""

    OPENING = "opening"
    """Its table is there; its agent has not taken it over."""
    RUNNING = "running"
    """It steps and commits."""
    PARKING = "parking"
    """Its partition may be revoked: the step and the calls under way end and are committed."""
    PARKED = "parked"
    """It stands still; all it has decided is committed."""
    CLOSED = "closed"
    """It is given up."""


PARTITION: Final[Mapping[PartitionState, frozenset[PartitionState]]] = {
    PartitionState.OPENING: frozenset({PartitionState.RUNNING}),
    PartitionState.RUNNING: frozenset({PartitionState.PARKING, PartitionState.CLOSED}),
    # Not back to RUNNING: the records in the inbox are dropped, and the next offset is known only when parked.
    PartitionState.PARKING: frozenset({PartitionState.PARKED, PartitionState.CLOSED}),
    PartitionState.PARKED: frozenset({PartitionState.RUNNING, PartitionState.CLOSED}),
    PartitionState.CLOSED: frozenset(),
}
