"""The records of one partition that were fetched and not applied yet: bounded, in order, without a gap."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline.engine.batch import Batch
    from pipeline.stage_io import Record

STEP_BYTES = 4 * 1024 * 1024
"""Most bytes of records per transaction, not counting the last record."""
INBOX_RECORDS = 500
INBOX_BYTES = 8 * 1024 * 1024
"""A partition with more than this waiting is not fetched: back-pressure, and the bound on memory."""


class OffsetGap(Exception):
    """Records between two batches were not delivered; continuing would lose them."""


class Inbox:
    """A queue of records that knows which offset must come next."""

    def __init__(self) -> None:
        self._records: deque[Record] = deque()
        self._bytes = 0
        self._ends: deque[tuple[int, int]] = deque()
        """(offset of a batch's last record, end of its range): the position to commit once that record is applied."""
        self.expected = 0
        """The input offset to read next."""

    def __len__(self) -> int:
        return len(self._records)

    @property
    def has_room(self) -> bool:
        """Whether more records may be fetched."""
        return len(self._records) < INBOX_RECORDS and self._bytes < INBOX_BYTES

    def reset(self, next_offset: int) -> None:
        """Drop all records; `next_offset` must come next."""
        self._records.clear()
        self._ends.clear()
        self._bytes = 0
        self.expected = next_offset

    def add(self, batch: Batch) -> bool:
        """Append the records of `batch` that are new, and return whether there are any. Raises OffsetGap."""
        if batch.end <= self.expected:
            return False
        if batch.start > self.expected:
            raise OffsetGap(f"{batch.topic}[{batch.partition}]: expected offset {self.expected}, got {batch.start}")
        fresh = [r for r in batch.records if r.offset >= self.expected]
        self.expected = batch.end
        if not fresh:
            return False
        self._records.extend(fresh)
        self._bytes += sum(map(_size, fresh))
        self._ends.append((fresh[-1].offset, batch.end))
        return True

    def take(self, most: int) -> list[Record]:
        """Remove and return the records of one step: at most `most`, and at most STEP_BYTES before the last."""
        records: list[Record] = []
        room = STEP_BYTES
        while self._records and len(records) < most and room > 0:
            record = self._records.popleft()
            records.append(record)
            room -= _size(record)
        self._bytes -= STEP_BYTES - room
        return records

    def put_back(self, records: list[Record]) -> None:
        """Return records to the head of the queue, in their order."""
        self._records.extendleft(reversed(records))
        self._bytes += sum(map(_size, records))

    def position_after(self, last: int) -> int:
        """Return the offset to commit once the record at offset `last` is applied: behind the markers that follow it."""
        position = last + 1
        while self._ends and self._ends[0][0] <= last:
            position = max(position, self._ends.popleft()[1])
        return position


def _size(record: Record) -> int:
    return len(record.value or b"") + len(record.key or b"")
