"""Faust's consumer for the engine: read committed, a whole fetch as one batch, offsets from the fenced tables."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from faust.types.tuples import ConsumerMessage

from pipeline.engine.consumer_thread import ConsumerThread, RebalanceListener

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from pipeline.engine.app_protocol import AppProtocol
    from pipeline.engine.batch import Batch
    from pipeline.engine.ownership import Ownership

IDLE_S = 0.02
"""Sleep while every inbox is full."""


class Consumer(driver.Consumer):
    """Faust's consumer, with offsets from the fenced tables."""

    RebalanceListener = RebalanceListener
    _thread: ConsumerThread

    @property
    def _ownership(self) -> Ownership:
        return cast("AppProtocol", self.app).ownership

    def _new_consumer_thread(self) -> ConsumerThread:
        return ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    def tasks(self) -> Iterator[tuple[str, asyncio.Future[Any] | None]]:
        """Yield (name for the log, task) of aiokafka's background tasks."""
        return self._thread.tasks()

    def since_heartbeat_s(self) -> float:
        """Return the seconds since the group last acknowledged a heartbeat."""
        return self._thread.since_heartbeat_s()

    def partitions_of(self, topic: str) -> int:
        """Return the partition count of a subscribed topic; 0 without metadata."""
        return self._thread.partitions_of(topic)

    def end_of(self, tp: TP) -> int | None:
        """Return the end of an assigned partition, as the latest fetch told it; None: no fetch has."""
        return self._thread.end_of(tp)

    def rejoin(self) -> None:
        """Request a rebalance."""
        self._thread.rejoin()

    def is_thread_responsive(self) -> bool:
        """Return whether the consumer's thread has run since the last call."""
        return self._thread.is_responsive()

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, ConsumerMessage]]:  # noqa: ARG002,ASYNC109 - faust's signature
        """Yield one message per topic fetched; its value is the list of its Batches, its offset the first one's last.

        Faust's way from here to an agent costs the same for one batch as for all.
        """
        cast("AppProtocol", self.app).fetches += 1
        if not self.flow_active:
            await self.wait(self.can_resume_flow)  # type: ignore[arg-type]
        ownership = self._ownership
        epoch = ownership.epoch
        wanted = ownership.fetchable()
        if not wanted:
            await asyncio.sleep(IDLE_S)
        by_topic: dict[str, list[Batch]] = {}
        for batch in await self._thread.fetch(wanted, epoch):
            by_topic.setdefault(batch.topic, []).append(batch)
        for batches in by_topic.values():
            if self.flow_active and not self.should_stop and epoch == ownership.epoch:
                tp = TP(batches[0].topic, batches[0].partition)
                yield tp, self._message(tp, batches)

    def _message(self, tp: TP, batches: list[Batch]) -> ConsumerMessage:
        return ConsumerMessage(
            tp.topic,
            tp.partition,
            batches[0].end - 1,
            0.0,
            0,
            None,
            None,
            cast("bytes", batches),
            None,
            tp=tp,
            generation_id=self.app.consumer_generation_id,
        )

    async def perform_seek(self) -> None:
        """Seek to the tables' positions, not to the group's committed offsets."""
        positions = self._ownership.expected()
        await self._thread.seek_all(positions, self._ownership.epoch)
        for tp, offset in positions.items():
            self._read_offset[TP(*tp)] = offset or None

    def ack(self, message: Any) -> bool:
        """Forget a delivered message: the tables record what is applied, not acks."""
        message.acked = True
        self._unacked_messages.discard(message)
        return True

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        """Do nothing: control markers are no gaps, and the inbox detects real ones."""

    async def wait_empty(self) -> None:
        """Park the owned partitions; each agent limits how long its drain takes."""
        await self._ownership.park()
        await self.commit()

    async def force_commit(self, topics: Any = None, start_new_transaction: bool = True) -> bool:  # noqa: ARG002 - faust's signature
        """Commit the tables' positions to the group, so that its lag is visible; return whether anything was committed."""
        advanced = {
            TP(*tp): offset
            for tp, offset in self._ownership.applied().items()
            if offset and self._committed_offset[TP(*tp)] != offset
        }
        if not advanced or not await self._thread.commit(advanced):
            return False
        self._committed_offset.update(advanced)
        return True

    async def verify_all_partitions_active(self) -> None:
        """Do nothing: faust's livelock detector relies on acks; the worker's watchdog checks the partitions."""


class Transport(driver.Transport):
    """Faust's transport with the engine's consumer."""

    Consumer = Consumer
