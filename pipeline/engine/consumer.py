"""Faust's consumer without its losses: read committed, whole fetches as batches, offsets from the fenced tables."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import ConsumerStoppedError, NoOffsetForPartitionError, OffsetOutOfRangeError
from aiokafka.structs import OffsetAndMetadata
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from faust.types.tuples import ConsumerMessage

from pipeline.engine.batch import Batch
from pipeline.engine.batch_decoder import Fetcher
from pipeline.engine.record_parser import UnreadableRecord
from pipeline.stage_io import Record

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator, Mapping

    from pipeline.engine.app_protocol import AppProtocol
    from pipeline.engine.ownership import Ownership

FETCH_MAX_WAIT_MS = 250
"""How long the broker may hold an empty fetch: a partition that moves in is first fetched after at most that."""
WAIT_S = 0.25
"""How long one fetch waits for records: a partition that was full and has room again waits at most that."""
FETCH_BYTES = 16 * 1024 * 1024
"""One answer of a broker at most, over all partitions."""
IDLE_S = 0.02
"""Pause while every partition is full."""


class Expelled(Exception):
    """The coordinator gave this worker's place in the group away: its state is stale, it must start anew."""


class InputGone(Exception):
    """The records to read next are not there any more."""


class RebalanceListener(driver.ConsumerRebalanceListener):
    """Faust's listener; a static member that lost its place ends."""

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """Call when partitions are being revoked."""
        thread = self._thread
        coordinator = thread._ensure_consumer()._coordinator  # noqa: SLF001
        if revoked and coordinator.member_id == "" and thread.app.conf.consumer_group_instance_id:
            cast("AppProtocol", thread.app).expelled()
        await super().on_partitions_revoked(revoked)


