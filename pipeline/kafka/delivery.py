"""Delivers records to one topic: idempotently, in order, with a bounded number of unacknowledged records."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, KafkaTimeoutError, MessageSizeTooLargeError

from pipeline.engine.stop_client import stop_client
from pipeline.kafka.cluster import reach, unreached

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from pipeline.kafka.cluster import Cluster

LARGEST_VALUE = 1024 * 1024
"""Bytes of one touch at most."""
UNDELIVERED = 5_000
"""Most records that may be unacknowledged."""
GOODBYE_S = 5.0
PATIENCE_S = 60.0
"""Seconds without an acknowledgement after which delivery fails: an idempotent producer would retry for ever."""


class DeliveryFailed(Exception):
    """Kafka does not accept a record, nor the ones after it."""

    def __init__(self, label: str, error: BaseException) -> None:
        super().__init__(f"Kafka refused {label}: {error}")


@asynccontextmanager
async def open_producer(cluster: Cluster) -> AsyncIterator[AIOKafkaProducer]:
    """Yield a started producer. Raises CommandFailed when Kafka cannot be reached."""
    await reach(cluster)
    producer = AIOKafkaProducer(
        **cluster.connection,
        acks="all",
        enable_idempotence=True,
        linger_ms=5,
        partitioner=cluster.partitioner(),
        max_batch_size=256 * 1024,
        max_request_size=2 * LARGEST_VALUE,
    )
    try:
        await _reach(producer, cluster)
        yield producer
    finally:
        # After a failure stop() would wait for deliveries that never come.
        with suppress(TimeoutError, KafkaError):
            async with asyncio.timeout(GOODBYE_S):
                await stop_client(producer.stop())


async def _reach(producer: AIOKafkaProducer, cluster: Cluster) -> None:
    try:
        await producer.start()
    except (KafkaError, OSError) as error:
        raise await unreached(cluster, error) from error


class Delivery:
    """The unacknowledged records of one topic; each has a label for display."""

    def __init__(self, producer: AIOKafkaProducer, topic: str, refuse: Callable[[str, str], None]) -> None:
        """Deliver to `topic`; `refuse` gets the label of a record that is too large, and why."""
        self._producer, self._topic, self._refuse = producer, topic, refuse
        self._waiting: deque[tuple[str, asyncio.Future[object]]] = deque()
        self.delivered = 0
        """Acknowledged by Kafka."""

    async def send(self, label: str, **record: Any) -> None:
        """Produce a record (key, value, partition, headers). Raises DeliveryFailed."""
        try:
            sent = await self._producer.send(self._topic, **record)
        except MessageSizeTooLargeError:
            self._refuse(label, "too large for Kafka")
        except KafkaError as error:
            raise DeliveryFailed(self._waiting[0][0] if self._waiting else label, error) from error
        else:
            self._waiting.append((label, sent))

    async def settle(self, keep: int) -> None:
        """Wait until at most `keep` records are unacknowledged. Raises DeliveryFailed."""
        while len(self._waiting) > keep or (self._waiting and self._waiting[0][1].done()):
            label, sent = self._waiting.popleft()
            try:
                async with asyncio.timeout(PATIENCE_S):
                    await sent
                self.delivered += 1
            except MessageSizeTooLargeError:
                self._refuse(label, "too large for the topic")
            except TimeoutError as error:
                raise DeliveryFailed(
                    label, KafkaTimeoutError(f"nothing acknowledged for {PATIENCE_S:.0f} s")
                ) from error
            except KafkaError as error:
                raise DeliveryFailed(label, error) from error

    def abandon(self) -> None:
        """Count what was acknowledged since, and wait for nothing more."""
        for _, sent in self._waiting:
            if sent.done() and not sent.cancelled() and sent.exception() is None:
                self.delivered += 1
            else:
                sent.cancel()
        self._waiting.clear()
