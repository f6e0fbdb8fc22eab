"""The loop of one owned partition: take records, let the agent decide, commit; until the partition is revoked."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from pipeline.engine.agent import NotReady
from pipeline.engine.commit_slots import CommitSlots
from pipeline.engine.inbox import Inbox
from pipeline.engine.lifecycle import PARTITION, PartitionState
from pipeline.state_machine import check_transition

if TYPE_CHECKING:
    from collections.abc import Callable

    from pipeline.engine.agent import Agent, StepResult, TransactionalTable
    from pipeline.engine.batch import Batch
    from pipeline.stage_io import Record

log = logging.getLogger(__name__)

STEP_RECORDS = 500
"""Most records per transaction: beyond this a commit gains nothing (measured) and takes longer to redo."""
SLOW_STEP_S = 0.2
"""After a step that took longer, the next one takes half as many records: a step blocks the event loop."""
FAST_STEP_S = 0.05
"""After a step that took less, the next one may take twice as many records."""
LARGE_STEP = 100
"""A step with at least this many records, changes and outputs must wait for a commit slot before the next one."""

RETRY_STEP_MS = 1_000
"""After NotReady, the next step follows after this time, unless the agent wakes the loop."""
KEEPALIVE_S = 86_400.0
"""An idle partition commits once a day: Kafka forgets a transactional id after seven days without a commit."""
IDLE_S = 3_600.0
"""An idle partition steps at least this often."""


class Partition:
    """Runs one agent over one partition, one transaction at a time."""

    def __init__(
        self,
        topic: str,
        number: int,
        table: TransactionalTable,
        agent: Agent[Any],
        now_ms: Callable[[], int],
        *,
        on_commit: Callable[[float], None] = lambda _: None,
        commit_slots: CommitSlots | None = None,
    ) -> None:
        self.topic = topic
        self.number = number
        self.table = table
        self.agent = agent
        self._now_ms = now_ms
        self._on_commit = on_commit
        self._commit_slots = commit_slots or CommitSlots()
        self._inbox = Inbox()
        self._last_size = 0
        """Records, changes and outputs of the last step."""
        self._max_records = STEP_RECORDS
        """Most records of the next step."""
        self.applied = 0
        """The input offset behind the last committed record."""
        self._wake = asyncio.Event()
        self._wake_ms: int | None = 0
        self._retry_at_ms = 0
        """After NotReady: no step before this, unless the agent wakes the loop."""
        self._rested_at = 0.0
        """Time of the event loop before which arriving records cause no step, unless the inbox is full."""
        self._is_asked = False
        """Somebody asked for a step: there is no rest before it."""
        self._parked = asyncio.Event()
        self._state = PartitionState.OPENING
        self.committing_since: float | None = None
        """`time.monotonic()` at which the commit under way began."""
        self._committed_at = time.monotonic()

    def open(self, next_offset: int) -> None:
        """Start with everything below `next_offset` applied."""
        self._inbox.reset(next_offset)
        self.applied = next_offset
        self._move_to(PartitionState.RUNNING)
        self.agent.open(self.table, self._now_ms(), self.wake)

    @property
    def has_room(self) -> bool:
        """Whether more records may be fetched."""
        return self._is_running and self._inbox.has_room

    @property
    def expected(self) -> int:
        """The input offset to read next; everything below is applied or waits in the inbox."""
        return self._inbox.expected

    def behind(self, end: int | None) -> int:
        """Return how many records are not taken into a step yet, if the topic ends at `end` (markers count, too)."""
        return len(self._inbox) + max((end or 0) - self.expected, 0)

    def deliver(self, batch: Batch) -> None:
        """Put a fetched batch into the inbox; a parked partition drops it. Raises OffsetGap."""
        if self._is_running and self._inbox.add(batch):
            self._wake.set()

    def wake(self) -> None:
        """Let the next step follow at once."""
        self._is_asked = True
        self._wake.set()

    async def run(self) -> None:
        """Step and commit until cancelled. Every other exception that escapes must end the process."""
        while True:
            await self._wait()
            await self._rest()
            if not self._is_running:
                self._parked.set()
                await self._wake.wait()
                continue
            await self._cycle()

    async def _wait(self) -> None:
        retry_in_ms = min(self._retry_at_ms - self._now_ms(), RETRY_STEP_MS)  # the clock may have been set back
        if self._inbox and self._is_running and retry_in_ms <= 0:
            return
        if self._inbox and retry_in_ms > 0:
            await asyncio.sleep(retry_in_ms / 1000)
            return
        delay = IDLE_S if self._wake_ms is None else min(IDLE_S, (self._wake_ms - self._now_ms()) / 1000)
        if not self._wake.is_set() and delay > 0:
            with suppress(TimeoutError):
                async with asyncio.timeout(delay):
                    await self._wake.wait()
        self._wake.clear()

    async def _rest(self) -> None:
        """Let arrivals wait for each other, as long as the last step said, if nothing else asks for a step."""
        until, loop = self._rested_at, asyncio.get_running_loop()
        if self._wake_ms is not None:
            until = min(until, loop.time() + (self._wake_ms - self._now_ms()) / 1000)
        while self._is_running and self._inbox.has_room and not self._is_asked:
            left_s = until - loop.time()
            if left_s <= 0:
                break
            with suppress(TimeoutError):
                async with asyncio.timeout(left_s):
                    await self._wake.wait()
            self._wake.clear()

    async def _cycle(self) -> None:
        if max(len(self._inbox), self._last_size) < LARGE_STEP:
            await self._advance()
            return
        async with self._commit_slots.slot():
            await self._advance()

    async def _advance(self) -> None:
        self._is_asked = False
        records = self._inbox.take(self._max_records)
        began, rests_from = time.monotonic(), asyncio.get_running_loop().time()
        try:
            step = self.agent.step(records, self.table, self._now_ms())
        except NotReady:
            self._inbox.put_back(records)
            self._retry_at_ms = self._now_ms() + RETRY_STEP_MS
            self._last_size = 0
            return
        self._adapt_size(len(records), time.monotonic() - began)
        self._rested_at = rests_from + step.rest_ms / 1000
        self._last_size = len(records) + len(step.changes) + len(step.outputs)
        next_offset = self._note(records)
        self._retry_at_ms = 0
        await self._commit(step, next_offset)
        self.applied = next_offset or self.applied
        self._wake_ms = step.wake_ms
        self.agent.committed(step)

    def _note(self, records: list[Record]) -> int | None:
        """Return the input position to commit with the step that applied `records`; None without records."""
        if not records:
            return None
        self.table.note(records[-1])
        return self._inbox.position_after(records[-1].offset)

    def _adapt_size(self, count: int, took_s: float) -> None:
        """Halve the next step's records after a slow step, double them after a fast one."""
        if not count:
            return
        if took_s > SLOW_STEP_S:
            self._max_records = max(1, min(count, self._max_records) // 2)
        elif took_s < FAST_STEP_S:
            self._max_records = min(STEP_RECORDS, self._max_records * 2)

    async def _commit(self, step: StepResult, next_offset: int | None) -> None:
        now = time.monotonic()
        if not step.changes and not step.outputs and next_offset is None:
            if now - self._committed_at < KEEPALIVE_S:
                return
            next_offset = self.applied
        self.committing_since = now
        await self.table.commit(step.changes, step.outputs, next_offset)
        self.committing_since, self._committed_at = None, now
        self._on_commit(time.monotonic() - now)

    async def park(self) -> None:
        """Finish and commit the step under way, drain the agent, and stop: another worker may take the partition now.

        Records not applied are dropped: the next owner of the partition reads them again.
        """
        if not self._is_running:
            return
        # The loop first: a commit under way may start calls, which the drain must see.
        self._parked.clear()
        self._move_to(PartitionState.PARKING)
        self._wake.set()
        await self._parked.wait()
        self._inbox.reset(self._inbox.expected)
        await self.agent.drain()
        await self._cycle()  # results of calls that ended during the drain
        self._inbox.reset(self.applied)
        self._move_to(PartitionState.PARKED)

    def resume(self) -> None:
        """Continue after `park`: the partition stays with this worker."""
        if not self._is_running:
            self._move_to(PartitionState.RUNNING)
        self.agent.resume()
        self.wake()

    async def close(self) -> None:
        """Close the agent and the table: the partition is given up. Its loop must have ended."""
        self._move_to(PartitionState.CLOSED)
        await self.agent.close()
        await self.table.close()

    @property
    def _is_running(self) -> bool:
        return self._state is PartitionState.RUNNING

    def _move_to(self, after: PartitionState) -> None:
        """Change the state. Raises IllegalTransition."""
        check_transition(PARTITION, self._state, after)
        self._state = after
