"""What could not become a touch, as it was."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class DeadReason(StrEnum):
    """Why a record of `touches` is a dead letter."""

    UNDECODABLE = "undecodable"
    INVALID = "invalid"
    CONFLICT = "conflict"


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One record of `touches` that is not taken, with all that is needed to see why and to try again."""

    reason: DeadReason
    error: str
    source_topic: str
    source_partition: int
    source_offset: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]]
    touch_id: str | None
    occurred_at_ms: int
