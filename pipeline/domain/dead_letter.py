"""A record that did not become a touch, unchanged."""

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
    """One refused record, with what is needed to find the reason and to produce it again."""

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
