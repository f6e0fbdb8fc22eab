"""Reads `touches.status`, read committed, in time order as far as partitions allow."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from pipeline.console.place import Failed, partition_counts
from pipeline.console.reading import Illegible
from pipeline.console.story import ENDS, occurred_ms

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping

    from aiokafka import ConsumerRecord

    from pipeline.console.place import Place

    Read = Callable[[bytes | None], Mapping[str, Any]]
    """Decodes a Status; raises Illegible."""
    Told = Mapping[str, Any]

FETCH = 1_000
POLL_MS = 200
STALL_S = 30.0
"""How long a partition may give nothing although its end is not reached."""


@dataclass(slots=True)
class Seen:
    """What was shown."""

    records: int = 0
    ended: bool = False
    """The touch that was asked for has its terminal status."""
    timed_out: bool = False


async def status(
    place: Place,
    read: Read,
    *,
    show: Callable[[Told], None],
    complain: Callable[[str], None],
    touch_id: str | None = None,
    follow: bool = False,
    timeout_s: float | None = None,
) -> Seen:
    """Show the records of `touch_id`, or of all touches, and return what was seen.

    Without `follow` it ends at the present end of the topic; with it, at the terminal status of `touch_id`, or after
    `timeout_s`. Raises Failed when Kafka or the topic is away.
    """
    seen = Seen()
    try:
        async with asyncio.timeout(timeout_s):
            async with aclosing(_told(place, read, complain, touch_id, follow=follow)) as story:
                async for told in story:
                    show(told)
                    seen.records += 1
                    if touch_id is not None and told["state"] in ENDS:
                        seen.ended = True
                        if follow:
                            break
    except TimeoutError:
        seen.timed_out = True
    return seen


async def _told(
    place: Place, read: Read, complain: Callable[[str], None], touch_id: str | None, *, follow: bool
) -> AsyncGenerator[Told, None]:
    topic = place.topic_name("touches.status")
    count = (await partition_counts(place)).get(topic)
    if count is None:
        raise Failed(f"topic {topic} does not exist on {place.servers}: start a worker once, it creates its topics")
    kafka = AIOKafkaConsumer(
        **place.connection, isolation_level="read_committed", auto_offset_reset="earliest", enable_auto_commit=False,
        fetch_max_wait_ms=100, max_partition_fetch_bytes=4 * 1024 * 1024,
    )
    try:
        await kafka.start()
        reader = _Reader(kafka, read, complain, touch_id.encode() if touch_id is not None else None)
        partitions = [TopicPartition(topic, number) for number in range(count)]
        async with aclosing(reader.to_the_end(partitions)) as before:
            async for told in before:
                yield told
        while follow:
            for told in await reader.fresh():
                yield told
    except (KafkaError, OSError) as error:
        raise Failed(f"Kafka at {place.servers}: {error}") from error
    finally:
        await kafka.stop()


class _Reader:
    def __init__(
        self, kafka: AIOKafkaConsumer, read: Read, complain: Callable[[str], None], key: bytes | None
    ) -> None:
        self._kafka, self._read, self._complain, self._key = kafka, read, complain, key

    async def to_the_end(self, partitions: list[TopicPartition]) -> AsyncGenerator[Told, None]:
        """Yield what is there now, merged by time; within a partition in its own order."""
        starts, ends = await self._kafka.beginning_offsets(partitions), await self._kafka.end_offsets(partitions)
        self._kafka.assign(partitions)
        for partition, start in starts.items():
            self._kafka.seek(partition, start)  # at once: aiokafka would otherwise reset the position meanwhile
        heads: dict[TopicPartition, deque[Told]] = {tp: deque() for tp in partitions if starts[tp] < ends[tp]}
        heard = time.monotonic()
        while heads:
            lacking = [tp for tp, waiting in heads.items() if not waiting]
            if not lacking:
                first = min(heads, key=lambda tp: occurred_ms(heads[tp][0]))
                yield heads[first].popleft()
                continue
            fetched = await self._kafka.getmany(*lacking, timeout_ms=POLL_MS, max_records=FETCH)
            for tp, records in fetched.items():
                heads[tp].extend(self._decode(records))
            # Markers and aborted records occupy offsets: the position, not the last record, tells the end.
            done = [tp for tp in lacking if not heads[tp] and await self._kafka.position(tp) >= ends[tp]]
            for tp in done:
                del heads[tp]
            heard = time.monotonic() if fetched or done else heard
            if time.monotonic() - heard > STALL_S:
                raise Failed(f"Kafka gave nothing for {STALL_S:.0f} s, and the end is not reached")

    async def fresh(self) -> list[Told]:
        """Return what came since, in order of time as far as it came together."""
        fetched = await self._kafka.getmany(timeout_ms=POLL_MS)
        return sorted((told for records in fetched.values() for told in self._decode(records)), key=occurred_ms)

    def _decode(self, records: list[ConsumerRecord]) -> list[Told]:
        told = []
        for record in records:
            if self._key is not None and record.key != self._key:
                continue
            try:
                told.append(self._read(record.value))
            except Illegible as error:
                self._complain(f"{record.topic}[{record.partition}] offset {record.offset}: {error}; skipped")
        return told
