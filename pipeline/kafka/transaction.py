"""Transactions of commands: a producer for them, and one transaction that is committed or aborted, never left open."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Final

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from pipeline.kafka.cluster import Cluster

REACHED_S: Final = 30.0
"""How long Kafka may take to let a producer in, or to take a transaction."""
GOODBYE_S: Final = 5.0
DEFAULT_TIMEOUT_MS: Final = 60_000
"""Kafka's own."""
LARGEST_REQUEST: Final = 1024 * 1024


@asynccontextmanager
async def open_transactional(
    cluster: Cluster, name: str, *, timeout_ms: int = DEFAULT_TIMEOUT_MS, largest: int = LARGEST_REQUEST
) -> AsyncIterator[AIOKafkaProducer]:
    """Yield a producer of transactions; it has fenced every other one with this `name`.

    A transaction that its process leaves open ends after `timeout_ms`: until then it hides what stands behind it.
    Raises KafkaError, OSError, TimeoutError.
    """
    producer = AIOKafkaProducer(
        **cluster.connection,
        transactional_id=cluster.topic_name(name),
        transaction_timeout_ms=timeout_ms,
        acks="all",
        max_request_size=largest,
        partitioner=cluster.partitioner(),
    )
    try:
        await asyncio.wait_for(producer.start(), REACHED_S)
        yield producer
    finally:
        # After a failure stop() would wait for deliveries that never come.
        with suppress(TimeoutError, KafkaError):
            await asyncio.wait_for(producer.stop(), GOODBYE_S)


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
            await asyncio.wait_for(producer.abort_transaction(), GOODBYE_S)
        raise
