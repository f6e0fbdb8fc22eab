"""Reads a topic, read committed: to its present end in order of time, then new records; or single records."""

from __future__ import annotations

import time
from collections import deque
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from pipeline.engine.record_consumer import RecordConsumer
from pipeline.engine.stop_client import stop_client
from pipeline.kafka.cluster import CommandFailed, partition_count, unreached
from pipeline.records.published import UndecodableValue

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterable

    from pipeline.engine.record_consumer import ReadRecord
    from pipeline.kafka.cluster import Cluster

T = TypeVar("T")

FETCH = 1_000
POLL_MS = 200
STALL_S = 30.0
"""Seconds without a record, before the end is reached, after which reading fails."""


class RecordPosition(NamedTuple):
    """The position of a record in a topic."""

    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.partition}/{self.offset}"


@dataclass(frozen=True, slots=True)
class TopicSource(Generic[T]):
    """A topic, and how its records are decoded."""

    cluster: Cluster
    topic: str
    """Without the prefix."""
    read: Callable[[ReadRecord], T | None]
    """Decodes a record; returns None if the filter excludes it. Raises UndecodableValue."""
    at_ms: Callable[[T], int]
    """The instant of a decoded record, epoch ms."""
    complain: Callable[[str], None]
    """Called with one line per record that cannot be parsed or decoded; the record is skipped."""


async def read_topic(source: TopicSource[T], *, follow: bool = False) -> AsyncGenerator[T, None]:
    """Yield the records that exist now, merged by time; with `follow`, also new ones.

    Raises CommandFailed when Kafka or the topic is away.
    """
    partitions = await _partitions(source)
    kafka = _consumer(source.cluster)
    try:
        await kafka.start()
        async with aclosing(_to_the_end(kafka, source, partitions)) as before:
            async for said in before:
                yield said
        while follow:
            fetched = await kafka.getmany(timeout_ms=POLL_MS)
            fresh = (said for records in fetched.values() for said in _said(source, records))
            for said in sorted(fresh, key=source.at_ms):
                yield said
    except (KafkaError, OSError) as error:
        raise await unreached(source.cluster, error) from error
    finally:
        await stop_client(kafka.stop())


async def read_positions(source: TopicSource[T], positions: Iterable[RecordPosition]) -> AsyncGenerator[T, None]:
    """Yield the record at each of `positions` that has one; raises as `read_topic` does."""
    partitions = await _partitions(source)
    kafka = _consumer(source.cluster)
    try:
        await kafka.start()
        starts, ends = await kafka.beginning_offsets(partitions), await kafka.end_offsets(partitions)
        for position in positions:
            tp = TopicPartition(source.cluster.topic_name(source.topic), position.partition)
            is_there = tp in starts and starts[tp] <= position.offset < ends[tp]
            records = await _from(kafka, tp, position.offset, ends[tp]) if is_there else []
            # Between records there are markers and aborted ones: the next readable record may be another one.
            for said in _said(source, [record for record in records if record.offset == position.offset]):
                yield said
    except (KafkaError, OSError) as error:
        raise await unreached(source.cluster, error) from error
    finally:
        await stop_client(kafka.stop())


async def _partitions(source: TopicSource[T]) -> list[TopicPartition]:
    count = await partition_count(source.cluster, source.topic)
    return [TopicPartition(source.cluster.topic_name(source.topic), number) for number in range(count)]


def _consumer(cluster: Cluster) -> RecordConsumer:
    return RecordConsumer(
        **cluster.connection,
        isolation_level="read_committed",
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        fetch_max_wait_ms=100,
        max_partition_fetch_bytes=4 * 1024 * 1024,
    )


async def _to_the_end(
    kafka: RecordConsumer, source: TopicSource[T], partitions: list[TopicPartition]
) -> AsyncGenerator[T, None]:
    """Yield the records up to the present end, and those fetched with them; within a partition in its order."""
    starts, ends = await kafka.beginning_offsets(partitions), await kafka.end_offsets(partitions)
    kafka.assign(partitions)
    for partition, start in starts.items():
        kafka.seek(partition, start)  # at once: aiokafka would otherwise reset the position meanwhile
    heads: dict[TopicPartition, deque[T]] = {tp: deque() for tp in partitions if starts[tp] < ends[tp]}
    heard = time.monotonic()
    while heads:
        lacking = [tp for tp, waiting in heads.items() if not waiting]
        if not lacking:
            first = min(heads, key=lambda tp: source.at_ms(heads[tp][0]))
            yield heads[first].popleft()
            continue
        fetched = await kafka.getmany(*lacking, timeout_ms=POLL_MS, max_records=FETCH)
        for tp, records in fetched.items():
            heads[tp].extend(_said(source, records))
        # Markers and aborted records occupy offsets: the position, not the last record, tells the end.
        done = [tp for tp in lacking if not heads[tp] and await kafka.position(tp) >= ends[tp]]
        for tp in done:
            del heads[tp]
        heard = time.monotonic() if fetched or done else heard
        _demand_news(heard)


async def _from(kafka: RecordConsumer, tp: TopicPartition, offset: int, end: int) -> list[ReadRecord]:
    """Return some records from `offset` on; none if there is none before `end`."""
    kafka.assign([tp])
    kafka.seek(tp, offset)
    heard = time.monotonic()
    while not (records := (await kafka.getmany(tp, timeout_ms=POLL_MS, max_records=1)).get(tp)):
        if await kafka.position(tp) >= end:
            return []
        _demand_news(heard)
    return records  # type: ignore[no-any-return]


def _demand_news(heard: float) -> None:
    if time.monotonic() - heard > STALL_S:
        raise CommandFailed(f"Kafka gave nothing for {STALL_S:.0f} s, and the end is not reached")


def _said(source: TopicSource[T], records: list[ReadRecord]) -> list[T]:
    said = []
    for record in records:
        try:
            what = _decoded(source, record)
        except UndecodableValue as error:
            source.complain(f"{record.topic}[{record.partition}] offset {record.offset}: {error}; skipped")
        else:
            if what is not None:
                said.append(what)
    return said


def _decoded(source: TopicSource[T], record: ReadRecord) -> T | None:
    if record.flaw is not None:
        raise UndecodableValue(record.flaw)
    return source.read(record)