class ConsumerThread(driver.AIOKafkaConsumerThread):
    """The thread that fetches and keeps the group membership alive."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._covered: dict[TopicPartition, int] = {}
        """Up to where of each partition batches were handed out."""
        self._epoch = 0
        self._has_answered = True
        self._heard_at = time.monotonic()
        """When the group last acknowledged a heartbeat."""

    async def on_start(self) -> None:
        """Connect, read what aiokafka cannot, and note each heartbeat that is acknowledged."""
        await super().on_start()
        self._ensure_consumer()._fetcher.__class__ = Fetcher  # noqa: SLF001 - aiokafka makes its own, at the start
        coordinator = self._ensure_consumer()._coordinator  # noqa: SLF001
        beat = coordinator._do_heartbeat  # noqa: SLF001

        async def noted() -> bool:
            is_known: bool = await beat()
            if is_known:
                self._heard_at = time.monotonic()
            return is_known

        coordinator._do_heartbeat = noted  # noqa: SLF001 - aiokafka keeps that instant in a local variable

    def silent_s(self) -> float:
        """Return how long ago the group last acknowledged a heartbeat, in seconds."""
        return time.monotonic() - self._heard_at

    def tasks(self) -> Iterator[tuple[str, asyncio.Future[Any] | None]]:
        """Yield aiokafka's background tasks, each with a name for people."""
        consumer = self._consumer
        if consumer is None or self.should_stop or consumer._coordinator is None or consumer._fetcher is None:  # noqa: SLF001
            return
        coordinator = consumer._coordinator  # noqa: SLF001
        yield "the coordination with the group", coordinator._coordination_task  # noqa: SLF001
        yield "the heartbeat", coordinator._heartbeat_task  # noqa: SLF001
        yield "the refresh of group offsets", coordinator._commit_refresh_task  # noqa: SLF001
        yield "the fetcher", consumer._fetcher._fetch_task  # noqa: SLF001
        yield "the consumer's metadata refresh", consumer._client._sync_task  # noqa: SLF001

    def partitions_of(self, topic: str) -> int:
        """Return how many partitions a subscribed topic has; 0 before that is known."""
        return 0 if self._consumer is None else len(self._consumer.partitions_for_topic(topic) or ())

    def answers(self) -> bool:
        """Return whether the thread's loop has turned since this was last asked."""
        if self._consumer is None or self.should_stop:
            return True
        answered, self._has_answered = self._has_answered, False
        with suppress(RuntimeError):  # the loop is closed
            self.thread_loop.call_soon_threadsafe(self._answer)
        return answered

    def _answer(self) -> None:
        self._has_answered = True

    def _create_worker_consumer(self, transport: Any) -> Any:  # noqa: ARG002 - faust's signature
        # Not faust's own: it knows no connection but its broker URL, and ties what it reads to its own transactions.
        conf = self.app.conf
        self._assignor = self.app.assignor
        return AIOKafkaConsumer(
            **cast("AppProtocol", self.app).engine_config.connection,
            client_id=conf.broker_client_id,
            group_id=conf.id,
            group_instance_id=conf.consumer_group_instance_id,
            partition_assignment_strategy=[self._assignor],
            enable_auto_commit=False,
            isolation_level="read_committed",
            auto_offset_reset="none",  # where to read from is the tables' word; another place is never gone to in silence
            max_poll_records=conf.broker_max_poll_records,
            max_poll_interval_ms=int(conf.broker_max_poll_interval * 1000),
            max_partition_fetch_bytes=conf.consumer_max_fetch_size,
            fetch_max_wait_ms=FETCH_MAX_WAIT_MS,
            fetch_max_bytes=FETCH_BYTES,
            request_timeout_ms=int(conf.broker_request_timeout * 1000),
            session_timeout_ms=int(conf.broker_session_timeout * 1000),
            rebalance_timeout_ms=int(conf.broker_rebalance_timeout * 1000),
            heartbeat_interval_ms=int(conf.broker_heartbeat_interval * 1000),
            metadata_max_age_ms=conf.consumer_metadata_max_age_ms,
            connections_max_idle_ms=conf.consumer_connections_max_idle_ms,
        )

    def rejoin(self) -> None:
        """Ask the group to hand out its partitions anew."""
        if self._consumer is not None:
            self.thread_loop.call_soon_threadsafe(self._consumer._coordinator.request_rejoin)  # noqa: SLF001

    async def fetch(self, wanted: frozenset[TopicPartition], epoch: int) -> list[Batch]:
        """Return what was fetched of the `wanted` partitions (none: only show the coordinator that we live)."""
        batches: list[Batch] = await self.call_thread(self._fetch, wanted, epoch)
        return batches

    async def _fetch(self, wanted: frozenset[TopicPartition], epoch: int) -> list[Batch]:
        consumer = self._ensure_consumer()
        if consumer._closed:  # noqa: SLF001
            raise ConsumerStoppedError
        consumer._coordinator.check_errors()  # noqa: SLF001 - nobody else asks whether it gave up
        fetcher = consumer._fetcher  # noqa: SLF001
        with fetcher._subscriptions.fetch_context():  # noqa: SLF001
            if not wanted:
                return []
            try:
                fetched = await fetcher.fetched_records(wanted, timeout=WAIT_S)
            except NoOffsetForPartitionError:
                return []  # asked before the first seek
            except OffsetOutOfRangeError as error:
                self._out_of_range(error.args[0])
                return []
        assignment = fetcher._subscriptions.subscription.assignment  # noqa: SLF001
        if epoch != self._epoch:
            # A rebalance overtook this fetch: nobody wants its records, but it moved the positions on.
            await self._seek_all({tp: self._covered[tp] for tp in fetched if tp in self._covered}, self._epoch)
            return []
        return [self._batch(tp, rows, assignment, epoch) for tp, rows in fetched.items() if tp in assignment.tps]

    def _out_of_range(self, positions: Mapping[TopicPartition, int]) -> None:
        for tp, offset in positions.items():
            if self._covered.get(tp) == offset:  # not of a position that was left since
                cast("AppProtocol", self.app).die(
                    InputGone(
                        f"{tp.topic}[{tp.partition}] has no offset {offset} any more: its records were deleted before they were "
                        "read, or the topic was created anew; the restart looks which"
                    )
                )

    def _batch(self, tp: TopicPartition, rows: list[Any], assignment: Any, epoch: int) -> Batch:
        start, end = self._covered.get(tp, 0), assignment.state_value(tp)._position  # noqa: SLF001
        self._covered[tp] = end
        topic = cast("AppProtocol", self.app).ownership.logical(tp.topic)
        records = [
            Record(
                topic,
                tp.partition,
                r.offset,
                r.timestamp or 0,
                r.key,
                r.value,
                r.headers,
                r.flaw if type(r) is UnreadableRecord else None,
            )
            for r in rows
        ]
        return Batch(tp.topic, tp.partition, start, end, epoch, records)

    async def seek_all(self, positions: Mapping[TopicPartition, int], epoch: int) -> None:
        """Go to these offsets; from now on fetches of an older epoch are void."""
        await self.call_thread(self._seek_all, positions, epoch)

    async def _seek_all(self, positions: Mapping[TopicPartition, int], epoch: int) -> None:
        self._epoch = epoch
        consumer = self._ensure_consumer()
        owned = consumer.assignment()
        for tp, offset in positions.items():
            if tp in owned:
                consumer.seek(tp, offset)
                self._covered[tp] = offset

    async def _commit(self, offsets: Mapping[TP, int]) -> bool:
        # Only a figure for lag and trimming: the truth is in the tables, so a failed commit costs nothing.
        consumer = self._ensure_consumer()
        owned = consumer.assignment()
        try:
            await consumer.commit(
                {TopicPartition(*tp): OffsetAndMetadata(o, "") for tp, o in offsets.items() if tp in owned}
            )
        except Exception as error:  # noqa: BLE001
            self.log.debug("group commit failed: %r", error)
            return False
        return True


