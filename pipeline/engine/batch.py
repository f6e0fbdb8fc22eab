"""A batch: what one fetch brought of one partition, with the range of offsets it covers, so that a hole is seen."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pipeline.stage_io import Record


@dataclass(frozen=True, slots=True)
class Batch:
    """Records of one partition; every offset in [start, end) without a record here is a marker, aborted or compacted."""

    topic: str
    """Name in Kafka, prefix included."""
    partition: int
    start: int
    end: int
    epoch: int
    """Which taking of ownership it was fetched in; batches of an older one are void."""
    records: Sequence[Record] = field(repr=False)
