"""Touches from a file into Kafka: idempotent, in order, in bounded memory; broken lines are named and skipped."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, KafkaTimeoutError, MessageSizeTooLargeError

from pipeline.console.ahead import read_ahead
from pipeline.console.place import Failed
from pipeline.console.rows import LARGEST_VALUE, Broken, Row, Unreadable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from pipeline.console.place import Place
    from pipeline.console.rows import Form, Stream

UNDELIVERED = 5_000
"""Touches handed to the producer and not yet acknowledged."""
PATIENCE_S = 60.0
"""How long nothing may be acknowledged before we give up: an idempotent producer would retry for ever."""


@dataclass(slots=True)
class Produced:
    """What became of a file."""

    touches: int = 0
    """Acknowledged by Kafka."""
    broken: int = 0


async def produce(
    place: Place,
    stream: Stream,
    form: Form,
    *,
    complain: Callable[[str], None],
    progress: Callable[[int], None] = lambda _: None,
    create_topics: Callable[[], Awaitable[object]] | None = None,
) -> Produced:
    """Produce every row of `stream` to `touches`, keyed by touch_id, and return what became of it.

    `complain` gets one line per broken line, `progress` the touches acknowledged so far; `create_topics` is awaited if
    the topic is missing. Raises Failed when Kafka is away or refuses, naming the first line that is not in.
    """
    topic = place.topic_name("touches")
    producer = AIOKafkaProducer(
        **place.connection, acks="all", enable_idempotence=True, linger_ms=5,
        max_batch_size=256 * 1024, max_request_size=2 * LARGEST_VALUE,
    )
    try:
        await _reach(producer, place)
        await _see_to_topic(producer, topic, place, create_topics)
        return await _Delivery(producer, topic, complain, progress).run(stream, form)
    finally:
        # After a failure stop() would wait for deliveries that never come.
        with suppress(TimeoutError, KafkaError):
            await asyncio.wait_for(producer.stop(), 5.0)


async def _reach(producer: AIOKafkaProducer, place: Place) -> None:
    try:
        await producer.start()
    except (KafkaError, OSError) as error:
        raise Failed(f"Kafka at {place.servers} cannot be reached: {error}") from error


async def _see_to_topic(
    producer: AIOKafkaProducer, topic: str, place: Place, create_topics: Callable[[], Awaitable[object]] | None
) -> None:
    # All topics are asked for: asking for one could create it, with the broker's partition count.
    if topic in (await producer.client.fetch_all_metadata()).topics():
        return
    if create_topics is None:
        raise Failed(f"topic {topic} does not exist on {place.servers}: start a worker once, it creates its topics")
    await create_topics()


class _Delivery:
    """One file on its way: what was handed to the producer and is not acknowledged yet."""

    def __init__(
        self, producer: AIOKafkaProducer, topic: str, complain: Callable[[str], None], progress: Callable[[int], None]
    ) -> None:
        self._producer, self._topic = producer, topic
        self._complain, self._progress = complain, progress
        self._waiting: deque[tuple[int, asyncio.Future[object]]] = deque()
        self._produced = Produced()

    async def run(self, stream: Stream, form: Form) -> Produced:
        try:
            async with aclosing(read_ahead(stream, form)) as batches:
                async for batch in batches:
                    await self._send(batch)
                    await self._settle(keep=UNDELIVERED)
            await self._settle(keep=0)
        except Unreadable as error:
            raise Failed(str(error)) from error
        finally:
            for _, sent in self._waiting:
                sent.cancel()  # nobody will look at them any more
        return self._produced

    async def _send(self, batch: list[Row | Broken]) -> None:
        for row in batch:
            if isinstance(row, Broken):
                self._name(row)
                continue
            try:
                sent = await self._producer.send(self._topic, key=row.key, value=row.value)
            except MessageSizeTooLargeError:
                self._name(Broken(row.line, "too large for Kafka"))
            except KafkaError as error:
                raise self._lost(self._waiting[0][0] if self._waiting else row.line, error) from error
            else:
                self._waiting.append((row.line, sent))

    async def _settle(self, keep: int) -> None:
        while len(self._waiting) > keep or (self._waiting and self._waiting[0][1].done()):
            line, sent = self._waiting.popleft()
            try:
                await asyncio.wait_for(sent, PATIENCE_S)
                self._produced.touches += 1
            except MessageSizeTooLargeError:
                self._name(Broken(line, "too large for the topic"))
            except TimeoutError as error:
                raise self._lost(line, KafkaTimeoutError(f"nothing acknowledged for {PATIENCE_S:.0f} s")) from error
            except KafkaError as error:
                raise self._lost(line, error) from error
        self._progress(self._produced.touches)

    def _name(self, broken: Broken) -> None:
        self._produced.broken += 1
        self._complain(f"line {broken.line}: {broken.why}; skipped")

    def _lost(self, line: int, error: BaseException) -> Failed:
        # Producing all of it again is right: the pipeline drops what it has already.
        return Failed(
            f"Kafka refused line {line}: {error}; {self._produced.touches:,} touches are in; produce the file again, "
            "repeats are dropped"
        )
