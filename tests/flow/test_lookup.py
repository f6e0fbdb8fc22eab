"""The look-up copy on a real Kafka: what is committed is found, and of which moment it is."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from pipeline import flow
from pipeline.kafka.cluster import Cluster
from pipeline.lookup.keepers import CopyReaders
from pipeline.lookup.opened import OpenedCopy, open_copy
from pipeline.records.published import ValueReader
from pipeline.records.writing import single_object
from tests.harness.lookup import DAY_MS
from tests.harness.odd_batches import batch, put, record

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

NAMES = ("status", "delivery", "dead_letter", "suppression", "audit")
TOPICS = (flow.STATUS, flow.DELIVERIES, flow.DEAD_LETTERS)


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def status(touch_id: str, state: str = "accepted", **more: Any) -> dict[str, Any]:
    told = {"touch_id": touch_id, "campaign_id": "spring", "lead_id": "ann", "channel": "sms", "attempt": 0}
    return {**told, "state": state, "sequence": 1, "occurred_at": now_ms(), **more}


class CopySite:
    """The topics, and copies of them."""

    def __init__(self, servers: list[str], prefix: str, folder: Path) -> None:
        self.cluster = Cluster({"bootstrap_servers": servers}, prefix)
        self.folder = folder

    @asynccontextmanager
    async def admin(self) -> AsyncIterator[AIOKafkaAdminClient]:
        admin = AIOKafkaAdminClient(**self.cluster.connection)
        await admin.start()
        try:
            yield admin
        finally:
            await admin.close()

    async def create(self, *topics: str) -> None:
        async with self.admin() as admin:
            await admin.create_topics([NewTopic(self.cluster.topic_name(topic), 2, 1) for topic in topics])

    @asynccontextmanager
    async def producer(self, name: str) -> AsyncIterator[AIOKafkaProducer]:
        producer = AIOKafkaProducer(**self.cluster.connection, transactional_id=self.cluster.topic_name(name))
        await producer.start()
        try:
            yield producer
        finally:
            await producer.stop()

    async def send(self, producer: AIOKafkaProducer, *told: dict[str, Any], partition: int = 0) -> None:
        topic = self.cluster.topic_name(flow.STATUS)
        for each in told:
            await producer.send_and_wait(topic, single_object("status", each), partition=partition)

    async def commit(self, *told: dict[str, Any], partition: int = 0) -> None:
        async with self.producer("teller") as producer, producer.transaction():
            await self.send(producer, *told, partition=partition)

    @asynccontextmanager
    async def copy(self, name: str = "copy") -> AsyncIterator[OpenedCopy]:
        read = CopyReaders(**{each: ValueReader(each) for each in NAMES})
        copy = open_copy(self.folder / name, self.cluster, read, keep_ms=30 * DAY_MS, now_ms=now_ms)
        reading = asyncio.create_task(copy.projector.run())
        try:
            yield copy
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
            copy.close()


async def until(is_so: Callable[[], object], within_s: float = 60) -> None:
    async with asyncio.timeout(within_s):
        while not is_so():
            await asyncio.sleep(0.02)


@pytest.fixture
async def site(kafka, topic_prefix, tmp_path) -> CopySite:
    made = CopySite(kafka, topic_prefix, tmp_path)
    await made.create(*TOPICS)
    return made


async def test_a_record_that_cannot_be_parsed_takes_none_of_its_neighbours_with_it(site):
    names = [f"good-{number}" for number in range(40)]
    for number in range(2):
        await site.commit(*map(status, names[number::2]), partition=number)
    odd = [
        record(n, single_object("status", status(name)), [(b"\xff", b"")] * (n == 1)) for n, name in enumerate("abc")
    ]
    async with site.producer("odd") as producer:
        await put(producer, TopicPartition(site.cluster.topic_name(flow.STATUS), 1), batch(odd, codec=1))
    await site.commit(status("after"), partition=1)
    async with site.copy() as copy:
        await until(lambda: copy.lookup.touch("after"))
        assert [name for name in [*names, "a", "b", "c"] if not copy.lookup.touch(name)] == ["b"]
        assert copy.copying.unreadable.count == {flow.STATUS: 1}


async def test_what_is_committed_is_found_and_nothing_else(site):
    await site.commit(status("before"))
    async with site.copy() as copy, site.producer("slow") as slow:
        lookup = copy.lookup
        await until(lambda: lookup.as_of_ms)
        assert lookup.touch("before")["state"] == "accepted"
        await slow.begin_transaction()
        await site.send(slow, status("open"))
        took = []
        for number in range(5):
            await site.commit(status(f"quick-{number}"), partition=1)
            committed = time.monotonic()
            await until(lambda number=number: lookup.touch(f"quick-{number}"))
            took.append(time.monotonic() - committed)
        print(f"look-up copy: visible {max(took) * 1000:.0f} ms after the commit at most (wanted: 2,000)")
        await site.commit(status("behind"))
        behind_ms = now_ms()
        assert lookup.touch("open") is None
        assert lookup.touch("behind") is None, "it stands behind an open transaction: nobody can read it yet"
        await asyncio.sleep(1)
        assert lookup.as_of_ms <= behind_ms, "the copy does not claim what it cannot have"
        await slow.commit_transaction()
        await until(lambda: lookup.as_of_ms > behind_ms)
        assert lookup.touch("open")
        assert lookup.touch("behind")
        await until(lambda: lookup.lag_records == 0)
        assert lookup.lag_s < 30
