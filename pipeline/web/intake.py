"""Gives callbacks to Kafka: a 2xx follows only once all in-sync replicas have them."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Protocol

from aiokafka.errors import KafkaError

from pipeline.domain.fact import callback_partition
from pipeline.flow import CALLBACKS
from pipeline.kafka.cluster import CommandFailed, partition_counts
from pipeline.kafka.connection import why_unreachable
from pipeline.kafka.control import read_control
from pipeline.kafka.delivery import open_producer
from pipeline.records.callbacks import encode_callback
from pipeline.records.registry import RegistryAway

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiokafka import AIOKafkaProducer

    from pipeline.domain.fact import Callback
    from pipeline.kafka.cluster import Cluster

log = logging.getLogger(__name__)

TAKES_S: Final = 5.0
"""Seconds that Kafka may take."""
AGAIN_S: Final = 1.0
"""Seconds between two attempts to reach Kafka."""
STALLED_S: Final = 10.0
"""Seconds without any acknowledgement, while some are due, after which the connection is made anew."""


class NotTaken(Exception):
    """Kafka has not taken it in time: whoever brought it must come again."""


class TakesCallbacks(Protocol):
    """What takes callbacks in."""

    async def take(self, callbacks: Sequence[Callback]) -> None:
        """Return once Kafka has them all. Raises NotTaken."""


class Intake:
    """Produces to Kafka, idempotently and with acks=all; connects by itself, again and again.

    While it is not connected nothing waits: NotTaken at once. Of what was not acknowledged in time, Kafka may still get
    some later; the stage of deliveries tells each fact once all the same.
    """

    def __init__(self, cluster: Cluster, partitions: int, fingerprint: str) -> None:
        """Produce to `cluster`; `partitions` are those of `touches.callbacks` that count, `fingerprint` is that of `privacy.key`."""
        self._cluster, self._partitions, self._fingerprint = cluster, partitions, fingerprint
        self._topic = cluster.topic_name(CALLBACKS)
        self._producer: AIOKafkaProducer | None = None
        self._why = "it has not been reached yet"
        self._troubled = asyncio.Event()
        self._stalled_at: float | None = None
        self._is_broken = False

    @property
    def not_ready(self) -> str | None:
        """Why nothing is taken now; None when all is well."""
        return None if self._producer is not None else self._why

    async def run(self) -> None:
        """Stay connected until cancelled. Raises CommandFailed when `privacy.key` is not the workers'."""
        while True:
            try:
                await self._check_topics()
                async with open_producer(self._cluster) as producer:
                    await self._serve(producer)
            except (CommandFailed, RegistryAway, KafkaError, OSError, TimeoutError) as error:
                if isinstance(error, WrongPrivacyKey):
                    raise
                self._say(str(error) or type(error).__name__)
            await asyncio.sleep(AGAIN_S)

    async def take(self, callbacks: Sequence[Callback]) -> None:
        """Return once Kafka has them all. Raises NotTaken."""
        producer = self._producer
        if producer is None:
            raise NotTaken
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(TAKES_S):
                sent = [await self._send(producer, each) for each in callbacks]
                await asyncio.gather(*sent)
        except TimeoutError:
            self._stalled_at = self._stalled_at or loop.time()
            self._troubled.set()
            raise NotTaken from None
        except KafkaError as error:
            self._why, self._is_broken = f"{type(error).__name__}: {error}", True
            self._troubled.set()
            raise NotTaken from None
        self._stalled_at = None

    async def _send(self, producer: AIOKafkaProducer, callback: Callback) -> asyncio.Future[object]:
        partition = callback_partition(callback.place, self._partitions)
        key, value = callback.place.encode(), encode_callback(callback)
        sent: asyncio.Future[object] = await producer.send(self._topic, value, key, partition=partition)
        return sent

    async def _check_topics(self) -> None:
        """Raise CommandFailed unless everything is there. Only whether it is: to ask for a missing topic may create it."""
        count = (await partition_counts(self._cluster)).get(self._topic)
        if count is None or count < self._partitions:
            found = "does not exist" if count is None else f"has {count} partitions, not {self._partitions}"
            raise CommandFailed(f"topic {self._topic} {found}: a worker with webhook_secrets creates it")
        control = await read_control(self._cluster, log.warning)
        try:
            control.check_key(self._fingerprint)
        except CommandFailed as error:
            raise WrongPrivacyKey(str(error)) from None

    async def _serve(self, producer: AIOKafkaProducer) -> None:
        """Take callbacks until the connection must be made anew."""
        self._troubled.clear()
        self._stalled_at, self._is_broken, self._why = None, False, ""
        self._producer = producer
        log.info("Kafka takes callbacks: %s", self._topic)
        try:
            await self._trouble()
        finally:
            self._producer = None

    async def _trouble(self) -> None:
        """Return when the connection must be made anew; a stall that passes is none."""
        while await self._troubled.wait():
            self._troubled.clear()
            if self._is_broken:
                log.warning("Kafka does not take callbacks: %s", self._why)
                return
            if why := await why_unreachable(self._cluster.connection):
                self._say(f"Kafka at {self._cluster.servers} cannot be reached: {why}")
                return
            if self._stalled_at is not None and asyncio.get_running_loop().time() - self._stalled_at > STALLED_S:
                return

    def _say(self, why: str) -> None:
        """Log why nothing is taken, once for each reason."""
        if why != self._why:
            self._why = why
            log.warning("callbacks are answered with 503: %s", why)


class WrongPrivacyKey(CommandFailed):
    """`privacy.key` is not the one with which addresses were hashed so far."""


async def ended(task: asyncio.Task[None]) -> None:
    """Cancel `task` and wait for its end."""
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
