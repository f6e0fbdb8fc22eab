"""Decodes the batches of a fetch response. A batch or record that cannot be parsed becomes an UnreadableRecord.

aiokafka raises at the first batch or record that it cannot parse, at every fetch again. Here an unknown codec, a damaged
batch or a header name that is not UTF-8 affects exactly the batch or record that has it.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

from aiokafka.consumer import fetcher as stock
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import DefaultRecordBatch
from aiokafka.record.legacy_records import LegacyRecordBatch

from pipeline.engine.codecs import decompressed
from pipeline.engine.record_parser import HEADER_V2, UnreadableRecord, error_line, parse_records

if TYPE_CHECKING:
    from collections.abc import Iterator

PORTION_BYTES = 4 * 1024 * 1024
"""Bytes handed out at a time: a compressed fetch of 1 MiB can be a hundred times that."""
ROW_BYTES = 100
"""Approximate size of a record without its key and value."""

LOG_OVERHEAD = 12
"""Base offset and length, before every batch of every format."""
MAGIC_AT = 16
ATTRIBUTES_AT = 21
CODEC_MASK = 0x07
LATEST_MAGIC = 2
LEAST_LEGACY = LOG_OVERHEAD + 14
KEY_AT = {0: 18, 1: 26}
"""Start of the key in a message of format 0 or 1."""


class MessageSet:
    """The batches of one fetch response as bytes; aiokafka's own class parses them at once."""

    def __init__(self, data: bytes | memoryview) -> None:
        self._data = memoryview(data)
        self._at = 0

    def size_in_bytes(self) -> int:
        """Return the size of the response."""
        return len(self._data)

    def has_next(self) -> bool:
        """Return whether another whole batch follows: the broker may cut off the last one."""
        return self._at < len(self._data) and (self._at == 0 or self._at < self._end() <= len(self._data))

    def next_batch(self) -> memoryview:
        """Return the next batch; all remaining bytes if its length is invalid."""
        start, end = self._at, self._end()
        self._at = end if start < end <= len(self._data) else len(self._data)
        return self._data[start : self._at]

    def end(self, start: int) -> int:
        """Return the offset behind the last batch that follows; `start` if none does."""
        at, size = self._at, len(self._data)
        while at + LOG_OVERHEAD < size:
            length: int = LOG_OVERHEAD + struct.unpack_from(">i", self._data, at + 8)[0]
            if length <= LOG_OVERHEAD or at + length > size:
                break
            start = max(start, _last_offset(self._data[at : at + length]) + 1)
            at += length
        return start

    def next_offset(self) -> int | None:
        """Return the first offset of the batch that follows, or None."""
        return struct.unpack_from(">q", self._data, self._at)[0] if self.has_next() else None

    def _end(self) -> int:
        if len(self._data) - self._at < LOG_OVERHEAD:
            return -1
        length: int = struct.unpack_from(">i", self._data, self._at + 8)[0]
        return self._at + LOG_OVERHEAD + length


