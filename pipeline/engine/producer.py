"""The transactional producer of one partition: all records of a step are committed, or none."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from aiokafka import AIOKafkaProducer
from aiokafka.client import CoordinationType
from aiokafka.errors import ProducerFenced
from aiokafka.producer.sender import BACKOFF_OVERRIDE, AddPartitionsToTxnHandler, Sender

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from pipeline.stage_io import Headers

log = logging.getLogger(__name__)

TRANSACTION_TIMEOUT_S = 60.0
REQUEST_TIMEOUT_S = 10.0
BATCH_BYTES = 900_000


OutboundRecord = tuple[str, int, "bytes | None", "bytes | None", "Headers"]
"""One record to write: topic, partition, key, value, headers."""


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
        self._kafka = AIOKafkaProducer(
            **connection,
            transactional_id=transactional_id,
            transaction_timeout_ms=int(TRANSACTION_TIMEOUT_S * 1000),
            request_timeout_ms=int(REQUEST_TIMEOUT_S * 1000),
            max_batch_size=BATCH_BYTES,
            acks="all",
        )
        self._kafka._sender = _BackoffSender.like(self._kafka)  # noqa: SLF001 - aiokafka has no seam for its sender

    async def open(self) -> None:
        """Connect and fence the previous owner: its open transaction is aborted, its later ones are refused."""
        await self._kafka.start()

    def tasks(self) -> Iterator[tuple[str, asyncio.Future[Any] | None]]:
        """Yield (name for the log, task) of aiokafka's background tasks."""
        yield f"the sender of {self.transactional_id}", self._kafka._sender.sender_task  # noqa: SLF001
        yield f"the metadata refresh of {self.transactional_id}", self._kafka.client._sync_task  # noqa: SLF001

    async def commit(self, records: Iterable[OutboundRecord]) -> dict[tuple[str, int], int]:
        """Write records (topic, partition, key, value, headers) as one transaction.

        Returns the offset behind the last record written, by (topic, partition).
        Raises CommitFailed, Fenced, RecordRefused.
        """
        try:
            await self._kafka.begin_transaction()
            deliveries = await self._send(records)
            # aiokafka would commit without a refused record, so every delivery is awaited before the commit.
            written = await asyncio.gather(*(future for future, _ in deliveries), return_exceptions=True)
            refusal = next((w for w in written if isinstance(w, BaseException)), None)
            if refusal is None:
                await self._kafka.commit_transaction()
        except ProducerFenced as error:
            raise Fenced(f"{self.transactional_id}: {error!r}") from error
        except Exception as error:
            raise CommitFailed(f"{self.transactional_id}: {error!r}") from error
        if isinstance(refusal, ProducerFenced):
            raise Fenced(f"{self.transactional_id}: {refusal!r}") from refusal
        if refusal is not None:
            await self._abort()
            raise RecordRefused(f"{self.transactional_id}: {refusal!r}") from refusal
        counts = [count for _, count in deliveries]
        return {
            (w.topic, w.partition): w.offset + count
            for w, count in zip(written, counts, strict=True)
            if not isinstance(w, BaseException)
        }

    async def _send(self, records: Iterable[OutboundRecord]) -> list[tuple[asyncio.Future[Any], int]]:
        by_partition: dict[tuple[str, int], list[tuple[bytes | None, bytes | None, Headers]]] = defaultdict(list)
        for topic, partition, key, value, headers in records:
            by_partition[topic, partition].append((key, value, headers))
        deliveries: list[tuple[asyncio.Future[Any], int]] = []
        for (topic, partition), rows in by_partition.items():
            batch = self._kafka.create_batch()
            for key, value, headers in rows:
                if batch.append(key=key, value=value, timestamp=None, headers=list(headers)) is None:
                    deliveries.append(await self._deliver(batch, topic, partition))
                    batch = self._kafka.create_batch()
                    batch.append(key=key, value=value, timestamp=None, headers=list(headers))
            deliveries.append(await self._deliver(batch, topic, partition))
        return deliveries

    async def _deliver(self, batch: Any, topic: str, partition: int) -> tuple[asyncio.Future[Any], int]:
        count = batch.record_count()
        return await self._kafka.send_batch(batch, topic, partition=partition), count

    async def _abort(self) -> None:
        try:
            await asyncio.wait_for(self._kafka.abort_transaction(), REQUEST_TIMEOUT_S)
        except Exception as error:  # noqa: BLE001 - the next owner's fence aborts it, too
            log.debug("abort of %s: %r", self.transactional_id, error)

    async def close(self) -> None:
        """Close the connection, within REQUEST_TIMEOUT_S."""
        try:
            await asyncio.wait_for(self._kafka.stop(), REQUEST_TIMEOUT_S)
        except Exception as error:  # noqa: BLE001 - nothing depends on a clean close
            log.debug("closing %s: %r", self.transactional_id, error)


class _BackoffSender(Sender):
    """Waits 1, 2, 4 … 20 ms while the broker writes the last transaction's markers; aiokafka always waits 20 ms."""

    marker_waits = 0

    @classmethod
    def like(cls, producer: AIOKafkaProducer) -> _BackoffSender:
        """Return a sender with the settings of the one that `producer` has."""
        own = producer._sender  # noqa: SLF001
        return cls(
            own.client,
            acks=own._acks,  # noqa: SLF001
            txn_manager=own._txn_manager,  # noqa: SLF001
            message_accumulator=own._message_accumulator,  # noqa: SLF001
            retry_backoff_ms=int(own._retry_backoff * 1000),  # noqa: SLF001
            request_timeout_ms=own._request_timeout_ms,  # noqa: SLF001
        )

    async def _do_add_partitions_to_txn(self, tps: Any) -> Any:
        node_id = await self._find_coordinator(CoordinationType.TRANSACTION, self._txn_manager.transactional_id)
        return await _BackoffAddPartitions(self, tps).do(node_id)


class _BackoffAddPartitions(AddPartitionsToTxnHandler):
    def handle_response(self, response: Any) -> float | None:
        backoff: float | None = super().handle_response(response)
        if backoff != BACKOFF_OVERRIDE:
            self._sender.marker_waits = 0
            return backoff
        self._sender.marker_waits += 1
        return float(min(0.001 * 2 ** (self._sender.marker_waits - 1), BACKOFF_OVERRIDE))
