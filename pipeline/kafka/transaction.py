"""Transactions of commands: a producer for them, and one transaction that is committed or aborted, never left open."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from itertools import chain
from typing import TYPE_CHECKING, Final, NamedTuple

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, MessageSizeTooLargeError
from aiokafka.record.default_records import DefaultRecordBatchBuilder

from pipeline.engine.stop_client import stop_client
from pipeline.kafka.cluster import CommandFailed, check_topics, unreached
from pipeline.kafka.topic import RecordPosition

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiokafka.structs import RecordMetadata

    from pipeline.kafka.cluster import Cluster

REACHED_S: Final = 30.0
"""How long Kafka may take to let a producer in, or to take a transaction."""
GOODBYE_S: Final = 5.0
SHORT_S: Final = 10
DEFAULT_TIMEOUT_MS: Final = 60_000
"""Kafka's own."""
LARGEST_REQUEST: Final = 1024 * 1024


class TransactionalProducer(AIOKafkaProducer):  # type: ignore[misc]
    """aiokafka's producer, which leaves no error behind: each that nobody has waited for would be logged at some later time.

    Once it is fenced, aiokafka tells it to the transaction and to each batch, and not only to who sends.
    """

    async def abort_transaction(self) -> None:
        """Abort, with a new future for the end of the transaction in place of a failed one."""
        self._retrieve_errors()
        await super().abort_transaction()

    async def stop(self) -> None:
        """Stop."""
        try:
            await super().stop()
        finally:
            self._retrieve_errors()

    def _retrieve_errors(self) -> None:
        ended, sent = self._txn_manager._transaction_waiter, self._message_accumulator  # noqa: SLF001
        batches = chain(sent._pending_batches, *sent._batches.values())  # noqa: SLF001
        drained = [batch._drain_waiter for batch in batches]  # noqa: SLF001
        for each in (ended, *drained):
            if each is not None and each.done() and not each.cancelled():
                each.exception()


@asynccontextmanager
async def open_transactional(
    cluster: Cluster, name: str, *, timeout_ms: int = DEFAULT_TIMEOUT_MS, largest: int = LARGEST_REQUEST
) -> AsyncIterator[AIOKafkaProducer]:
    """Yield a producer of transactions; it has fenced every other one with this `name`.

    A transaction that its process leaves open ends after `timeout_ms`: until then it hides what stands behind it.
    Raises KafkaError, OSError, TimeoutError.
    """
    producer = TransactionalProducer(
        **cluster.connection,
        transactional_id=cluster.topic_name(name),
        transaction_timeout_ms=timeout_ms,
        acks="all",
        max_request_size=largest,
        partitioner=cluster.partitioner(),
    )
    try:
        async with asyncio.timeout(REACHED_S):
            await producer.start()
        yield producer
    finally:
        # After a failure stop() would wait for deliveries that never come.
        with suppress(TimeoutError, KafkaError):
            async with asyncio.timeout(GOODBYE_S):
                await stop_client(producer.stop())


class Outgoing(NamedTuple):
    """A record to be written."""

    topic: str
    """Without the prefix."""
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]] = ()
    partition: int | None = None
    """None: the key chooses it."""

    def size(self) -> int:
        """Return its size in bytes, as Kafka counts it before compression."""
        return int(DefaultRecordBatchBuilder.estimate_size_in_bytes(self.key, self.value, list(self.headers)))


ShortWriter = Callable[[Iterable[Outgoing]], Awaitable[list[RecordPosition]]]
"""Commits records in one transaction, and returns where each stands.

Raises CommandFailed when Kafka is away, MessageSizeTooLargeError for a record that does not fit into its topic."""


@asynccontextmanager
async def open_short_writer(
    cluster: Cluster, *topics: str, largest: int = LARGEST_REQUEST
) -> AsyncIterator[ShortWriter]:
    """Yield a writer of `topics`, whose transactions last 10 s at most; `largest`: most bytes of a record.

    A command that is killed between its records and the commit hides later records for no longer than that. The writer
    has a name of its own: two operators at once do not fence each other. Raises CommandFailed when Kafka is away.
    """
    await check_topics(cluster, topics)
    name = f"pipeline-{topics[0].removeprefix('touches.')}-{uuid.uuid4().hex}"
    opening = open_transactional(cluster, name, timeout_ms=SHORT_S * 1000, largest=largest)
    async with _failing(cluster), opening as producer:

        async def write(records: Iterable[Outgoing]) -> list[RecordPosition]:
            async with _failing(cluster), transaction(producer, SHORT_S):
                sent = [await send(producer, cluster, record) for record in records]
                return [RecordPosition(done.partition, int(done.offset)) for done in await asyncio.gather(*sent)]

        yield write


async def send(producer: AIOKafkaProducer, cluster: Cluster, record: Outgoing) -> Awaitable[RecordMetadata]:
    """Produce a record; what is returned is there once Kafka has acknowledged it. Raises KafkaError."""
    done: Awaitable[RecordMetadata] = await producer.send(
        cluster.topic_name(record.topic),
        record.value,
        record.key,
        partition=record.partition,
        headers=list(record.headers),
    )
    return done


@asynccontextmanager
async def _failing(cluster: Cluster) -> AsyncIterator[None]:
    try:
        yield
    except MessageSizeTooLargeError:
        raise
    except TimeoutError as error:
        raise CommandFailed(f"Kafka at {cluster.servers} did not answer in time; it may have been written") from error
    except (KafkaError, OSError) as error:
        raise await unreached(cluster, error) from error


@asynccontextmanager
async def transaction(producer: AIOKafkaProducer, within_s: float = REACHED_S) -> AsyncIterator[None]:
    """Commit what is sent inside, or abort it. Raises KafkaError, OSError; TimeoutError after `within_s`."""
    await producer.begin_transaction()
    try:
        async with asyncio.timeout(within_s):
            yield
            await producer.commit_transaction()
    except BaseException:
        # Left open, it would hide what comes behind it from readers until Kafka gives it up.
        with suppress(Exception):  # a fenced producer has nothing to abort, and aiokafka asserts so
            async with asyncio.timeout(GOODBYE_S):
                await producer.abort_transaction()
        raise