class PartitionRecords(stock.PartitionRecords):
    """The records of one partition in one fetch response."""

    next_fetch_offset: int

    def _unpack_records(self) -> Iterator[Any]:
        while self._records.has_next():
            raw = self._records.next_batch()
            try:
                batch = _decode(raw, self.next_fetch_offset)
                is_skipped = self._is_skipped(batch)
            except Exception as error:  # noqa: BLE001 - damaged bytes can raise anything
                yield self._unreadable_batch(raw, error)
                return  # the aborted transactions are unknown from here on; the next fetch lists them again
            if not is_skipped:
                yield from self._read(batch, raw)
            self.next_fetch_offset = batch.next_offset

    def committed_batches(self) -> Iterator[Any]:
        """Yield each batch that is neither a marker nor aborted, to be iterated once. Raises whatever damaged bytes raise.

        `next_fetch_offset` is behind the batch then. The first one may begin before the offset that was asked for.
        """
        while self._records.has_next():
            batch = _decode(self._records.next_batch(), self.next_fetch_offset)
            is_skipped = self._is_skipped(batch)
            self.next_fetch_offset = batch.next_offset
            if not is_skipped:
                yield batch

    def end(self) -> int:
        """Return the offset behind the last whole batch, without decoding any."""
        records: MessageSet = self._records
        return records.end(self.next_fetch_offset)

    def _is_skipped(self, batch: Any) -> bool:
        """Return whether `batch` is a control marker or part of an aborted transaction, decided as in aiokafka."""
        if self._isolation_level == stock.READ_COMMITTED and batch.producer_id is not None:
            self._consume_aborted_up_to(batch.base_offset)
            if batch.is_control_batch and self._contains_abort_marker(batch):
                self._aborted_producers.discard(batch.producer_id)
            if batch.is_transactional and batch.producer_id in self._aborted_producers:
                return True
        return bool(batch.is_control_batch)

    def _read(self, batch: Any, raw: memoryview) -> Iterator[Any]:
        try:
            for record in batch:
                if record.offset >= self.next_fetch_offset:
                    self.next_fetch_offset = record.offset + 1
                    yield record
        except Exception as error:  # noqa: BLE001 - as above
            if raw[MAGIC_AT] == LATEST_MAGIC:
                yield from self._one_by_one(raw)
            else:
                yield self._unreadable_batch(raw, error)

    def _one_by_one(self, raw: memoryview) -> Iterator[Any]:
        """Yield the remaining records of a batch in which one cannot be parsed; each record has its length in front.

        Damaged bytes may look like more records than the batch has: an offset behind its last one is another batch's.
        """
        last = _last_offset(raw)
        for row in parse_records(raw, _body(raw)):
            if self.next_fetch_offset <= row.offset <= last:
                self.next_fetch_offset = row.offset + 1
                yield row

    def _unreadable_batch(self, raw: memoryview, error: Exception) -> UnreadableRecord:
        """Return an unparsable batch as one record, and continue behind it."""
        first = self.next_fetch_offset
        follows = self._records.next_offset()
        self.next_fetch_offset = max(first, _last_offset(raw)) + 1 if follows is None else max(first + 1, follows)
        flaw = f"the batch of offsets {first} to {self.next_fetch_offset - 1} cannot be read: {error_line(error)}"
        return UnreadableRecord(first, 0, None, bytes(raw), flaw)


class FetchResult(stock.FetchResult):
    """The fetch response of one partition, handed out in portions of at most PORTION_BYTES."""

    _partition_records: PartitionRecords | None

    def getall(self, max_records: int | None = None) -> list[Any]:
        """Return the next portion."""
        del max_records
        if not self.check_assignment(self._topic_partition) or self._partition_records is None:
            return []
        rows: list[Any] = []
        room = PORTION_BYTES
        for row in self._partition_records:
            rows.append(row)
            room -= ROW_BYTES + len(row.value or b"") + len(row.key or b"")
            if room <= 0:
                self._update_position()
                return rows
        self._update_position()
        self._partition_records = None
        return rows


def _decode(raw: memoryview, wanted: int) -> Any:
    """Return the batch, decompressed and ready to be iterated. Raises CorruptRecordException, or what a codec raises."""
    if len(raw) < LEAST_LEGACY:
        raise CorruptRecordException("its length is invalid")
    magic = raw[MAGIC_AT]
    if magic > LATEST_MAGIC:
        raise CorruptRecordException(f"format {magic} is not known")
    batch = DefaultRecordBatch(bytes(raw)) if magic == LATEST_MAGIC else LegacyRecordBatch(bytes(raw), magic)
    if not batch.validate_crc():
        raise CorruptRecordException("its checksum is wrong")
    if batch.next_offset <= wanted:
        raise CorruptRecordException(f"its last offset is {batch.next_offset - 1}, asked for was {wanted}")
    if magic < LATEST_MAGIC:
        _legacy_body(raw, magic)  # aiokafka unpacks it without a bound
        return batch
    if not batch.compression_type:
        return batch
    return DefaultRecordBatch(bytes(_head_of(raw)) + _body(raw))


def _legacy_body(raw: memoryview, magic: int) -> None:
    codec = raw[MAGIC_AT + 1] & CODEC_MASK
    if codec:
        key_at = KEY_AT[magic]
        key_size: int = struct.unpack_from(">i", raw, key_at)[0]
        decompressed(codec, bytes(raw[key_at + 8 + max(key_size, 0) :]))


def _head_of(raw: memoryview) -> bytearray:
    """Return the header of a batch, no longer compressed."""
    head = bytearray(raw[: HEADER_V2.size])
    head[ATTRIBUTES_AT + 1] &= ~CODEC_MASK
    return head


def _body(raw: memoryview) -> bytes:
    return decompressed(raw[ATTRIBUTES_AT + 1] & CODEC_MASK, bytes(raw[HEADER_V2.size :]))


def _last_offset(raw: memoryview) -> int:
    if len(raw) >= HEADER_V2.size and raw[MAGIC_AT] >= LATEST_MAGIC:
        base, *_, delta = struct.unpack_from(">qiibIhi", raw)
        return int(base + max(delta, 0))
    return int(struct.unpack_from(">q", raw)[0]) if len(raw) >= LOG_OVERHEAD else -1
