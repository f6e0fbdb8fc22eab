"""Orders, and the fingerprint of `privacy.key`, as commands and the start of a worker read and write them: `touches.control`."""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from aiokafka.errors import InvalidProducerEpoch, KafkaError, ProducerFenced

from pipeline.domain.order import PlacedOrder
from pipeline.flow import AUDIT, CONTROL
from pipeline.kafka.cluster import CommandFailed, unreached
from pipeline.kafka.topic import TopicSource, read_topic
from pipeline.kafka.transaction import SHORT_S, Outgoing, open_short_writer, open_transactional, transaction
from pipeline.records.control import PRIVACY_KEY, decode_order, encode_order

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pipeline.domain.order import Order
    from pipeline.engine.record_consumer import ReadRecord
    from pipeline.kafka.cluster import Cluster

TRIED_S: Final = 30.0
AGAIN_S: Final = 0.5
_ACCEPT: Final = "faust -A pipeline hash --accept-key"


@dataclass(slots=True)
class ControlLog:
    """What `touches.control` says now."""

    orders: dict[str, PlacedOrder] = field(default_factory=dict)
    """The latest of each key, by offset."""
    fingerprint: str | None = None
    """That of the `privacy.key` in use; None: no worker has started yet."""

    def take(self, record: ReadRecord) -> None:
        """Take the next record in. Raises UndecodableValue for one that is no order."""
        if record.key == PRIVACY_KEY:
            self.fingerprint = (record.value or b"").decode("ascii", "replace") or None
            return
        if record.value is None:
            self.orders.pop((record.key or b"").decode("utf-8", "replace"), None)
            return
        order = decode_order(record.key, record.value)
        self.orders.pop(order.key, None)
        self.orders[order.key] = PlacedOrder(record.offset, order)

    def check_key(self, fingerprint: str) -> None:
        """Raise CommandFailed if the addresses were hashed with another `privacy.key` than the configured one."""
        if self.fingerprint is not None and self.fingerprint != fingerprint:
            raise CommandFailed(
                "privacy.key is not the one with which the addresses were hashed so far: suppressions and statuses would "
                f"no longer match. Configure the former key; or accept this one with: {_ACCEPT}"
            )


async def read_control(cluster: Cluster, complain: Callable[[str], None]) -> ControlLog:
    """Return what `touches.control` says at its present end. Raises CommandFailed when Kafka or the topic is away."""
    log = ControlLog()
    source: TopicSource[None] = TopicSource(cluster, CONTROL, log.take, lambda _: 0, complain)
    async with aclosing(read_topic(source)) as nothing:
        async for _ in nothing:
            pass
    return log


async def write_order(cluster: Cluster, order: Order, audit: Outgoing, forgotten: Iterable[str] = ()) -> int:
    """Commit `order` with its `audit` record and return its offset; the orders with the keys `forgotten` are deleted with it.

    Raises CommandFailed when Kafka is away; nothing is written then.
    """
    nulls = [Outgoing(CONTROL, key.encode(), None, partition=0) for key in forgotten]
    ordered = Outgoing(CONTROL, order.key.encode(), encode_order(order), partition=0)
    async with open_short_writer(cluster, CONTROL, AUDIT) as write:
        return (await write([*nulls, ordered, audit]))[len(nulls)].offset


async def settle_fingerprint(
    cluster: Cluster, fingerprint: str, complain: Callable[[str], None], *, is_accepted: bool = False
) -> None:
    """Check the fingerprint of the configured `privacy.key`, and record it where there is none, or if `is_accepted`.

    Workers that start together on a new cluster disturb each other: Kafka may answer a transaction with an error of its
    own, so that is tried again for `TRIED_S`. Raises CommandFailed when another one is recorded, or Kafka is away.
    """
    began = time.monotonic()
    while True:
        log = await read_control(cluster, complain)
        if log.fingerprint == fingerprint:
            return
        if not is_accepted:
            log.check_key(fingerprint)
        try:
            if await _record(cluster, fingerprint, log.fingerprint, complain):
                return
        except (KafkaError, OSError, TimeoutError) as error:
            if time.monotonic() - began > TRIED_S:
                raise await unreached(cluster, error) from error
            await asyncio.sleep(AGAIN_S)


async def _record(cluster: Cluster, fingerprint: str, before: str | None, complain: Callable[[str], None]) -> bool:
    """Record `fingerprint` if `before` still stands; return whether that was done. Of two at once one is fenced.

    Raises KafkaError, OSError, TimeoutError.
    """
    try:
        async with open_transactional(cluster, "pipeline-privacy-key", timeout_ms=SHORT_S * 1000) as producer:
            if (await read_control(cluster, complain)).fingerprint != before:
                return False
            async with transaction(producer, SHORT_S):
                await producer.send_and_wait(
                    cluster.topic_name(CONTROL), fingerprint.encode(), PRIVACY_KEY, partition=0
                )
            return True
    except (ProducerFenced, InvalidProducerEpoch):
        return False
