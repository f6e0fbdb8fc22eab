"""Counts what became of the touches, from what users can see: statuses, deliveries, suppressions, dead letters, metrics."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson
from aiokafka import AIOKafkaConsumer, TopicPartition

from pipeline.console.status.view import ENDS, epoch_ms
from pipeline.engine.stop_client import stop_client
from pipeline.kafka.cluster import Cluster, partition_counts
from pipeline.records.published import ValueReader

if TYPE_CHECKING:
    from collections.abc import Mapping

DEAD_LETTERS, STATUS = "touches.dead-letters", "touches.status"
DELIVERIES, SUPPRESSIONS = "touches.deliveries", "touches.suppressions"
NO_CHANNEL = "unreadable"
CHANNELS = ("whatsapp", "email", "sms")


@dataclass(slots=True)
class Tally:
    """The statuses of every touch so far, its deliveries, and every suppression and dead letter."""

    stories: dict[str, list[Mapping[str, Any]]] = field(default_factory=dict)
    dead_letters: list[Mapping[str, Any]] = field(default_factory=list)
    deliveries: list[Mapping[str, Any]] = field(default_factory=list)
    suppressions: list[Mapping[str, Any]] = field(default_factory=list)
    records: int = 0
    """Seen so far, of all kinds."""

    def last(self) -> list[Mapping[str, Any]]:
        """Return the latest record of every touch."""
        return [story[-1] for story in self.stories.values()]

    def is_settled(self, touch_id: str, until_ms: int) -> bool:
        """Whether the touch has ended, or waits for an instant after `until_ms`."""
        story = self.stories.get(touch_id)
        if not story:
            return False
        last = story[-1]
        waits = last["state"] == "deferred" and epoch_ms(last["next_attempt_at"]) > until_ms
        return waits or last["state"] in ENDS

    def states(self) -> Counter[tuple[str, str]]:
        """Return how many touches are in which (channel, state)."""
        return Counter((told["channel"], told["state"]) for told in self.last())

    def dead_by_channel(self) -> Counter[str]:
        """Return how many dead letters there are by the channel they name."""
        return Counter(channel_of(letter["value"]) for letter in self.dead_letters)

    def told(self, state: str, reason: str | None = None) -> list[Mapping[str, Any]]:
        """Return every record with that state (and reason)."""
        records = [told for story in self.stories.values() for told in story]
        return [each for each in records if each["state"] == state and reason in {None, each["reason"]}]


def channel_of(value: bytes | None) -> str:
    """Return the channel that a dead letter's value names, if it can be read at all."""
    try:
        channel = orjson.loads(value or b"")["channel"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return NO_CHANNEL
    return channel if channel in CHANNELS else NO_CHANNEL


async def watch(cluster: Cluster, tally: Tally) -> None:
    """Put every status, delivery, suppression and dead letter into `tally`, until cancelled."""
    counts = await partition_counts(cluster)
    topics = {
        cluster.topic_name(STATUS): ValueReader("status"),
        cluster.topic_name(DEAD_LETTERS): ValueReader("dead_letter"),
        cluster.topic_name(DELIVERIES): ValueReader("delivery"),
        cluster.topic_name(SUPPRESSIONS): ValueReader("suppression"),
    }
    kafka = AIOKafkaConsumer(
        **cluster.connection,
        isolation_level="read_committed",
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        fetch_max_wait_ms=100,
    )
    await kafka.start()
    try:
        kafka.assign([TopicPartition(topic, number) for topic in topics for number in range(counts[topic])])
        while True:
            for partition, records in (await kafka.getmany(timeout_ms=200)).items():
                for record in records:
                    if record.value is None:  # an entry that was lifted
                        continue
                    _add(tally, partition.topic, topics[partition.topic](record.value))
            await asyncio.sleep(0)
    finally:
        await stop_client(kafka.stop())


def _add(tally: Tally, topic: str, record: Mapping[str, Any]) -> None:
    tally.records += 1
    others = {DEAD_LETTERS: tally.dead_letters, DELIVERIES: tally.deliveries, SUPPRESSIONS: tally.suppressions}
    for name, records in others.items():
        if topic.endswith(name):
            records.append(record)
            return
    tally.stories.setdefault(record["touch_id"], []).append(record)
