"""One owned partition at work: records in, a stage's step, one commit, and so on until it is revoked."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from pipeline.engine.turns import Turns
from pipeline.stage_io import Table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from pipeline.engine.batch import Batch
    from pipeline.stage_io import Changes, Output, Record

log = logging.getLogger(__name__)

STEP_RECORDS = 500
"""Records per transaction at most: beyond it a commit gains nothing (measured) and takes longer to redo."""
STEP_BYTES = 4 * 1024 * 1024
"""Bytes of records per transaction at most, the last of them not counted."""
ROOM_RECORDS = 500
ROOM_BYTES = 8 * 1024 * 1024
"""A partition with more than that waiting is not fetched: back-pressure, and the bound on memory."""
LONG_S = 0.2
"""A step that took longer is followed by one of half its records: while it computes, nothing else does."""
SHORT_S = 0.05
"""A step that took less may be followed by one of twice its records."""
MUCH = 100
"""Records, changes and outputs of a step from which on the next one waits for its turn."""

KEEPALIVE_S = 86_400.0
"""An idle partition commits once a day: Kafka forgets a transactional id after seven days of silence."""
IDLE_S = 3_600.0
"""An idle partition looks up at least so often."""


class Step(Protocol):
    """What a stage decided: to be committed as one."""

    @property
    def changes(self) -> Changes:
        """State changes."""

    @property
    def outputs(self) -> Sequence[Output]:
        """Records to produce."""

    @property
    def wake_ms(self) -> int | None:
        """Step again at this instant (epoch milliseconds) at the latest; None: when something arrives."""


class CommittedTable(Table, Protocol):
    """The committed state of an owned partition, and the only way to change it."""

    @property
    def next_offset(self) -> int:
        """The next input offset to apply; 0 before the first commit."""

    def note(self, last: Record) -> None:
        """Learn the last of the input records that the next commit applies."""

    async def commit(self, changes: Changes, outputs: Sequence[Output], next_offset: int | None) -> None:
        """Commit all of it, or nothing. Raises when that is unknown or refused: the process must end."""

    def tasks(self) -> Iterable[tuple[str, asyncio.Future[Any] | None]]:
        """Yield the background tasks it cannot do without, each with a name for people."""

    async def close(self) -> None:
        """Let go of it."""


StepT = TypeVar("StepT", bound=Step)


class Stage(Protocol[StepT]):
    """The work on one owned partition. `step` decides, the engine commits, `committed` may then act."""

    def open(self, table: Table, now_ms: int, wake: Callable[[], None]) -> None:
        """Take the partition over; `wake` asks for a step soon."""

    def step(self, records: Sequence[Record], table: Table, now_ms: int) -> StepT:
        """Decide what follows from `records` (maybe none) and the committed table."""

    def committed(self, step: StepT) -> None:
        """Learn that `step` is committed: calls may start now."""

    async def drain(self) -> None:
        """Start nothing new, and return when what is under way has come home (its results wait for a last step)."""

    def resume(self) -> None:
        """Go on after a drain: the partition stays here."""

    async def close(self) -> None:
        """Let go."""


class NotYet(Exception):
    """A stage cannot decide about its records now; they are given to it again when it asks to be woken, or in a second."""


NOT_YET_MS = 1_000


class Hole(Exception):
    """Records between two batches were never delivered; going on would lose them."""


class Partition:
    """Runs one stage over one partition, one transaction at a time."""

    def __init__(
        self,
        topic: str,
        number: int,
        table: CommittedTable,
        stage: Stage[Any],
        now_ms: Callable[[], int],
        *,
        observe: Callable[[float], None] = lambda _: None,
        turns: Turns | None = None,
    ) -> None:
        self.topic = topic
        self.number = number
        self.table = table
        self.stage = stage
        self._now_ms = now_ms
        self._observe = observe
        self._turns = turns or Turns()
        self._much = 0
        """How much the last step was."""
        self._inbox: deque[Record] = deque()
        self._inbox_bytes = 0
        self._most = STEP_RECORDS
        """Records of the next step at most."""
        self._ends: deque[tuple[int, int]] = deque()
        """(offset of a batch's last record, end of its range): the position to commit once that record is applied."""
        self._expected = 0
        self.applied = 0
        """The input offset behind the last committed record."""
        self._wake = asyncio.Event()
        self._wake_ms: int | None = 0
        self._not_before_ms = 0
        """The stage asked for a rest: no step before this, unless it wakes us."""
        self._parked = asyncio.Event()
        self._running = False
        self.committing_since: float | None = None
        """`time.monotonic()` at which the commit under way began."""
        self._committed_at = time.monotonic()

    def open(self, next_offset: int) -> None:
        """Take over with everything below `next_offset` applied."""
        self._expected = self.applied = next_offset
        self._running = True
        self.stage.open(self.table, self._now_ms(), self._wake.set)

    @property
    def has_room(self) -> bool:
        """Whether more records may be fetched."""
        return self._running and len(self._inbox) < ROOM_RECORDS and self._inbox_bytes < ROOM_BYTES

    @property
    def expected(self) -> int:
        """The input offset to read next: applied, or waiting here."""
        return self._expected

    def deliver(self, batch: Batch) -> None:
        """Accept what was fetched. Raises Hole when something before it never came."""
        if not self._running or batch.end <= self._expected:
            return
        if batch.start > self._expected:
            raise Hole(f"{self.topic}[{self.number}]: expected offset {self._expected}, got {batch.start}")
        fresh = [r for r in batch.records if r.offset >= self._expected]
        self._expected = batch.end
        if fresh:
            self._inbox.extend(fresh)
            self._inbox_bytes += sum(map(_size, fresh))
            self._ends.append((fresh[-1].offset, batch.end))
            self._wake.set()

    async def run(self) -> None:
        """Step and commit until cancelled; any escape means the process must end."""
        while True:
            await self._wait()
            if not self._running:
                self._parked.set()
                await self._wake.wait()
                continue
            await self._cycle()

    async def _wait(self) -> None:
        resting_ms = min(self._not_before_ms - self._now_ms(), NOT_YET_MS)  # the clock may have been set back
        if self._inbox and self._running and resting_ms <= 0:
            return
        if self._inbox and resting_ms > 0:
            await asyncio.sleep(resting_ms / 1000)
            return
        delay = IDLE_S if self._wake_ms is None else min(IDLE_S, (self._wake_ms - self._now_ms()) / 1000)
        if not self._wake.is_set() and delay > 0:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), delay)
        self._wake.clear()

    async def _cycle(self) -> None:
        if max(len(self._inbox), self._much) < MUCH:
            await self._advance()
            return
        async with self._turns.turn():
            await self._advance()

    async def _advance(self) -> None:
        records = self._next_records()
        began = time.monotonic()
        try:
            step = self.stage.step(records, self.table, self._now_ms())
        except NotYet:
            self._put_back(records)
            self._not_before_ms = self._now_ms() + NOT_YET_MS
            self._much = 0
            return
        self._pace(len(records), time.monotonic() - began)
        self._much = len(records) + len(step.changes) + len(step.outputs)
        next_offset = self._applied_up_to(records[-1].offset) if records else None
        if records:
            self.table.note(records[-1])
        self._not_before_ms = 0
        await self._commit(step, next_offset)
        self.applied = next_offset or self.applied
        self._wake_ms = step.wake_ms
        self.stage.committed(step)

    def _next_records(self) -> list[Record]:
        """Take what one step takes up: bounded in number and bytes."""
        records: list[Record] = []
        room = STEP_BYTES
        while self._inbox and len(records) < self._most and room > 0:
            record = self._inbox.popleft()
            records.append(record)
            room -= _size(record)
        self._inbox_bytes -= STEP_BYTES - room
        return records

    def _put_back(self, records: list[Record]) -> None:
        self._inbox.extendleft(reversed(records))
        self._inbox_bytes += sum(map(_size, records))

    def _pace(self, count: int, took_s: float) -> None:
        """Take fewer records up when they take long, whatever makes them slow; more again when they do not."""
        if not count:
            return
        if took_s > LONG_S:
            self._most = max(1, min(count, self._most) // 2)
        elif took_s < SHORT_S:
            self._most = min(STEP_RECORDS, self._most * 2)

    async def _commit(self, step: Step, next_offset: int | None) -> None:
        now = time.monotonic()
        if not step.changes and not step.outputs and next_offset is None:
            if now - self._committed_at < KEEPALIVE_S:
                return
            next_offset = self.applied
        self.committing_since = now
        await self.table.commit(step.changes, step.outputs, next_offset)
        self.committing_since, self._committed_at = None, now
        self._observe(time.monotonic() - now)

    def _applied_up_to(self, last: int) -> int:
        position = last + 1
        while self._ends and self._ends[0][0] <= last:
            position = self._ends.popleft()[1]
        return position

    async def park(self) -> None:
        """Finish what is under way, commit it, and stand still: the partition may go to somebody else now.

        Records not applied are dropped: whoever owns the partition next reads them again.
        """
        if not self._running:
            return
        # The loop first: a commit under way may start calls, which the drain must see.
        self._parked.clear()
        self._running = False
        self._wake.set()
        await self._parked.wait()
        self._inbox.clear()
        self._inbox_bytes = 0
        self._ends.clear()
        await self.stage.drain()
        await self._cycle()  # what came home during the drain
        self._expected = self.applied

    def resume(self) -> None:
        """Go on after `park`: the partition stayed here."""
        self._running = True
        self.stage.resume()
        self._wake.set()


def _size(record: Record) -> int:
    return len(record.value or b"") + len(record.key or b"")
