"""Touches from a file into Kafka: idempotent, in order, in bounded memory; broken lines are named and skipped."""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.console.lines import Broken, UnreadableInput
from pipeline.console.produce.rows import InputRow, rows
from pipeline.console.read_ahead import read_ahead
from pipeline.kafka.cluster import CommandFailed, missing
from pipeline.kafka.delivery import UNDELIVERED, Delivery, DeliveryFailed, open_producer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aiokafka import AIOKafkaProducer

    from pipeline.console.lines import Form, Stream
    from pipeline.kafka.cluster import Cluster


@dataclass(slots=True)
class Produced:
    """What became of a file."""

    touches: int = 0
    """Acknowledged by Kafka."""
    broken: int = 0


async def produce(
    cluster: Cluster,
    stream: Stream,
    form: Form,
    *,
    complain: Callable[[str], None],
    progress: Callable[[int], None] = lambda _: None,
    create_topics: Callable[[], Awaitable[object]] | None = None,
) -> Produced:
    """Produce every row of `stream` to `touches`, keyed by touch_id, and return what became of it.

    `complain` gets one line per broken line, `progress` the touches acknowledged so far; `create_topics` is awaited if
    the topic is missing. Raises CommandFailed when Kafka cannot be reached or refuses, naming the first line that is not in.
    """
    topic = cluster.topic_name("touches")
    async with open_producer(cluster) as producer:
        await _see_to_topic(producer, topic, cluster, create_topics)
        return await _FileDelivery(producer, topic, complain, progress).run(stream, form)


async def _see_to_topic(
    producer: AIOKafkaProducer, topic: str, cluster: Cluster, create_topics: Callable[[], Awaitable[object]] | None
) -> None:
    # All topics are asked for: asking for one could create it, with the broker's partition count.
    if topic in (await producer.client.fetch_all_metadata()).topics():
        return
    if create_topics is None:
        raise missing(cluster, topic)
    await create_topics()


class _FileDelivery:
    """One file on its way; its lines are the labels."""

    def __init__(
        self, producer: AIOKafkaProducer, topic: str, complain: Callable[[str], None], progress: Callable[[int], None]
    ) -> None:
        self._delivery = Delivery(producer, topic, self._name)
        self._complain, self._progress = complain, progress
        self._broken = 0

    async def run(self, stream: Stream, form: Form) -> Produced:
        try:
            async with aclosing(read_ahead(lambda before_read: rows(stream, form, before_read))) as batches:
                async for batch in batches:
                    await self._send(batch)
                    await self._settle(keep=UNDELIVERED)
            await self._settle(keep=0)
        except UnreadableInput as error:
            raise CommandFailed(str(error)) from error
        except DeliveryFailed as error:
            # Producing all of it again is right: the pipeline drops what it has already.
            done = f"{self._delivery.delivered:,} touches are in; produce the file again, repeats are dropped"
            raise CommandFailed(f"{error}; {done}") from error
        finally:
            self._delivery.abandon()
            self._progress(self._delivery.delivered)
        return Produced(self._delivery.delivered, self._broken)

    async def _send(self, batch: list[InputRow | Broken]) -> None:
        for row in batch:
            if isinstance(row, Broken):
                self._name(f"line {row.line}", row.why)
            else:
                await self._delivery.send(f"line {row.line}", key=row.key, value=row.value)

    async def _settle(self, keep: int) -> None:
        await self._delivery.settle(keep)
        self._progress(self._delivery.delivered)

    def _name(self, line: str, why: str) -> None:
        self._broken += 1
        self._complain(f"{line}: {why}; skipped")
