"""A consumer without a group, which no record can stop: what cannot be parsed comes in its place, with its flaw.

aiokafka raises at the first record that it cannot parse, again at every look. Its error need not name the partition, the
position then stands before good records, and what the same look had taken from other partitions is lost.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

from aiokafka import AIOKafkaConsumer
from aiokafka.consumer import fetcher as stock

from pipeline.engine import batch_decoder
from pipeline.engine.fetcher import rebound
from pipeline.engine.record_parser import UnreadableRecord

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pipeline.stage_io import Headers


class ReadRecord(NamedTuple):
    """A record, or a whole batch, as far as it could be read."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    flaw: str | None
    """Why it cannot be parsed; None: it can."""


class RecordConsumer(AIOKafkaConsumer):
    """aiokafka's consumer, which hands out each record as a `ReadRecord`."""

    async def start(self) -> None:
        """Connect."""
        await super().start()
        self._fetcher.__class__ = RecordFetcher  # aiokafka creates its own at the start


class _Records(batch_decoder.PartitionRecords):
    def _unpack_records(self) -> Iterator[Any]:
        topic, partition = self._tp
        for row in super()._unpack_records():
            flaw = row.flaw if type(row) is UnreadableRecord else None
            yield ReadRecord(topic, partition, row.offset, row.timestamp, row.key, row.value, tuple(row.headers), flaw)


class _Result(stock.FetchResult):
    """The fetch response of one partition, handed out in portions of as many records as are asked for."""

    _partition_records: Any

    def getall(self, max_records: int | None = None) -> list[ReadRecord]:
        """Return the next portion."""
        if not self.check_assignment(self._topic_partition) or not self.has_more():
            return []
        rows = list(islice(self._partition_records, max_records))
        self._update_position()
        if max_records is None or len(rows) < max_records:
            self._partition_records = None
        return rows


_OURS = {"MemoryRecords": batch_decoder.MessageSet, "PartitionRecords": _Records, "FetchResult": _Result}


class RecordFetcher(stock.Fetcher):
    """aiokafka's fetcher with the engine's parser."""

    _proc_fetch_request = rebound(stock.Fetcher._proc_fetch_request, **_OURS)  # noqa: SLF001 - as the rest of this seam
    fetched_records = rebound(stock.Fetcher.fetched_records, **_OURS)
