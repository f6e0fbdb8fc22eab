"""Topics with another partition count than configured: which ones stop a worker, and which records stay unread."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from pipeline.engine.stop_client import stop_client

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from pipeline.engine.app_protocol import AppProtocol
    from pipeline.engine.required_topic import RequiredTopic

log = logging.getLogger(__name__)

LOOK_EVERY_S = 10.0
"""Interval of looks at the consumer's own metadata."""
WARN_EVERY_S = 3_600.0
ASSIGNED_EVERY_S = 2.0
TIMEOUT_S = 30.0

RecordCounts = tuple[int, int]
"""(records that partitions hold now, records they have ever held)."""


async def partition_count_faults(
    connection: Mapping[str, Any], needed: Sequence[RequiredTopic], existing: Mapping[str, int]
) -> list[tuple[bool, str]]:
    """Return (whether it stops a worker, the line to show) per topic with another partition count than its spec.

    `existing` has the partition count of each existing topic. Raises KafkaError, TimeoutError.
    """
    held = await _count_beyond(
        connection, {t.name: (t.partitions, existing[t.name]) for t in needed if existing.get(t.name, 0) > t.partitions}
    )
    return [
        assess(
            topic,
            existing[topic.name],
            held.get(topic.name, (0, 0)),
            _known(needed, existing, topic),
            connection["bootstrap_servers"][0],
        )
        for topic in needed
        if existing.get(topic.name, topic.partitions) != topic.partitions
    ]


def assess(
    topic: RequiredTopic, found: int, beyond: RecordCounts, known: frozenset[int], server: str
) -> tuple[bool, str]:
    """Return (whether `topic` with `found` partitions stops a worker, the line to show).

    `beyond` counts the records in partitions beyond the configured ones. `known` are the partition counts of the
    pipeline's other internal topics: none before its first start.
    """
    has = f"topic {topic.name} has {found} partitions, {topic.partitions} are configured"
    if found < topic.partitions:
        if known and topic.partitions not in known and not topic.may_grow:
            return True, f"{has}; a pipeline that has run keeps their number: configure {found} partitions"
        tool = f"kafka-topics.sh --bootstrap-server {server}"
        return True, f"{has}; fix it with: {tool} --alter --topic {topic.name} --partitions {topic.partitions}"
    if (topic.is_public and topic.partitions not in known) or (not topic.is_public and beyond[1]):
        return True, f"{has}; fix it with: configure {found} partitions"
    return False, growth_line(topic.name, topic.partitions, found, beyond[0] if topic.is_public else None)


def growth_line(topic: str, known: int, found: int, waiting: int | None) -> str:
    """Return the line about a topic with more partitions than configured; `waiting` is None where nothing is written there."""
    has = f"topic {topic} has {found} partitions, {known} are configured: only those are read"
    if waiting is None:
        return f"{has}, the others stay empty"
    return (
        f"{has}; {waiting} records in partitions {known} to {found - 1} are not read, nor are those that producers write "
        "there (docs/operations.md, 'A topic that has grown', moves them)"
    )


def _known(needed: Iterable[RequiredTopic], existing: Mapping[str, int], topic: RequiredTopic) -> frozenset[int]:
    others = (t for t in needed if t.name in existing and t is not topic)
    return frozenset(existing[t.name] for t in others if not t.is_public and not t.may_grow)


async def _count_beyond(
    connection: Mapping[str, Any], grown_topics: Mapping[str, tuple[int, int]]
) -> dict[str, RecordCounts]:
    """Return the records in the added partitions by topic; `grown_topics` has (configured, found) counts. Raises KafkaError."""
    if not grown_topics:
        return {}
    partitions = [
        TopicPartition(topic, p) for topic, (known, found) in grown_topics.items() for p in range(known, found)
    ]
    consumer = AIOKafkaConsumer(**connection, enable_auto_commit=False)
    await consumer.start()
    try:
        async with asyncio.timeout(TIMEOUT_S):
            begin, end = await consumer.beginning_offsets(partitions), await consumer.end_offsets(partitions)
    finally:
        await stop_client(consumer.stop())
    return {
        topic: (
            sum(end[tp] - begin[tp] for tp in partitions if tp.topic == topic),
            sum(end[tp] for tp in partitions if tp.topic == topic),
        )
        for topic in grown_topics
    }


async def warn_of_growth(app: AppProtocol) -> None:
    """Log which inputs have added partitions: at the start, when it happens, and once an hour."""
    logged: dict[str, tuple[int, float]] = {}
    while not app.should_stop:
        await asyncio.sleep(LOOK_EVERY_S)
        for topic in app.ownership.agents:
            known, found = app.engine_config.partitions.get(topic), app.partitions_of(topic)
            before, at = logged.get(topic, (0, 0.0))
            if known is not None and found > known and (found != before or time.monotonic() - at > WARN_EVERY_S):
                logged[topic] = found, time.monotonic()
                await _warn(app, topic, known, found)


async def _warn(app: AppProtocol, topic: str, known: int, found: int) -> None:
    waiting = None
    try:
        if not app.ownership.is_internal(topic):
            waiting = (await _count_beyond(app.engine_config.connection, {topic: (known, found)}))[topic][0]
    except (KafkaError, OSError, TimeoutError) as error:
        log.debug("the records beyond partition %d of %s cannot be counted: %r", known, topic, error)
        return
    log.warning("%s", growth_line(topic, known, found, waiting))


async def keep_assigned(app: AppProtocol) -> None:
    """Request a rebalance when a partition that the pipeline reads is assigned to no worker.

    A static member that returns gets its previous assignment. If a topic was missing when that was made, and exists again
    before this process first looks, no event would start a rebalance.
    """
    missing: set[TopicPartition] = set()
    while not app.should_stop:
        await asyncio.sleep(ASSIGNED_EVERY_S)
        if app.rebalancing or not app.ownership.is_ready:
            continue
        seen = {tp for tp in _known_inputs(app) if not app.is_assigned(tp)}
        if seen & missing:
            log.warning("%s[%d] is assigned to no worker: a rebalance is requested", *min(seen & missing))
            app.rejoin()
            seen = set()
        missing = seen


def _known_inputs(app: AppProtocol) -> Iterator[TopicPartition]:
    for topic in app.ownership.agents:
        for number in range(min(app.engine_config.partitions.get(topic, 0), app.partitions_of(topic))):
            yield TopicPartition(topic, number)
