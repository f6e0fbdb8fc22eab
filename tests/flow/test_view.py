"""The view of orders and suppressions on a real Kafka: read committed, to the end, kept over restarts, and lost loudly."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from pipeline import flow
from pipeline.agents.control import Control, Entries, Orders, SkippedRecords
from pipeline.domain.order import Action, Order, Target
from pipeline.domain.suppression import Scope, Suppression, SuppressionReason
from pipeline.engine.config import EngineConfig
from pipeline.engine.required_topic import RequiredTopic
from pipeline.engine.store import RocksStore
from pipeline.engine.topics import ensure_topics
from pipeline.engine.view import Views
from pipeline.records.control import encode_order, encode_suppression
from pipeline.records.published import ValueReader
from pipeline.records.writing import json_object, single_object
from tests.harness.odd_batches import batch, put, record

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from pipeline.stage_io import Record

T0 = 1_700_000_000_000


def order(target: str) -> Order:
    return Order(Action.PAUSE, Target.parse(target), note="why", by="me", at_ms=T0)


def entry(lead: str) -> Suppression:
    return Suppression(Scope.ANY, lead_id=lead, reason=SuppressionReason.MANUAL, by="me", at_ms=T0)


class Reader:
    """What one worker knows; `open` reads until the block ends."""

    def __init__(self, servers: list[str], prefix: str, folder: Path) -> None:
        self.config = EngineConfig({"bootstrap_servers": servers}, f"{prefix}pipeline", prefix, folder)
        self.skipped: list[str] = []
        self.taken: list[int] = []
        self.moves = 0
        self.store: RocksStore | None = None

    async def create(self) -> None:
        specs = flow.topics(partitions=1, lanes=1, replication=1, dedup_for_ms=86_400_000)
        needed = [
            RequiredTopic(self.config.topic_name(each.name), each.partitions, each.settings)
            for each in specs
            if each.name in (flow.CONTROL, flow.SUPPRESSIONS)
        ]
        await ensure_topics(self.config.connection, needed, 1)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Control]:
        skipped = SkippedRecords(self.skipped.append, lambda: T0)

        def store() -> RocksStore:
            self.store = RocksStore(self.config.folder / "entries")
            return self.store

        entries = Entries(store, ValueReader("suppression"), skipped)
        take = entries.apply

        def apply(records: list[Record], next_offset: int) -> bool:
            self.taken.append(len(records))
            return take(records, next_offset)

        entries.apply = apply
        control = Control(Orders(skipped, lambda: T0, 0), entries, b"", lambda: T0)
        views = Views(self.config, control.keepers, on_move=self._moved, on_identity=lambda *_: None)
        running = asyncio.create_task(views.run())
        try:
            await asyncio.wait_for(views.catch_up(), 30)
            self.views = views
            yield control
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            if self.store is not None:
                self.store.close()

    def _moved(self) -> None:
        self.moves += 1

    @asynccontextmanager
    async def producing(self, name: str | None = None) -> AsyncIterator[AIOKafkaProducer]:
        producer = AIOKafkaProducer(**self.config.connection, transactional_id=name and self.config.topic_name(name))
        await producer.start()
        try:
            yield producer
        finally:
            await producer.stop()

    async def order(self, *targets: str) -> None:
        async with self.producing("orders") as producer, producer.transaction():
            for each in map(order, targets):
                await producer.send(
                    self.config.topic_name(flow.CONTROL), encode_order(each), each.key.encode(), partition=0
                )

    async def suppress(self, *leads: str, write=single_object) -> None:
        async with self.producing() as producer:
            for each in map(entry, leads):
                topic = self.config.topic_name(flow.SUPPRESSIONS)
                await producer.send_and_wait(topic, encode_suppression(write, each), each.key.encode(), partition=0)


@pytest.fixture
async def reader(kafka, topic_prefix, tmp_path) -> Reader:
    made = Reader(kafka, topic_prefix, tmp_path)
    await made.create()
    return made


def leads_of(control: Control, *leads: str) -> list[str]:
    return [lead for lead in leads if control.entries.of("no hash", lead)]


async def test_everything_that_is_committed_is_known_and_nothing_else(reader):
    await reader.order("all", "campaign=a")
    await reader.suppress("one")
    await reader.suppress("two", write=json_object)
    async with reader.producing("open") as producer:
        await producer.begin_transaction()
        late = order("campaign=late")
        await producer.send_and_wait(
            reader.config.topic_name(flow.CONTROL), encode_order(late), late.key.encode(), partition=0
        )
        async with reader.open() as control:
            assert {each.order.key for each in control.orders_from(0)} == {"pause:all", "pause:campaign=a"}
            assert leads_of(control, "one", "two", "three") == ["one", "two"]
            assert (control.control_offset, control.suppressions_offset) == (2, 2)
            moves = reader.moves
            await producer.commit_transaction()
            await asyncio.wait_for(reader.views.catch_up(), 10)
            assert "pause:campaign=late" in {each.order.key for each in control.orders_from(0)}
            assert reader.moves == moves + 1
            assert reader.views.is_read


async def test_a_restart_goes_on_where_the_entries_end_and_reads_orders_anew(reader):
    await reader.order("all")
    await reader.suppress(*(f"l{n}" for n in range(50)))
    async with reader.open() as control:
        assert control.entries.counts == {("*", "manual"): 50}
    await reader.suppress("more")
    reader.taken.clear()
    async with reader.open() as control:
        assert control.entries.counts == {("*", "manual"): 51}
        assert leads_of(control, "l7", "more", "none") == ["l7", "more"]
        assert sum(reader.taken) == 1
        assert len(list(control.orders_from(0))) == 1
        assert (control.control_read, control.suppressions_read) == (2, 51)


async def test_what_cannot_be_read_is_skipped_and_counted(reader):
    async with reader.producing() as producer:
        good, topic = order("all"), reader.config.topic_name(flow.CONTROL)
        await producer.send_and_wait(topic, b"junk", b"pause:all", partition=0)
        await producer.send_and_wait(topic, encode_order(good), b"pause:other", partition=0)
        await producer.send_and_wait(topic, encode_order(good), good.key.encode(), partition=0)
        topic = reader.config.topic_name(flow.SUPPRESSIONS)
        await producer.send_and_wait(topic, b"{}", b"*:lead:a:manual", partition=0)
        await producer.send_and_wait(topic, b"{}", b"no entry", partition=0)
    await reader.suppress("b")
    async with reader.open() as control:
        assert [each.order.key for each in control.orders_from(0)] == ["pause:all"]
        assert leads_of(control, "a", "b") == ["b"]
        assert sorted(reader.skipped) == [flow.CONTROL] * 2 + [flow.SUPPRESSIONS] * 2


async def test_a_record_that_cannot_be_parsed_takes_none_of_its_neighbours_with_it(reader):
    await reader.order("all")
    await reader.suppress(*(f"before{n}" for n in range(20)))
    async with reader.producing() as producer:
        rows = [(lead, encode_suppression(single_object, entry(lead)), entry(lead).key.encode()) for lead in "abc"]
        odd = [record(n, value, [(b"\xff", b"")] * (n == 1), key=key) for n, (_, value, key) in enumerate(rows)]
        await put(producer, TopicPartition(reader.config.topic_name(flow.SUPPRESSIONS), 0), batch(odd, codec=1))
    await reader.suppress("after")
    async with reader.open() as control:
        assert len(leads_of(control, *(f"before{n}" for n in range(20)))) == 20
        assert leads_of(control, "a", "b", "c", "after") == ["a", "c", "after"]
        assert reader.skipped == [flow.SUPPRESSIONS]
        assert [each.order.key for each in control.orders_from(0)] == ["pause:all"]


async def test_a_null_lifts_an_entry_and_forgets_an_order(reader):
    await reader.order("all", "campaign=a")
    await reader.suppress("a", "b")
    async with reader.open() as control:
        async with reader.producing() as producer:
            await producer.send_and_wait(reader.config.topic_name(flow.CONTROL), None, b"pause:all", partition=0)
            await producer.send_and_wait(
                reader.config.topic_name(flow.SUPPRESSIONS), None, entry("a").key.encode(), partition=0
            )
        await asyncio.wait_for(reader.views.catch_up(), 10)
        assert [each.order.key for each in control.orders_from(0)] == ["pause:campaign=a"]
        assert leads_of(control, "a", "b") == ["b"]
        assert control.entries.counts == {("*", "manual"): 1}


async def test_a_topic_that_was_made_anew_is_read_anew(reader):
    await reader.suppress("a", "b", "c")
    async with reader.open() as control:
        assert control.suppressions_read == 3
    admin = AIOKafkaAdminClient(**reader.config.connection)
    await admin.start()
    try:
        await admin.delete_topics([reader.config.topic_name(flow.SUPPRESSIONS)])
        await asyncio.sleep(1)
    finally:
        await admin.close()
    await reader.create()
    await reader.suppress("d")
    async with reader.open() as control:
        assert leads_of(control, "a", "b", "c", "d") == ["d"]
        assert control.suppressions_read == 1
