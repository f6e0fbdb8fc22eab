"""Reads the backlog from Kafka, read committed: tables from their changelogs, and records that they have not applied yet."""

from __future__ import annotations

import time
from collections import defaultdict
from typing import TYPE_CHECKING, Any, Self, TypeVar

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from pipeline import flow
from pipeline.domain.work import Channel
from pipeline.engine.stop_client import stop_client
from pipeline.engine.table import INPUT_POSITION
from pipeline.forecast import Backlog, LaneRows
from pipeline.forecast.table import FORGOTTEN
from pipeline.kafka.cluster import CommandFailed, missing, partition_counts, unreached
from pipeline.records import decode_scheduled, decode_work
from pipeline.stages.schedule import DEFERRED

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence

    from aiokafka import ConsumerRecord

    from pipeline.domain.work import Scheduled
    from pipeline.kafka.cluster import Cluster

    Rows = dict[bytes, bytes]

T = TypeVar("T")

POLL_MS = 200
STALL_S = 30.0
"""Seconds without a record, before the end is reached, after which reading fails."""
TAIL = 1_000
"""Records at a changelog's end in which its input position is searched first."""
TABLES = {
    stretch.topic: stretch.table
    for stretch in flow.ROAD
    if stretch.table is not None and stretch.topic != flow.CALLBACKS  # they wait for no call, and may be off
}


async def read_backlog(
    cluster: Cluster, channels: Iterable[Channel], *, progress: Callable[[int], None], complain: Callable[[str], None]
) -> Backlog:
    """Return what is on the road to `channels`, as committed at one moment; `progress` is called with the number of records read.

    Takes no part in any group or transaction. Raises CommandFailed when Kafka or a topic is away.
    """
    counts = await partition_counts(cluster)
    try:
        async with _Log(cluster, counts, progress) as log:
            return await _BacklogReading(log, complain).backlog(list(channels))
    except (KafkaError, OSError) as error:
        raise await unreached(cluster, error) from error


class _Log:
    """All topics of the road, up to their ends when reading began, so that a touch that moves meanwhile is not counted twice."""

    def __init__(self, cluster: Cluster, counts: Mapping[str, int], progress: Callable[[int], None]) -> None:
        self._cluster, self._counts, self._progress = cluster, counts, progress
        self._kafka = AIOKafkaConsumer(
            **cluster.connection,
            isolation_level="read_committed",
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            fetch_max_wait_ms=100,
            max_partition_fetch_bytes=4 * 1024 * 1024,
        )
        self._read = 0
        self.starts: dict[TopicPartition, int] = {}
        self.ends: dict[TopicPartition, int] = {}

    async def __aenter__(self) -> Self:
        logical = [name for topic, table in TABLES.items() for name in (topic, flow.changelog(table))]
        everything = [tp for name in logical for tp in self.partitions(name)]
        await self._kafka.start()
        self.ends = await self._kafka.end_offsets(everything)
        self.starts = await self._kafka.beginning_offsets(everything)
        return self

    async def __aexit__(self, *_: object) -> None:
        await stop_client(self._kafka.stop())

    def partitions(self, logical: str) -> list[TopicPartition]:
        """Return the partitions of a topic. Raises CommandFailed when it does not exist."""
        name = self._cluster.topic_name(logical)
        if name not in self._counts:
            raise missing(self._cluster, name)
        return [TopicPartition(name, number) for number in range(self._counts[name])]

    async def read(
        self, starts: Mapping[TopicPartition, int]
    ) -> AsyncIterator[tuple[TopicPartition, list[ConsumerRecord]]]:
        """Yield the records from `starts` on, up to the end."""
        waiting = {tp: start for tp, start in starts.items() if start < self.ends[tp]}
        if not waiting:
            return
        self._kafka.assign(list(waiting))
        for tp, start in waiting.items():
            self._kafka.seek(tp, start)  # at once: aiokafka would otherwise reset the position meanwhile
        heard = time.monotonic()
        while waiting:
            fetched = await self._kafka.getmany(*waiting, timeout_ms=POLL_MS)
            for tp, records in fetched.items():
                self._read += len(records)
                yield tp, [record for record in records if record.offset < self.ends[tp]]
            self._progress(self._read)
            # Markers and aborted records occupy offsets: the position, not the last record, tells the end.
            done = [tp for tp in waiting if await self._kafka.position(tp) >= self.ends[tp]]
            for tp in done:
                del waiting[tp]
            heard = time.monotonic() if fetched or done else heard
            if time.monotonic() - heard > STALL_S:
                raise CommandFailed(f"Kafka gave nothing for {STALL_S:.0f} s, and the end is not reached")


