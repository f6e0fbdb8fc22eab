"""Reads the public topics into the copy: rows and positions in one write, so that a kill at any moment makes no difference."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Final, Never, TypeVar

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from pipeline.engine.record_consumer import ReadRecord, RecordConsumer
from pipeline.engine.stop_client import stop_client
from pipeline.kafka.cluster import CommandFailed, reach
from pipeline.lookup.copying import Copying, Portion
from pipeline.lookup.freshness import Mark
from pipeline.lookup.topics_found import CopyOutdated, TopicFinder
from pipeline.records.registry import RegistryAway
from pipeline.stage_io import Record

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence

    from pipeline.kafka.cluster import Cluster
    from pipeline.lookup.topics_found import TopicsFound

T = TypeVar("T")

log = logging.getLogger(__name__)

PORTION_RECORDS: Final = 500
"""Most records taken in at once: between two portions requests are answered."""
POLL_MS: Final = 100
FETCH_WAIT_MS: Final = 250
"""How long Kafka waits for records; it answers at once when there are any."""
FETCH_BYTES: Final = 2 * 1024 * 1024
AGAIN_S: Final = 1.0
MARK_S: Final = 0.25
"""How often the ends are looked at."""
ANSWER_S: Final = 10.0
"""Seconds that Kafka may take to tell the ends."""
LOOK_S: Final = 1.0
"""How often topics are looked for: for so long the copy may not notice that one was deleted and created anew."""
GONE_S: Final = 5.0
"""How long a topic of the copy must not be seen until it counts as deleted."""
KEEP_S: Final = 60.0
"""How often positions are written although no record came, and old rows are looked for in topics."""


class Projector:
    """Keeps one copy up to date."""

    def __init__(self, cluster: Cluster, copying: Copying) -> None:
        self._cluster = cluster
        self._copying = copying
        self._prefix = cluster.topic_name("")
        self._told = ""
        """The last line about why nothing can be read."""
        self._marked_at = 0.0
        self._gone_since: float | None = None
        """Since when a topic of the copy cannot be seen; None: all can."""

    async def run(self) -> Never:
        """Read until it is cancelled; while Kafka is away, try again. Raises StoreFailed: the folder cannot be used."""
        while True:
            try:
                await self._read()
            except CopyOutdated as error:
                self._tell(str(error))
            except (KafkaError, OSError, TimeoutError, CommandFailed) as error:
                self._tell(f"{type(error).__name__}: {error}")
            await asyncio.sleep(AGAIN_S)

    def _tell(self, why: str) -> None:
        """Log why reading begins again, once for the same reason."""
        if why != self._told:
            log.warning("the look-up copy begins to read again: %s", why)
        self._told = why

    async def _read(self) -> None:
        await reach(self._cluster)
        finder = TopicFinder(self._cluster, self._copying.topics)
        async with _closing(finder), self._consumer("read_committed") as kafka, self._consumer() as whole:
            found = await finder.find()
            partitions = [
                TopicPartition(self._cluster.topic_name(topic), each)
                for topic, count in found.partitions.items()
                for each in range(count)
            ]
            await self._begin(kafka, whole, found, partitions)
            look_at = note_at = time.monotonic()
            while True:
                await self._step(kafka, whole, partitions)
                if time.monotonic() > look_at + LOOK_S:
                    look_at = time.monotonic()
                    if why := found.changed(await finder.find()):
                        raise CopyOutdated(why)
                if time.monotonic() > note_at + KEEP_S:
                    note_at = time.monotonic()
                    await self._tidy(whole, partitions)

    @asynccontextmanager
    async def _consumer(self, isolation: str = "read_uncommitted") -> AsyncIterator[RecordConsumer]:
        kafka = RecordConsumer(
            **self._cluster.connection,
            isolation_level=isolation,
            enable_auto_commit=False,
            auto_offset_reset="none",
            fetch_max_wait_ms=FETCH_WAIT_MS,
            max_partition_fetch_bytes=FETCH_BYTES,
        )
        try:
            await kafka.start()
            yield kafka
        finally:
            await stop_client(kafka.stop())

    async def _begin(
        self, kafka: RecordConsumer, whole: RecordConsumer, found: TopicsFound, partitions: list[TopicPartition]
    ) -> None:
        """Start where the copy ends; read anew what it is no copy of."""
        if not partitions:
            raise CopyOutdated("there is no topic yet")
        async with asyncio.timeout(ANSWER_S):
            starts, ends = await whole.beginning_offsets(partitions), await whole.end_offsets(partitions)
        bounds = {self._logical(tp): (starts[tp], ends[tp]) for tp in partitions}
        self._wait_for(self._copying.missing(found))
        offsets = self._copying.begin(found, bounds)
        kafka.assign(partitions)
        for tp in partitions:
            kafka.seek(tp, offsets[self._logical(tp)])  # no await before: aiokafka would reset the position
        self._told = ""

    def _wait_for(self, gone: set[str]) -> None:
        """Believe that a topic is gone when it cannot be seen for a while: a broker that starts knows little. Raises CopyOutdated."""
        if not gone:
            self._gone_since = None
            return
        self._gone_since = self._gone_since or time.monotonic()
        if time.monotonic() < self._gone_since + GONE_S:
            raise CopyOutdated(f"{', '.join(sorted(gone))} cannot be seen")

    def _logical(self, tp: TopicPartition) -> tuple[str, int]:
        return tp.topic.removeprefix(self._prefix), tp.partition

    async def _step(self, kafka: RecordConsumer, whole: RecordConsumer, partitions: Sequence[TopicPartition]) -> None:
        """Take in what there is, and see how far it is to the end."""
        if self._copying.freshness.needs_mark and time.monotonic() > self._marked_at + MARK_S:
            await self._set_mark(whole, partitions)
        fetched = await kafka.getmany(timeout_ms=POLL_MS, max_records=PORTION_RECORDS)
        offsets = {self._logical(tp): await kafka.position(tp) for tp in partitions}
        records = [record for rows in fetched.values() for record in self._readable(rows)]
        await self._take(Portion(records, offsets))
        if not records and not self._copying.freshness.lag_records:
            self._copying.let_go()

    async def _set_mark(self, whole: RecordConsumer, partitions: Sequence[TopicPartition]) -> None:
        self._marked_at, at_ms = time.monotonic(), self._copying.now_ms()
        async with asyncio.timeout(ANSWER_S):  # of a topic that is deleted nothing is told for long
            ends = await whole.end_offsets(partitions)
        self._copying.freshness.set_mark(Mark(at_ms, {self._logical(tp): end for tp, end in ends.items()}))

    def _readable(self, rows: Iterable[ReadRecord]) -> Iterator[Record]:
        """Yield the records that can be parsed, and count the others."""
        for row in rows:
            topic = row.topic.removeprefix(self._prefix)
            if row.flaw is None:
                yield Record(topic, row.partition, row.offset, row.timestamp, row.key, row.value, row.headers)
            else:
                self._copying.unreadable.add(topic, row.partition, row.offset, row.flaw)

    async def _take(self, portion: Portion) -> None:
        """Take a portion in, as soon as its schemas can be read. Decoding has a thread: it may wait for a registry."""
        while True:
            try:
                draft = await _in_thread(partial(self._copying.draft, portion)) if portion.records else None
            except RegistryAway as error:
                self._tell(str(error))
                await asyncio.sleep(AGAIN_S)
            else:
                self._copying.write(portion, draft)
                return

    async def _tidy(self, whole: RecordConsumer, partitions: Sequence[TopicPartition]) -> None:
        """Write the positions down, and let go what topics have no more."""
        async with asyncio.timeout(ANSWER_S):
            starts = await whole.beginning_offsets(partitions)
        self._copying.tidy({self._logical(tp): start for tp, start in starts.items()})


async def _in_thread(work: Callable[[], T]) -> T:
    """Return what `work` returns. Who is cancelled meanwhile waits for its end: the store must not be closed under it."""
    running = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait([running])
        raise


@asynccontextmanager
async def _closing(finder: TopicFinder) -> AsyncIterator[None]:
    """Close `finder` at the end."""
    try:
        yield
    finally:
        await finder.close()
