"""Gives callbacks and clicks to Kafka: a 2xx follows only once all in-sync replicas have them."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from aiokafka.errors import KafkaError

from pipeline.domain.fact import callback_partition
from pipeline.flow import CALLBACKS, SUPPRESSIONS
from pipeline.kafka.cluster import CommandFailed, partition_counts
from pipeline.kafka.connection import why_unreachable
from pipeline.kafka.control import read_control
from pipeline.kafka.delivery import open_producer
from pipeline.records.callbacks import encode_callback
from pipeline.records.control import encode_suppression
from pipeline.records.registry import RegistryAway
from pipeline.stage_io import Output

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from aiokafka import AIOKafkaProducer

    from pipeline.domain.fact import Callback
    from pipeline.domain.suppression import Suppression
    from pipeline.kafka.cluster import Cluster
    from pipeline.records.writing import Writer

log = logging.getLogger(__name__)

TAKES_S: Final = 5.0
"""Seconds that Kafka may take."""
AGAIN_S: Final = 1.0
"""Seconds between two attempts to reach Kafka."""
GOODBYE_S: Final = 1.0
"""Seconds that the connection has to end by itself."""
STALLED_S: Final = 10.0
"""Seconds without any acknowledgement, while some are due, after which the connection is made anew."""


class NotTaken(Exception):
    """Kafka has not taken it in time: whoever brought it must come again."""


class TakesCallbacks(Protocol):
    """What takes callbacks in."""

    async def take(self, callbacks: Sequence[Callback]) -> None:
        """Return once Kafka has them all. Raises NotTaken."""


class TakesEntries(Protocol):
    """What takes suppressions in."""

    async def suppress(self, entry: Suppression) -> None:
        """Return once Kafka has the entry. Raises NotTaken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IntakeNeeds:
    """What is to be taken in."""

    fingerprint: str
    """That of `privacy.key`."""
    partitions: int | None
    """Those of `touches.callbacks` that count; None: no sender's callbacks are on."""
    make_writer: Callable[[], Writer] | None
    """Returns what encodes suppressions, and may ask the schema registry; None: nobody can unsubscribe."""


class Intake:
    """Produces to Kafka, idempotently and with acks=all; connects by itself, again and again.

    While it is not connected nothing waits: NotTaken at once. Of what was not acknowledged in time, Kafka may still get
    some later; the stage of deliveries tells each fact once all the same.
    """

    def __init__(self, cluster: Cluster, needs: IntakeNeeds) -> None:
        self._cluster, self._needs = cluster, needs
        self._writer: Writer | None = None
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
                await self._prepare()
                async with open_producer(self._cluster) as producer:
                    await self._serve(producer)
            except (CommandFailed, RegistryAway, KafkaError, OSError, TimeoutError) as error:
                if isinstance(error, WrongPrivacyKey):
                    raise
                self._say(str(error) or type(error).__name__)
            await asyncio.sleep(AGAIN_S)

    async def take(self, callbacks: Sequence[Callback]) -> None:
        """Return once Kafka has them all. Raises NotTaken."""
        assert self._needs.partitions is not None
        records = []
        for each in callbacks:
            at = callback_partition(each.place, self._needs.partitions)
            records.append(Output(CALLBACKS, at, each.place.encode(), encode_callback(each)))
        await self._produce(records)

    async def suppress(self, entry: Suppression) -> None:
        """Return once Kafka has the entry. Raises NotTaken."""
        if self._writer is None:
            raise NotTaken
        await self._produce([Output(SUPPRESSIONS, 0, entry.key.encode(), encode_suppression(self._writer, entry))])

    async def _produce(self, records: Sequence[Output]) -> None:
        producer = self._producer
        if producer is None:
            raise NotTaken
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(TAKES_S):
                sent = [await self._send(producer, each) for each in records]
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

    async def _send(self, producer: AIOKafkaProducer, record: Output) -> asyncio.Future[object]:
        topic = self._cluster.topic_name(record.topic)
        sent: asyncio.Future[object] = await producer.send(topic, record.value, record.key, partition=record.partition)
        return sent

    async def _prepare(self) -> None:
        """Raise CommandFailed or RegistryAway unless everything is there.

        All topics are listed before one is produced to: to ask for a missing one could create it.
        """
        counts = await partition_counts(self._cluster)
        if self._needs.partitions is not None:
            self._check_topic(counts, CALLBACKS, self._needs.partitions)
        if self._needs.make_writer is not None:
            self._check_topic(counts, SUPPRESSIONS, 1)
            self._writer = await asyncio.to_thread(self._needs.make_writer)
        control = await read_control(self._cluster, log.warning)
        try:
            control.check_key(self._needs.fingerprint)
        except CommandFailed as error:
            raise WrongPrivacyKey(str(error)) from None

    def _check_topic(self, counts: Mapping[str, int], logical: str, partitions: int) -> None:
        name = self._cluster.topic_name(logical)
        count = counts.get(name)
        if count is None or count < partitions:
            found = "does not exist" if count is None else f"has {count} partitions, not {partitions}"
            raise CommandFailed(
                f"topic {name} {found}: start a worker with the same configuration, it creates its topics"
            )

    async def _serve(self, producer: AIOKafkaProducer) -> None:
        """Take callbacks until the connection must be made anew."""
        self._troubled.clear()
        self._stalled_at, self._is_broken, self._why = None, False, ""
        self._producer = producer
        log.info("Kafka takes what comes in")
        try:
            await self._trouble()
        finally:
            self._producer = None

    async def _trouble(self) -> None:
        """Return when the connection must be made anew; a stall that passes is none."""
        while await self._troubled.wait():
            self._troubled.clear()
            if self._is_broken:
                log.warning("Kafka does not take what comes in: %s", self._why)
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
            log.warning("callbacks and clicks are answered with 503: %s", why)


class WrongPrivacyKey(CommandFailed):
    """`privacy.key` is not the one with which addresses were hashed so far."""


async def ended(task: asyncio.Task[None]) -> None:
    """Cancel `task` and wait for its end, not for what it still says to Kafka: all requests are answered. Raises what it has raised."""
    for _ in range(2):
        task.cancel()
        await asyncio.wait([task], timeout=GOODBYE_S)
    if task.done() and not task.cancelled():
        task.result()