class Consumer(driver.Consumer):
    """Faust's consumer over the fenced tables."""

    RebalanceListener = RebalanceListener
    _thread: ConsumerThread

    @property
    def _ownership(self) -> Ownership:
        return cast("AppProtocol", self.app).ownership

    def _new_consumer_thread(self) -> ConsumerThread:
        return ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    def tasks(self) -> Iterator[tuple[str, asyncio.Future[Any] | None]]:
        """Yield aiokafka's background tasks, each with a name for people."""
        return self._thread.tasks()

    def silent_s(self) -> float:
        """Return how long ago the group last acknowledged a heartbeat, in seconds."""
        return self._thread.silent_s()

    def partitions_of(self, topic: str) -> int:
        """Return how many partitions a subscribed topic has; 0 before that is known."""
        return self._thread.partitions_of(topic)

    def rejoin(self) -> None:
        """Ask the group to hand out its partitions anew."""
        self._thread.rejoin()

    def thread_answers(self) -> bool:
        """Return whether the consumer's thread has done something since this was last asked."""
        return self._thread.answers()

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, ConsumerMessage]]:  # noqa: ARG002,ASYNC109 - faust's signature
        """Yield one message per partition fetched; its value is the Batch, its offset the last one covered."""
        cast("AppProtocol", self.app).fetches += 1
        if not self.flow_active:
            await self.wait(self.can_resume_flow)  # type: ignore[arg-type]
        ownership = self._ownership
        epoch = ownership.epoch
        wanted = ownership.fetchable()
        if not wanted:
            await asyncio.sleep(IDLE_S)
        for batch in await self._thread.fetch(wanted, epoch):
            if self.flow_active and not self.should_stop and epoch == ownership.epoch:
                tp = TP(batch.topic, batch.partition)
                yield tp, self._message(tp, batch)

    def _message(self, tp: TP, batch: Batch) -> ConsumerMessage:
        return ConsumerMessage(
            batch.topic,
            batch.partition,
            batch.end - 1,
            0.0,
            0,
            None,
            None,
            cast("bytes", batch),
            None,
            tp=tp,
            generation_id=self.app.consumer_generation_id,
        )

    async def perform_seek(self) -> None:
        """Go where the tables say, not where the group last committed."""
        positions = self._ownership.expected()
        await self._thread.seek_all(positions, self._ownership.epoch)
        for tp, offset in positions.items():
            self._read_offset[TP(*tp)] = offset or None

    def ack(self, message: Any) -> bool:
        """Forget a delivered message; what is applied is in the table, not in acks."""
        message.acked = True
        self._unacked_messages.discard(message)
        return True

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        """Gaps are markers here; holes are seen by the partition itself."""

    async def wait_empty(self) -> None:
        """Bring the owned partitions to a standstill, within the time the stage sets itself."""
        await self._ownership.park()
        await self.commit()

    async def force_commit(self, topics: Any = None, start_new_transaction: bool = True) -> bool:  # noqa: ARG002 - faust's signature
        """Tell the group how far the tables are: lag becomes visible, consumed records may be trimmed."""
        news = {
            TP(*tp): offset
            for tp, offset in self._ownership.applied().items()
            if offset and self._committed_offset[TP(*tp)] != offset
        }
        if not news or not await self._thread.commit(news):
            return False
        self._committed_offset.update(news)
        return True

    async def verify_all_partitions_active(self) -> None:
        """Faust's livelock detector guesses from its own acks; the worker's watchdog looks at the tables."""


class Transport(driver.Transport):
    """Faust's transport with our consumer."""

    Consumer = Consumer
