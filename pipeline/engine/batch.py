"""A batch: the records that one fetch returned of one partition, with the offset range they cover, so that a gap shows."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pipeline.stage_io import Record


@dataclass(frozen=True, slots=True)
class Batch:
    """Records of one partition. An offset in [start, end) without a record is a control marker, aborted or compacted."""

    topic: str
    """Name in Kafka, prefix included."""
    partition: int
    start: int
    end: int
    _: KW_ONLY
    epoch: int
    """The epoch of ownership in which it was fetched; batches of an older epoch are dropped."""
    records: Sequence[Record] = field(repr=False)
