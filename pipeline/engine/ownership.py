"""The partitions this process owns: their tables are opened before the first record, parked and closed when they are revoked."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from aiokafka import TopicPartition

from pipeline.engine.commit_slots import CommitSlots
from pipeline.engine.partition import Partition

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence

    from pipeline.engine.agent import Agent, TransactionalTable
    from pipeline.engine.batch import Batch

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentBinding:
    """Which agent consumes an input topic, with which table."""

    topic: str
    """Logical name of the input topic."""
    table: str
    name: str
    """Name of the faust agent that consumes the topic."""
    make_agent: Callable[[int], Agent[Any]]
    """Makes the agent of a partition number."""
    on_commit: Callable[[float], None] = lambda _: None
    """Called after each commit with its duration in seconds."""
    on_missed: Callable[[int], None] = lambda _: None
    """Called with the number of input records that were deleted before they were read."""
    trims: bool = False
    """Whether applied records are deleted: for internal topics, which only the pipeline reads."""
    watches: bool = False
    """Whether its agent looks at the views: it steps when they move."""


class OpenedTable(NamedTuple):
    """The table of a partition just taken over, fenced and restored, with the bounds of its input topic."""

    table: TransactionalTable
    begin: int
    end: int
    changed: str | None = None
    """How the input differs from the one whose records were applied; None when it is the same."""


class TableOpener(Protocol):
    """Opens fenced tables: on Kafka in a worker, in memory in the simulation."""

    def topic_name(self, logical: str) -> str:
        """Return the name of an input topic in Kafka."""

    async def open(self, wanted: Mapping[TopicPartition, str]) -> Mapping[TopicPartition, OpenedTable]:
        """Fence every predecessor and restore the tables; `wanted` has the table's name by input partition."""


class Ownership:
    """The owned partitions, each with its fenced table and its running agent."""

    def __init__(
        self,
        opener: TableOpener,
        bindings: Iterable[AgentBinding],
        now_ms: Callable[[], int],
        die: Callable[[BaseException], None],
        *,
        catch_up: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """Own nothing yet.

        `catch_up` returns when the views know all that is committed: every agent begins with what was known to whoever
        had its partition before.
        """
        self.epoch = 0
        """Counts the changes of ownership; batches fetched in an older epoch are dropped."""
        self._opener = opener
        self._bindings = {opener.topic_name(each.topic): each for each in bindings}
        self._now_ms = now_ms
        self._die = die
        self._catch_up = catch_up
        self._owned: dict[TopicPartition, Partition] = {}
        self._tasks: dict[TopicPartition, asyncio.Task[None]] = {}
        self._changing = asyncio.Lock()
        self._commit_slots = CommitSlots()
        self.is_ready = False

    @property
    def agents(self) -> dict[str, str]:
        """Name of the faust agent by the input topic's name in Kafka."""
        return {topic: binding.name for topic, binding in self._bindings.items()}

    def logical(self, topic: str) -> str:
        """Return the logical name of an input topic."""
        return self._bindings[topic].topic

    def is_internal(self, topic: str) -> bool:
        """Return whether only the pipeline writes to an input topic."""
        return self._bindings[topic].trims

    def partitions(self) -> Mapping[TopicPartition, Partition]:
        """The owned partitions."""
        return self._owned

    def deliver(self, batch: Batch) -> None:
        """Hand a batch to its partition; drop it if its epoch is over or its partition is no longer owned."""
        partition = self._owned.get(TopicPartition(batch.topic, batch.partition))
        if partition is not None and batch.epoch == self.epoch:
            partition.deliver(batch)

    def fetchable(self) -> frozenset[TopicPartition]:
        """Return the partitions whose inbox has room."""
        return frozenset(tp for tp, partition in self._owned.items() if partition.has_room)

    def expected(self) -> dict[TopicPartition, int]:
        """Return the offset to read next, by partition."""
        return {tp: partition.expected for tp, partition in self._owned.items()}

    def lag(self, end_of: Callable[[TopicPartition], int | None]) -> Mapping[str, int]:
        """Return how many records wait, by logical topic; `end_of` returns the end of a partition, as far as it is known."""
        found: Counter[str] = Counter()
        for tp, partition in self._owned.items():
            found[self.logical(tp.topic)] += partition.behind(end_of(tp))
        return found

    def wake_watching(self) -> None:
        """Let every agent step that looks at the views: they have moved."""
        for tp, partition in self._owned.items():
            if self._bindings[tp.topic].watches:
                partition.wake()

    def applied(self) -> dict[TopicPartition, int]:
        """Return the offset behind the last committed record, by partition: the group offset to commit."""
        return {tp: partition.applied for tp, partition in self._owned.items()}

    def trimmable(self) -> dict[TopicPartition, int]:
        """Return the offset below which records may be deleted, by partition of the internal topics."""
        return {tp: p.applied for tp, p in self._owned.items() if self._bindings[tp.topic].trims}

    async def park(self) -> None:
        """Park every partition; every decided step is committed."""
        async with self._changing:
            self.is_ready = False
            self.epoch += 1
            await asyncio.gather(*(partition.park() for partition in self._owned.values()))

    async def take(self, assigned: Iterable[TopicPartition]) -> None:
        """Own exactly `assigned`: close revoked partitions, open new ones, resume those that stayed."""
        async with self._changing:
            wanted = {TopicPartition(tp.topic, tp.partition) for tp in assigned if tp.topic in self._bindings}
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

    async def _open(self, gained: Sequence[TopicPartition]) -> None:
        if not gained:
            return
        opened = await self._opener.open({tp: self._bindings[tp.topic].table for tp in gained})
        if self._catch_up is not None:
            await self._catch_up()  # behind the fences: nobody else decides about these partitions any more
        for tp in gained:
            self._start(tp, opened[tp])

    def _start(self, tp: TopicPartition, opened: OpenedTable) -> None:
        binding, table = self._bindings[tp.topic], opened.table
        partition = Partition(
            tp.topic,
            tp.partition,
            table,
            binding.make_agent(tp.partition),
            self._now_ms,
            on_commit=binding.on_commit,
            commit_slots=self._commit_slots,
        )
        resumes_at, missed = resume_offset(tp, table.next_offset, opened)
        binding.on_missed(missed)
        partition.open(resumes_at)
        self._owned[tp] = partition
        task = asyncio.create_task(partition.run(), name=f"{tp.topic}[{tp.partition}]")
        task.add_done_callback(self._on_ended)
        self._tasks[tp] = task

    def tasks(self) -> Iterator[tuple[str, asyncio.Future[Any] | None]]:
        """Yield (name for the log, task) of the loops of the owned partitions and of their tables' producers."""
        for tp, partition in self._owned.items():
            yield f"the loop of {tp.topic}[{tp.partition}]", self._tasks[tp]
            yield from partition.table.tasks()

    def _on_ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._die(error)

    async def _close(self, tp: TopicPartition) -> None:
        partition = self._owned.pop(tp)
        task = self._tasks.pop(tp)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await partition.close()


def resume_offset(tp: TopicPartition, known: int, opened: OpenedTable) -> tuple[int, int]:
    """Return (input offset to continue from, number of records deleted before they were read).

    `known` is the table's input position. If the input is not the one whose records were applied, it is read from its
    beginning: the agent recognises touches that were applied before.
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
