"""The thread that fetches records and keeps the group membership alive, in place of faust's."""

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

from pipeline.engine.batch import Batch
from pipeline.engine.fetcher import Fetcher
from pipeline.engine.record_parser import UnreadableRecord
from pipeline.stage_io import Record

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from pipeline.engine.app_protocol import AppProtocol

FETCH_MAX_WAIT_MS = 250
"""Longest time a broker holds an empty fetch, and so the longest delay of the first fetch of a new partition."""
WAIT_S = 0.25
"""Longest time one fetch waits for records, and so the longest delay for a partition whose inbox has room again."""
FETCH_BYTES = 16 * 1024 * 1024
"""Most bytes of one broker's response, over all partitions."""


class Expelled(Exception):
    """The group has given this worker's membership to another process: its tables are stale, and it must restart."""


class InputGone(Exception):
    """The records to read next were deleted."""


class RebalanceListener(driver.ConsumerRebalanceListener):
    """Faust's listener; a static member that was expelled from its group ends its process."""

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """Handle revoked partitions; an expelled static member ends instead."""
        thread = self._thread
        coordinator = thread._ensure_consumer()._coordinator  # noqa: SLF001
        if revoked and coordinator.member_id == "" and thread.app.conf.consumer_group_instance_id:
            cast("AppProtocol", thread.app).die_expelled()
        await super().on_partitions_revoked(revoked)


class ConsumerThread(driver.AIOKafkaConsumerThread):
    """Faust's consumer thread, with aiokafka's consumer set up for the engine."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._handed_out: dict[TopicPartition, int] = {}
        """By partition: the offset behind the last batch handed out."""
        self._epoch = 0
        self._has_run = True
        self._heartbeat_at = time.monotonic()
        """`time.monotonic()` of the last acknowledged heartbeat."""

    async def on_start(self) -> None:
        """Connect, install the engine's fetcher, and record the time of each acknowledged heartbeat."""
        await super().on_start()
        fetcher = self._ensure_consumer()._fetcher  # noqa: SLF001
        fetcher.__class__ = Fetcher  # aiokafka creates its own at the start
        fetcher.begin()
        coordinator = self._ensure_consumer()._coordinator  # noqa: SLF001
        beat = coordinator._do_heartbeat  # noqa: SLF001

        async def timed() -> bool:
            is_member: bool = await beat()
            if is_member:
                self._heartbeat_at = time.monotonic()
            return is_member

        coordinator._do_heartbeat = timed  # noqa: SLF001 - aiokafka keeps the time in a local variable

    def since_heartbeat_s(self) -> float:
        """Return the seconds since the group last acknowledged a heartbeat."""
        return time.monotonic() - self._heartbeat_at

    def tasks(self) -> Iterator[tuple[str, asyncio.Future[Any] | None]]:
        """Yield (name for the log, task) of aiokafka's background tasks."""
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
        """Return the partition count of a subscribed topic; 0 without metadata."""
        return 0 if self._consumer is None else len(self._consumer.partitions_for_topic(topic) or ())

    def end_of(self, tp: TopicPartition) -> int | None:
        """Return the end of an assigned partition, as the latest fetch told it; None: no fetch has."""
        try:
            return None if self._consumer is None else self._consumer.highwater(tp)
        except (AssertionError, AttributeError):  # it is not assigned any more
            return None

    def is_responsive(self) -> bool:
        """Return whether the thread's event loop has run since the last call."""
        if self._consumer is None or self.should_stop:
            return True
        has_run, self._has_run = self._has_run, False
        with suppress(RuntimeError):  # the loop is closed
            self.thread_loop.call_soon_threadsafe(self._mark_run)
        return has_run

    def _mark_run(self) -> None:
        self._has_run = True

    def _create_worker_consumer(self, transport: Any) -> Any:  # noqa: ARG002 - faust's signature
        # Not faust's own consumer: it only connects by broker URL, and ties reading to faust's transactions.
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
            auto_offset_reset="none",  # the tables decide where to read; any other offset is an error
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
        """Request a rebalance."""
        if self._consumer is not None:
            self.thread_loop.call_soon_threadsafe(self._consumer._coordinator.request_rejoin)  # noqa: SLF001

    async def fetch(self, wanted: frozenset[TopicPartition], epoch: int) -> list[Batch]:
        """Return the fetched batches of the `wanted` partitions; with none wanted, only keep the membership alive."""
        batches: list[Batch] = await self.call_thread(self._fetch, wanted, epoch)
        return batches

    async def _fetch(self, wanted: frozenset[TopicPartition], epoch: int) -> list[Batch]:
        consumer = self._ensure_consumer()
        if consumer._closed:  # noqa: SLF001
            raise ConsumerStoppedError
        consumer._coordinator.check_errors()  # noqa: SLF001 - no other call raises the coordinator's error
        fetcher = consumer._fetcher  # noqa: SLF001
        fetcher.wanted = wanted
        with fetcher._subscriptions.fetch_context():  # noqa: SLF001
            if not wanted:
                return []
            try:
                fetched = await fetcher.fetched_records(wanted, timeout=WAIT_S)
            except NoOffsetForPartitionError:
                return []  # before the first seek
            except OffsetOutOfRangeError as error:
                self._out_of_range(error.args[0])
                return []
        assignment = fetcher._subscriptions.subscription.assignment  # noqa: SLF001
        if epoch != self._epoch:
            # A rebalance happened during this fetch: its records are dropped, but it has moved the positions.
            await self._seek_all({tp: self._handed_out[tp] for tp in fetched if tp in self._handed_out}, self._epoch)
            return []
        return [self._batch(tp, rows, assignment, epoch) for tp, rows in fetched.items() if tp in assignment.tps]

    def _out_of_range(self, positions: Mapping[TopicPartition, int]) -> None:
        for tp, offset in positions.items():
            if self._handed_out.get(tp) == offset:  # not of a position left since by a seek
                cast("AppProtocol", self.app).die(
                    InputGone(
                        f"{tp.topic}[{tp.partition}] has no offset {offset} any more: its records were deleted before they were "
                        "read, or the topic was created anew; the restart finds out which"
                    )
                )

    def _batch(self, tp: TopicPartition, rows: list[Any], assignment: Any, epoch: int) -> Batch:
        start, end = self._handed_out.get(tp, 0), assignment.state_value(tp)._position  # noqa: SLF001
        self._handed_out[tp] = end
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
        return Batch(tp.topic, tp.partition, start, end, epoch=epoch, records=records)

    async def seek_all(self, positions: Mapping[TopicPartition, int], epoch: int) -> None:
        """Seek to these offsets; from now on, fetches of an older epoch are dropped."""
        await self.call_thread(self._seek_all, positions, epoch)

    async def _seek_all(self, positions: Mapping[TopicPartition, int], epoch: int) -> None:
        self._epoch = epoch
        consumer = self._ensure_consumer()
        owned = consumer.assignment()
        for tp, offset in positions.items():
            if tp in owned:
                consumer.seek(tp, offset)
                self._handed_out[tp] = offset

    async def _commit(self, offsets: Mapping[TP, int]) -> bool:
        # Only for lag and deletion: offsets are read from the tables, so a failed group commit costs nothing.
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
