"""The transactional producer of one partition: all records of a step are committed, or none.

aiokafka's producer serves many senders at once; here there is one, and it waits. So a transaction is two round trips (three
with a broker before Kafka 4): no queue, no sender task, no timer.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from aiokafka import TopicPartition
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError, UnknownTopicOrPartitionError, for_code
from aiokafka.record.default_records import DefaultRecordBatchBuilder

from pipeline.engine import transaction_requests as requests
from pipeline.engine.coordinator import CONCURRENT, PASSING, RETRY_S, Coordinator, is_passing
from pipeline.engine.stop_client import stop_client

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from pipeline.stage_io import Headers

log = logging.getLogger(__name__)

TRANSACTION_TIMEOUT_S = 60.0
REQUEST_TIMEOUT_S = 10.0
BATCH_BYTES = 900_000
MOST_MARKER_WAIT_S = 0.02
NO_COMPRESSION = 0

NO_ERROR, UNKNOWN_TOPIC, NOT_ATTEMPTED = 0, 3, 55
FENCED = frozenset({47, 90})
"""Another producer of this transactional id has been opened, or the broker has aborted the transaction."""
NAMES = {90: "ProducerFenced", 120: "TransactionAbortable"}
"""Errors that aiokafka does not know."""

OutboundRecord = tuple[str, int, "bytes | None", "bytes | None", "Headers"]
"""One record to write: topic, partition, key, value, headers."""
_Row = tuple["bytes | None", "bytes | None", "Headers"]
_Batch = tuple[bytes, int]
"""An encoded batch, and the number of its records."""


class CommitFailed(Exception):
    """A transaction was refused, or its outcome is unknown: the table cannot be used any more, and the process must end."""


class Fenced(CommitFailed):
    """Another process has opened this table since, or the broker aborted the transaction: nothing of it is committed."""


class RecordRefused(CommitFailed):
    """The broker refused a record in the transaction; nothing of it is committed."""


class FencedProducer:
    """The transactional producer of one partition; opening it fences the previous owner."""

    def __init__(self, transactional_id: str, connection: Mapping[str, Any]) -> None:
        self.transactional_id = transactional_id
        self._client = AIOKafkaClient(
            **{"client_id": transactional_id, **connection}, request_timeout_ms=int(REQUEST_TIMEOUT_S * 1000)
        )
        self._coordinator = Coordinator(transactional_id, self._client)
        self._own = requests.Identity(-1, -1)
        self._sequences: dict[TopicPartition, int] = {}
        """Number of the next record of each partition; a retry repeats it, so that the broker knows it."""
        self._is_v2 = False
        """Whether producing adds a partition to the transaction (Kafka 4, KIP-890)."""

    async def open(self) -> None:
        """Connect and fence the previous owner: its open transaction is aborted, its later ones are refused."""
        await self._client.bootstrap()
        request = requests.init_producer(self.transactional_id, int(TRANSACTION_TIMEOUT_S * 1000))
        while True:
            error, own = requests.read_identity(await self._coordinator.ask(request))
            if error == NO_ERROR:
                break
            await self._wait_for_coordinator(error)
        self._own = own
        self._is_v2 = await self._has_transactions_v2()

    async def _has_transactions_v2(self) -> bool:
        """Return whether every broker of the cluster takes transactions of version 2."""
        try:
            answer = await self._coordinator.ask(requests.api_versions())
        except KafkaError as error:
            log.debug("the features of the cluster are not known: %r", error)
            return False
        return requests.read_transaction_version(answer) >= 2  # noqa: PLR2004

    def tasks(self) -> Iterator[tuple[str, asyncio.Future[Any] | None]]:
        """Yield (name for the log, task) of aiokafka's background tasks."""
        yield f"the metadata refresh of {self.transactional_id}", self._client._sync_task  # noqa: SLF001

    async def commit(self, records: Iterable[OutboundRecord]) -> dict[tuple[str, int], int]:
        """Write records (topic, partition, key, value, headers) as one transaction.

        Returns the offset behind the last record written, by (topic, partition).
        Raises CommitFailed, Fenced, RecordRefused.
        """
        try:
            return await self._commit(records)
        except CommitFailed as error:
            if not isinstance(error, Fenced):
                await self._abort()
            raise
        except Exception as error:
            raise CommitFailed(f"{self.transactional_id}: {error!r}") from error

    async def _commit(self, records: Iterable[OutboundRecord]) -> dict[tuple[str, int], int]:
        waiting = _by_partition(records)
        if not self._is_v2:
            await self._add(waiting)
        ends: dict[tuple[str, int], int] = {}
        while waiting:
            batches = {tp: self._build(tp, rows) for tp, rows in waiting.items()}
            ends.update(await self._append(batches))
            waiting = {tp: waiting[tp][count:] for tp, (_, count) in batches.items() if count < len(waiting[tp])}
        await self._end(commits=True)
        return ends

    # --- appending -------------------------------------------------------------------------------------------------

    def _build(self, tp: TopicPartition, rows: Sequence[_Row]) -> _Batch:
        """Return a batch of as many `rows` as it takes (one at least), and their number."""
        builder = DefaultRecordBatchBuilder(2, NO_COMPRESSION, 1, *self._own, self._sequences.get(tp, 0), BATCH_BYTES)
        append = builder.append
        for number, (key, value, headers) in enumerate(rows):
            if append(number, None, key, value, list(headers)) is None:
                return builder.build(), number
        return builder.build(), len(rows)

    async def _append(self, batches: Mapping[TopicPartition, _Batch]) -> dict[tuple[str, int], int]:
        """Append one batch to each partition, however often it takes; return the offsets behind them."""
        waiting = {tp: batch for tp, (batch, _) in batches.items()}
        ends: dict[tuple[str, int], int] = {}
        waits = 0
        while waiting:
            found = await self._produce(waiting)
            for tp, appended in found.items():
                self._check(tp, appended)
                if appended.error == NO_ERROR:
                    del waiting[tp]
                    count = batches[tp][1]
                    self._sequences[tp] = (self._sequences.get(tp, 0) + count) & 0x7FFFFFFF
                    ends[tp.topic, tp.partition] = appended.offset + count
            if waiting:
                waits += 1
                await self._wait_before_retry({found[tp].error for tp in waiting if tp in found}, waits)
        return ends

    async def _wait_before_retry(self, errors: set[int], waits: int) -> None:
        if errors == {CONCURRENT}:
            await _wait_for_markers(waits)
            return
        await asyncio.sleep(RETRY_S)
        await self._client._maybe_wait_metadata()  # noqa: SLF001

    async def _produce(self, batches: Mapping[TopicPartition, bytes]) -> dict[TopicPartition, requests.Appended]:
        """Send the batches to the leaders of their partitions, and return the answers there are."""
        by_node: dict[int, dict[TopicPartition, bytes]] = defaultdict(dict)
        for tp, batch in batches.items():
            by_node[await self._leader(tp)][tp] = batch
        # Every answer is awaited, so that no batch can arrive behind the end of its transaction.
        answers = await asyncio.gather(
            *(self._produce_at(node, rows) for node, rows in by_node.items()), return_exceptions=True
        )
        found: dict[TopicPartition, requests.Appended] = {}
        for answer in answers:
            if isinstance(answer, BaseException):
                raise answer
            found.update(answer)
        return found

    async def _leader(self, tp: TopicPartition) -> int:
        """Return the node that leads a partition; wait until one does. Raises UnknownTopicOrPartitionError."""
        while True:
            node: int | None = self._client.cluster.leader_for_partition(tp)
            if node is not None and node >= 0:
                return node
            if tp.partition in await self._client._wait_on_metadata(tp.topic):  # noqa: SLF001
                node = self._client.cluster.leader_for_partition(tp)
                if node is not None and node >= 0:
                    return node
                await asyncio.sleep(RETRY_S)
            elif tp.partition not in (self._client.cluster.partitions_for_topic(tp.topic) or ()):
                raise UnknownTopicOrPartitionError(f"{tp.topic}[{tp.partition}]")
            await self._client.force_metadata_update()

    async def _produce_at(
        self, node: int, batches: Mapping[TopicPartition, bytes]
    ) -> dict[TopicPartition, requests.Appended]:
        timeout_ms = int(REQUEST_TIMEOUT_S * 1000)
        request = requests.produce(self.transactional_id, timeout_ms, batches, is_v2=self._is_v2)
        try:
            answer = await self._client.send(node, request)
        except KafkaError as error:
            if not is_passing(error):
                raise
            log.warning("%s: its records are sent again, under the same numbers: %r", self.transactional_id, error)
            self._client.force_metadata_update()
            return {}
        return requests.read_produced(answer, is_v2=self._is_v2)

    def _check(self, tp: TopicPartition, appended: requests.Appended) -> None:
        """Raise Fenced or RecordRefused unless a batch was appended, or may be sent again."""
        code = appended.error
        if code == NO_ERROR or (self._is_v2 and code in PASSING):
            return
        where = f"{self.transactional_id}: {tp.topic}[{tp.partition}]"
        if code in FENCED:
            raise Fenced(f"{where}: {_named(code)}")
        if not (for_code(code).retriable or code == UNKNOWN_TOPIC):
            raise RecordRefused(f"{where}: {_named(code)} {appended.message}".rstrip())
        self._client.force_metadata_update()

    # --- the coordinator -------------------------------------------------------------------------------------------

    async def _add(self, partitions: Iterable[TopicPartition]) -> None:
        """Add partitions to the transaction (before Kafka 4)."""
        by_topic: dict[str, list[int]] = defaultdict(list)
        for tp in partitions:
            by_topic[tp.topic].append(tp.partition)
        request = requests.add_partitions(self.transactional_id, self._own, by_topic)
        waits = 0
        while errors := requests.read_added(await self._coordinator.ask(request)) - {NO_ERROR, NOT_ATTEMPTED}:
            waits += 1
            if CONCURRENT in errors:
                await _wait_for_markers(waits)
            elif UNKNOWN_TOPIC in errors:
                await asyncio.sleep(RETRY_S)
            else:
                await self._wait_for_coordinator(min(errors & FENCED or errors))

    async def _end(self, *, commits: bool) -> None:
        """Commit or abort the transaction; a request without an answer is sent again, and then does nothing more."""
        while True:
            request = requests.end_transaction(self.transactional_id, self._own, commits=commits, is_v2=self._is_v2)
            error, own = requests.read_ended(await self._coordinator.ask(request), is_v2=self._is_v2)
            if error == NO_ERROR:
                break
            await self._wait_for_coordinator(error)
        if own is not None and own.producer_id >= 0 and own != self._own:
            self._own = own
            self._sequences.clear()

    async def _wait_for_coordinator(self, error: int) -> None:
        """Wait before the coordinator is asked again. Raises Fenced, or any other error that does not pass."""
        if error in FENCED:
            raise Fenced(f"{self.transactional_id}: {_named(error)}")
        await self._coordinator.wait(error)

    async def _abort(self) -> None:
        try:
            async with asyncio.timeout(REQUEST_TIMEOUT_S):
                await self._end(commits=False)
        except Exception as error:  # noqa: BLE001 - the next owner's fence aborts it, too
            log.debug("abort of %s: %r", self.transactional_id, error)

    async def close(self) -> None:
        """Close the connections, within REQUEST_TIMEOUT_S."""
        try:
            async with asyncio.timeout(REQUEST_TIMEOUT_S):
                await stop_client(self._client.close())
        except Exception as error:  # noqa: BLE001 - nothing depends on a clean close
            log.debug("closing %s: %r", self.transactional_id, error)


def _by_partition(records: Iterable[OutboundRecord]) -> dict[TopicPartition, list[_Row]]:
    found: dict[tuple[str, int], list[_Row]] = defaultdict(list)
    for topic, partition, key, value, headers in records:
        found[topic, partition].append((key, value, headers))
    return {TopicPartition(*tp): rows for tp, rows in found.items()}


async def _wait_for_markers(waits: int) -> None:
    """Wait 1, 2, 4 … 20 ms while the broker writes the last transaction's markers."""
    await asyncio.sleep(min(0.001 * 2 ** (waits - 1), MOST_MARKER_WAIT_S))


def _named(code: int) -> str:
    return NAMES.get(code) or for_code(code).__name__
