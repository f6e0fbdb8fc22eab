"""Which partitions this process owns: opens their tables before the first record, parks and closes them when they go."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from aiokafka import TopicPartition

from pipeline.engine.partition import CommittedTable, Partition, Stage
from pipeline.engine.turns import Turns

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from pipeline.engine.batch import Batch

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Duty:
    """What is done with one input topic: which table, which stage."""

    topic: str
    """Logical name of the input topic."""
    table: str
    stage: Callable[[int], Stage[Any]]
    """Makes the stage for a partition number."""
    agent: str
    """Name of the faust agent that consumes the topic."""
    observe: Callable[[float], None] = lambda _: None
    """Told how long each commit took, in seconds."""
    missed: Callable[[int], None] = lambda _: None
    """Told how many input records were deleted before they were read."""
    trims: bool = False
    """Whether applied records are deleted: for internal topics, which nobody else reads."""


class OpenTable(NamedTuple):
    """The table of a partition just taken over: fenced and restored, with the bounds of its input topic."""

    table: CommittedTable
    begin: int
    end: int
    changed: str | None = None
    """Why the input is not the one whose records were applied; None when it is."""


class Tables(Protocol):
    """Opens fenced tables: on Kafka in a worker, in memory in the simulation."""

    def topic_name(self, logical: str) -> str:
        """Return the name of an input topic outside."""

    async def open(self, wanted: Mapping[TopicPartition, str]) -> Mapping[TopicPartition, OpenTable]:
        """Fence every predecessor and restore the tables; `wanted` names the table of each input partition."""


class Ownership:
    """The owned partitions, each with its fenced table and its running stage."""

    def __init__(
        self, tables: Tables, duties: Iterable[Duty], now_ms: Callable[[], int], die: Callable[[BaseException], None]
    ) -> None:
        self.epoch = 0
        self._tables = tables
        self._duties = {tables.topic_name(d.topic): d for d in duties}
        self._now_ms = now_ms
        self._die = die
        self._owned: dict[TopicPartition, Partition] = {}
        self._tasks: dict[TopicPartition, asyncio.Task[None]] = {}
        self._changing = asyncio.Lock()
        self._turns = Turns()
        self.is_ready = False

    @property
    def agents(self) -> dict[str, str]:
        """Agent name by input topic, as Kafka names it."""
        return {topic: duty.agent for topic, duty in self._duties.items()}

    def logical(self, topic: str) -> str:
        """Return the logical name of an input topic."""
        return self._duties[topic].topic

    def is_internal(self, topic: str) -> bool:
        """Return whether nobody but the pipeline writes to an input topic."""
        return self._duties[topic].trims

    def partitions(self) -> Mapping[TopicPartition, Partition]:
        """The owned partitions."""
        return self._owned

    def deliver(self, batch: Batch) -> None:
        """Hand a batch to its partition; one of an older epoch, or of a partition that has gone, is void."""
        partition = self._owned.get(TopicPartition(batch.topic, batch.partition))
        if partition is not None and batch.epoch == self.epoch:
            partition.deliver(batch)

    def fetchable(self) -> frozenset[TopicPartition]:
        """Return the partitions with room for more."""
        return frozenset(tp for tp, partition in self._owned.items() if partition.has_room)

    def expected(self) -> dict[TopicPartition, int]:
        """Return the offset to read next, by partition."""
        return {tp: partition.expected for tp, partition in self._owned.items()}

    def applied(self) -> dict[TopicPartition, int]:
        """Return the offset behind the last committed record, by partition: what the group may commit."""
        return {tp: partition.applied for tp, partition in self._owned.items()}

    def trimmable(self) -> dict[TopicPartition, int]:
        """Return the offset below which nothing is needed any more, for partitions that are to be trimmed."""
        return {tp: p.applied for tp, p in self._owned.items() if self._duties[tp.topic].trims}

    async def park(self) -> None:
        """Bring every partition to a standstill; what was decided is committed."""
        async with self._changing:
            self.is_ready = False
            self.epoch += 1
            await asyncio.gather(*(partition.park() for partition in self._owned.values()))

    async def take(self, assigned: Iterable[TopicPartition]) -> None:
        """Own exactly `assigned`: close what went, open what came, go on with what stayed."""
        async with self._changing:
            wanted = {TopicPartition(tp.topic, tp.partition) for tp in assigned if tp.topic in self._duties}
            await asyncio.gather(*(self._close(tp) for tp in sorted(set(self._owned) - wanted)))
            await self._open(sorted(wanted - set(self._owned)))
            self.epoch += 1
            for partition in self._owned.values():
                partition.resume()
            self.is_ready = True

    async def close(self) -> None:
        """Close everything."""
        async with self._changing:
            self.is_ready = False
            await asyncio.gather(*(self._close(tp) for tp in list(self._owned)))

    async def _open(self, came: Sequence[TopicPartition]) -> None:
        if not came:
            return
        opened = await self._tables.open({tp: self._duties[tp.topic].table for tp in came})
        for tp in came:
            self._start(tp, opened[tp])

    def _start(self, tp: TopicPartition, opened: OpenTable) -> None:
        duty, table = self._duties[tp.topic], opened.table
        partition = Partition(
            tp.topic,
            tp.partition,
            table,
            duty.stage(tp.partition),
            self._now_ms,
            observe=duty.observe,
            turns=self._turns,
        )
        resumes_at, missed = resume_at(tp, table.next_offset, opened)
        duty.missed(missed)
        partition.open(resumes_at)
        self._owned[tp] = partition
        task = asyncio.create_task(partition.run(), name=f"{tp.topic}[{tp.partition}]")
        task.add_done_callback(self._ended)
        self._tasks[tp] = task

    def tasks(self) -> Iterator[tuple[str, asyncio.Future[Any] | None]]:
        """Yield what must run for the owned partitions: their loops, and the producers of their tables."""
        for tp, partition in self._owned.items():
            yield f"the loop of {tp.topic}[{tp.partition}]", self._tasks[tp]
            yield from partition.table.tasks()

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._die(error)

    async def _close(self, tp: TopicPartition) -> None:
        partition = self._owned.pop(tp)
        task = self._tasks.pop(tp)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await partition.stage.close()
        await partition.table.close()


def resume_at(tp: TopicPartition, known: int, opened: OpenTable) -> tuple[int, int]:
    """Return the input offset to go on from, and how many records were deleted before they were read.

    It is what the table knows, unless the input is not the one whose records were applied: then its beginning, and what
    was applied before is recognised by the stage.
    """
    begin, end, changed = opened.begin, opened.end, opened.changed
    if changed is None and known > end:
        changed = f"ends at {end}, but {known} was applied (truncated?)"
    if changed is not None:
        log.error(
            "%s[%d] %s; it is read from its beginning, %d: what was applied before is recognised",
            tp.topic,
            tp.partition,
            changed,
            begin,
        )
        known = 0
    elif known < begin:
        log.error(
            "%s[%d]: records %d to %d were deleted before they were read (retention?): %d touches or events are lost",
            tp.topic,
            tp.partition,
            known,
            begin - 1,
            begin - known,
        )
        return begin, begin - known
    return max(known, begin), 0
