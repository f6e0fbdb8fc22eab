"""Reads what a fetch brought, batch by batch. What cannot be parsed becomes a row that says so, and the rest goes on.

aiokafka raises at the first batch or record that it cannot parse, at every fetch again. Here a codec nobody knows, a
damaged batch or a header name that is no UTF-8 costs exactly the batch, or the record, that has it.
"""

from __future__ import annotations

import struct
from types import FunctionType
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
"""Handed out of one fetch at a time: a compressed fetch of 1 MiB can be a hundred times that."""
ROW_BYTES = 100
"""What a row takes beside its key and value, about."""

LOG_OVERHEAD = 12
"""Base offset and length, before every batch of every format."""
MAGIC_AT = 16
ATTRIBUTES_AT = 21
CODEC_MASK = 0x07
LATEST_MAGIC = 2
LEAST_LEGACY = LOG_OVERHEAD + 14
KEY_AT = {0: 18, 1: 26}
"""Where the key of a message of format 0 or 1 begins."""


class MessageSet:
    """The batches of one fetch, as bytes; aiokafka's own would parse them."""

    def __init__(self, data: bytes) -> None:
        self._data = memoryview(data)
        self._at = 0

    def size_in_bytes(self) -> int:
        """Return how much there is."""
        return len(self._data)

    def has_next(self) -> bool:
        """Whether another batch follows; what the broker cut off at the end is none."""
        return self._at < len(self._data) and (self._at == 0 or self._at < self._end() <= len(self._data))

    def next_batch(self) -> memoryview:
        """Return the next batch; all that is there, where its length makes no sense."""
        start, end = self._at, self._end()
        self._at = end if start < end <= len(self._data) else len(self._data)
        return self._data[start : self._at]

    def next_offset(self) -> int | None:
        """Return the first offset of the batch that follows, or None."""
        return struct.unpack_from(">q", self._data, self._at)[0] if self.has_next() else None

    def _end(self) -> int:
        if len(self._data) - self._at < LOG_OVERHEAD:
            return -1
        length: int = struct.unpack_from(">i", self._data, self._at + 8)[0]
        return self._at + LOG_OVERHEAD + length


class PartitionRecords(stock.PartitionRecords):
    """The records of one partition in one fetch."""

    next_fetch_offset: int

    def _unpack_records(self) -> Iterator[Any]:
        while self._records.has_next():
            raw = self._records.next_batch()
            try:
                batch = _opened(raw, self.next_fetch_offset)
                is_passed_over = self._is_passed_over(batch)
            except Exception as error:  # noqa: BLE001 - whatever the damaged bytes lead to
                yield self._whole(raw, error)
                return  # which transactions were aborted cannot be told from here on: the next fetch says it anew
            if not is_passed_over:
                yield from self._read(batch, raw)
            self.next_fetch_offset = batch.next_offset

    def _is_passed_over(self, batch: Any) -> bool:
        """Whether it is a marker, or part of an aborted transaction. As aiokafka decides it."""
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
                yield self._whole(raw, error)

    def _one_by_one(self, raw: memoryview) -> Iterator[Any]:
        """Yield what is left of a batch in which one record cannot be parsed: each says how long it is."""
        for row in parse_records(raw, _body(raw)):
            if row.offset >= self.next_fetch_offset:
                self.next_fetch_offset = row.offset + 1
                yield row

    def _whole(self, raw: memoryview, error: Exception) -> UnreadableRecord:
        """Return a batch that cannot be parsed, and go on behind it."""
        first = self.next_fetch_offset
        follows = self._records.next_offset()
        self.next_fetch_offset = max(first, _last_offset(raw)) + 1 if follows is None else max(first + 1, follows)
        flaw = f"the batch of offsets {first} to {self.next_fetch_offset - 1} cannot be read: {error_line(error)}"
        return UnreadableRecord(first, 0, None, bytes(raw), flaw)


class FetchResult(stock.FetchResult):
    """What a fetch brought of one partition; handed out in portions of bounded size."""

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


_REPLACED = {
    **vars(stock),
    "MemoryRecords": MessageSet,
    "PartitionRecords": PartitionRecords,
    "FetchResult": FetchResult,
}


def _with_replaced_classes(method: Any) -> Any:
    """Return a method of aiokafka's fetcher that makes our classes where it made aiokafka's."""
    made = FunctionType(method.__code__, _REPLACED, method.__name__, method.__defaults__, method.__closure__)
    made.__kwdefaults__ = method.__kwdefaults__
    return made


class Fetcher(stock.Fetcher):
    """A fetcher that nothing it reads can stop. Give it to a consumer with `fetcher.__class__ = Fetcher`."""

    _proc_fetch_request = _with_replaced_classes(stock.Fetcher._proc_fetch_request)  # noqa: SLF001 - it has no seam for its parser
    fetched_records = _with_replaced_classes(stock.Fetcher.fetched_records)


def _opened(raw: memoryview, wanted: int) -> Any:
    """Return the batch, unpacked and ready to be iterated. Raises whatever is wrong with it."""
    if len(raw) < LEAST_LEGACY:
        raise CorruptRecordException("its length makes no sense")
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