class _BacklogReading:
    def __init__(self, log: _Log, complain: Callable[[str], None]) -> None:
        self._log, self._complain = log, complain

    async def backlog(self, channels: Sequence[Channel]) -> Backlog:
        lanes = [lane for channel in channels for lane in await self._lanes(channel)]
        deferred = [each for each in await self._deferred() if each.channel in channels]
        return Backlog(lanes, deferred, await self._not_accepted())

    async def _lanes(self, channel: Channel) -> list[LaneRows]:
        topic = flow.channel_topic(channel)
        tables = await self._tables(topic)
        arrivals = await self._beyond(topic, tables)
        return [
            LaneRows(
                channel, number, rows, [record.value for record in arrivals[number] if self._reads(decode_work, record)]
            )
            for number, rows in enumerate(tables)
        ]

    async def _deferred(self) -> list[Scheduled]:
        tables = await self._tables(flow.SCHEDULED)
        kept = [decode_scheduled(value) for rows in tables for key, value in rows.items() if key.startswith(DEFERRED)]
        arrivals = await self._beyond(flow.SCHEDULED, tables)
        read = [self._reads(decode_scheduled, record) for number in range(len(tables)) for record in arrivals[number]]
        return kept + [each for each in read if each is not None]

    async def _tables(self, topic: str) -> list[Rows]:
        """Return the table of each partition of `topic`, without the entries of touches that have ended."""
        partitions = self._log.partitions(flow.changelog(TABLES[topic]))
        tables: list[Rows] = [{} for _ in partitions]
        async for tp, records in self._log.read({tp: self._log.starts[tp] for tp in partitions}):
            for record in records:
                _apply(tables[tp.partition], record)
        return tables

    async def _beyond(self, topic: str, tables: Sequence[Rows]) -> Mapping[int, list[ConsumerRecord]]:
        """Return the records of `topic` that the tables of its partitions have not applied."""
        positions = {tp: _position(tables[tp.partition]) for tp in self._log.partitions(topic)}
        found: dict[int, list[ConsumerRecord]] = defaultdict(list)
        async for tp, records in self._log.read({tp: max(at, self._log.starts[tp]) for tp, at in positions.items()}):
            found[tp.partition] += records
        return found

    async def _not_accepted(self) -> int:
        """Return how many records of `touches` no router has applied. The router's table is large: only its end is read."""
        positions = {
            tp.partition: await self._last_position(tp)
            for tp in self._log.partitions(flow.changelog(TABLES[flow.TOUCHES]))
        }
        return sum(
            max(self._log.ends[tp] - max(positions.get(tp.partition, 0), self._log.starts[tp]), 0)
            for tp in self._log.partitions(flow.TOUCHES)
        )

    async def _last_position(self, tp: TopicPartition) -> int:
        first, end, tail = self._log.starts[tp], self._log.ends[tp], TAIL
        while True:
            rows: Rows = {}
            async for _, records in self._log.read({tp: max(first, end - tail)}):
                for record in records:
                    if record.key == INPUT_POSITION:
                        _apply(rows, record)
            if rows or end - tail <= first:
                return _position(rows)
            tail *= 10

    def _reads(self, decode: Callable[[bytes], T], record: ConsumerRecord) -> T | None:
        try:
            return decode(record.value or b"")
        except Exception as error:  # noqa: BLE001 - the lane skips such a record as well
            self._complain(
                f"{record.topic}[{record.partition}] offset {record.offset}: not written by the pipeline: {error!r}; skipped"
            )
            return None


def _apply(rows: Rows, record: ConsumerRecord) -> None:
    key: Any = record.key
    if record.value is None:
        rows.pop(key, None)
    elif not key.startswith(FORGOTTEN):
        rows[key] = record.value


def _position(rows: Rows) -> int:
    return int.from_bytes(rows.get(INPUT_POSITION, b""), "big")
