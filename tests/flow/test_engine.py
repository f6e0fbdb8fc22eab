"""The engine on a real Kafka: nothing lost, nothing twice, state exact, whatever happens to the workers."""

from __future__ import annotations

import asyncio
import random
import signal
import time
from typing import TYPE_CHECKING

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from rocksdict import WriteBatch

from pipeline.engine.changelog import ChangelogReader
from pipeline.engine.producer import CommitFailed, FencedProducer, RecordRefused
from pipeline.engine.required_topic import RequiredTopic
from pipeline.engine.store import RocksStore
from pipeline.engine.table import FencedTable
from pipeline.engine.topics import TopicMismatch, ensure_topics
from pipeline.engine.trim import trim
from pipeline.stage_io import Output
from tests.harness.engine import Road, Workers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture
async def road(kafka: list[str], topic_prefix: str) -> Road:
    road = Road(kafka, topic_prefix)
    await road.create()
    return road


@pytest.fixture
async def workers(kafka: list[str], topic_prefix: str, tmp_path: Path) -> AsyncIterator[Workers]:
    workers = Workers(kafka, topic_prefix, tmp_path)
    yield workers
    workers.kill_all()


async def test_two_workers_killed_again_and_again_lose_nothing_and_repeat_nothing(road: Road, workers: Workers) -> None:
    dice, killed = random.Random(1), 0
    next_kill = time.monotonic() + 3

    async def harm() -> None:
        nonlocal killed, next_kill
        workers.restart_the_dead()
        if time.monotonic() > next_kill and killed < 6:
            workers.kill(dice.randrange(2))
            workers.restart_the_dead()
            killed, next_kill = killed + 1, time.monotonic() + 2

    for number in range(2):
        workers.start(number)
    producing = asyncio.create_task(road.produce(8_000, per_s=500))
    await road.collect(8_000, meanwhile=harm)
    await producing
    assert killed == 6
    road.assert_exact()


async def test_a_frozen_worker_that_wakes_after_its_partitions_moved_writes_nothing(
    road: Road, workers: Workers
) -> None:
    workers.start(0)
    workers.start(1)
    producing = asyncio.create_task(road.produce(6_000, per_s=200))
    began = time.monotonic()
    freezes = [
        (4.0, 0, signal.SIGSTOP),
        (14.0, 0, signal.SIGCONT),
        (15.0, 1, signal.SIGSTOP),
        (24.0, 1, signal.SIGCONT),
    ]

    async def harm() -> None:
        while freezes and time.monotonic() - began > freezes[0][0]:
            _, number, what = freezes.pop(0)
            workers.send(number, what)
        workers.restart_the_dead()

    await road.collect(6_000, meanwhile=harm)
    await producing
    assert not freezes
    road.assert_exact()


async def test_a_rebalance_in_the_middle_of_batches_loses_nothing(road: Road, workers: Workers) -> None:
    workers.start(0)
    producing = asyncio.create_task(road.produce(8_000, per_s=600))
    began = time.monotonic()
    joins = [(3.0, workers.start, 1), (6.0, workers.start, 2), (9.0, workers.stop, 1), (11.0, workers.stop, 2)]

    async def rebalance() -> None:
        while joins and time.monotonic() - began > joins[0][0]:
            _, act, number = joins.pop(0)
            await asyncio.to_thread(act, number)

    await road.collect(8_000, meanwhile=rebalance)
    await producing
    assert not joins
    road.assert_exact()


async def test_sigterm_under_load_exits_0_with_what_was_decided_committed(road: Road, workers: Workers) -> None:
    await road.produce(20_000)
    workers.start(0)
    await road.collect(2_000)
    assert await asyncio.to_thread(workers.stop, 0, 15.0) == 0
    workers.start(1)
    await road.collect(20_000)
    road.assert_exact()


@pytest.mark.usefixtures("topics")
async def test_a_restore_is_read_in_portions(
    kafka: list[str], topic_prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = await _table(kafka, topic_prefix, tmp_path / "a")
    await table.commit({b"k%d" % number: b"v" for number in range(10_000)}, [], 10_000)
    await table.close()
    written: list[int] = []
    apply = RocksStore._apply

    def watched(store: RocksStore, rows: WriteBatch, position: int, *, is_bulk: bool = False) -> None:
        written.append(rows.len())
        apply(store, rows, position, is_bulk=is_bulk)

    monkeypatch.setattr(RocksStore, "_apply", watched)
    monkeypatch.setattr("pipeline.engine.store.PORTION_RECORDS", 1_000)
    again = await _table(kafka, topic_prefix, tmp_path / "b")
    await _restore(kafka, again)
    assert again.next_offset == sum(1 for _ in again.scan(b"k", b"l")) == 10_000
    assert max(written) <= 1_000
    await again.close()


async def test_the_group_is_told_how_far_the_tables_are(
    road: Road, workers: Workers, kafka: list[str], topic_prefix: str
) -> None:
    """Lag is what operators look at; nothing is read from there."""
    partitions = [TopicPartition(f"{topic_prefix}numbers", number) for number in range(road.partitions)]
    await road.produce(1_000)
    workers.start(0)
    await road.collect(1_000)
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    try:
        async with asyncio.timeout(10):
            told: dict[TopicPartition, int] = {}
            while sum(told.values()) != 1_000:
                await asyncio.sleep(0.1)
                found = await admin.list_consumer_group_offsets(f"{topic_prefix}engine", partitions=partitions)
                told = {tp: kept.offset for tp, kept in found.items()}
    finally:
        await admin.close()


async def test_a_slow_partition_does_not_hold_up_its_neighbours(
    kafka: list[str], topic_prefix: str, tmp_path: Path
) -> None:
    road = Road(kafka, topic_prefix)
    await road.create()
    workers = Workers(kafka, topic_prefix, tmp_path, slow=True)
    producer = AIOKafkaProducer(bootstrap_servers=kafka)
    await producer.start()
    for number in range(50_000):
        partition = 0 if number < 20_000 else 1 + number % 3
        await producer.send(
            f"{topic_prefix}numbers", key=b"k%d" % partition, value=b"%-600d" % number, partition=partition
        )
    await producer.stop()
    workers.start(0)
    try:
        await road.collect(30_000, deadline_s=20)
        slow = sum(1 for value in road.values if int(value) < 20_000)
        assert road.values.total() - slow >= 25_000, "the neighbours had to wait"
        assert slow <= 5_000
    finally:
        workers.kill_all()


async def _table(kafka: list[str], prefix: str, folder: Path, name: str = "t") -> FencedTable:
    table = FencedTable(
        name,
        0,
        RocksStore(folder),
        {"bootstrap_servers": kafka},
        application=f"{prefix}engine",
        topic_name=lambda topic: prefix + topic,
    )
    await table.fence()
    return table


async def _restore(kafka: list[str], table: FencedTable) -> None:
    async with ChangelogReader({"bootstrap_servers": kafka}, delete_retention_s=86_400) as reader:
        await reader.restore([table])


@pytest.fixture(params=[True, False], ids=["Kafka 4", "before Kafka 4"])
async def transactions(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both forms of a transaction; this broker takes both."""

    async def told(_: FencedProducer) -> bool:
        return bool(request.param)

    monkeypatch.setattr(FencedProducer, "_has_transactions_v2", told)


async def test_the_cluster_says_which_transactions_it_takes(kafka: list[str], topic_prefix: str) -> None:
    producer = FencedProducer(f"{topic_prefix}versions", {"bootstrap_servers": kafka})
    await producer.open()
    assert producer._is_v2, "Kafka 4"
    await producer.close()


@pytest.fixture
async def topics(kafka: list[str], topic_prefix: str) -> None:
    await ensure_topics(
        {"bootstrap_servers": kafka},
        [
            RequiredTopic(f"{topic_prefix}t-changelog", 1, {"cleanup.policy": "compact"}),
            RequiredTopic(f"{topic_prefix}out", 1),
            RequiredTopic(f"{topic_prefix}small", 1, {"max.message.bytes": "1000"}),
        ],
        1,
    )


@pytest.mark.usefixtures("topics", "transactions")
async def test_a_record_refused_inside_a_transaction_leaves_nothing_committed(
    kafka: list[str], topic_prefix: str, tmp_path: Path
) -> None:
    table = await _table(kafka, topic_prefix, tmp_path / "a")
    with pytest.raises(RecordRefused):
        await table.commit({b"k": b"v"}, [Output("out", 0, b"k", b"v"), Output("small", 0, b"k", b"v" * 5_000)], 7)
    await table.close()
    again = await _table(kafka, topic_prefix, tmp_path / "b")
    await _restore(kafka, again)
    assert (again.get(b"k"), again.next_offset) == (None, 0)
    await again.close()


@pytest.mark.usefixtures("topics", "transactions")
async def test_a_successor_fences_its_predecessor(kafka: list[str], topic_prefix: str, tmp_path: Path) -> None:
    old = await _table(kafka, topic_prefix, tmp_path / "a")
    await old.commit({b"k": b"1"}, [], 1)
    new = await _table(kafka, topic_prefix, tmp_path / "b")
    await _restore(kafka, new)
    with pytest.raises(CommitFailed):
        await old.commit({b"k": b"zombie"}, [Output("out", 0, b"k", b"zombie")], 2)
    await new.commit({b"k": new.get(b"k") + b"2"}, [], 2)
    assert old.get(b"k") == b"1", "the spent table shows only what was committed"
    assert new.get(b"k") == b"12"
    await old.close()
    await new.close()


@pytest.mark.usefixtures("topics", "transactions")
async def test_a_changelog_is_read_to_its_end_over_markers_and_aborted_records(
    kafka: list[str], topic_prefix: str, tmp_path: Path
) -> None:
    table = await _table(kafka, topic_prefix, tmp_path / "a")
    for number in range(5):
        await table.commit({b"%d" % number: b"committed"}, [], number + 1)
    await table.commit({b"0": None}, [], 6)
    await table.close()
    aborted = AIOKafkaProducer(bootstrap_servers=kafka, transactional_id=f"{topic_prefix}engine-t-0")
    await aborted.start()
    await aborted.begin_transaction()
    await aborted.send_and_wait(f"{topic_prefix}t-changelog", key=b"9", value=b"aborted", partition=0)
    await aborted.abort_transaction()
    await aborted.stop()
    again = await _table(kafka, topic_prefix, tmp_path / "b")
    began = time.monotonic()
    await _restore(kafka, again)
    assert time.monotonic() - began < 10, "it waits for no record behind the last marker"
    assert [k for k, _ in again.scan(b"0", b"z")] == [b"1", b"2", b"3", b"4"]
    assert again.next_offset == 6
    await again.close()


@pytest.mark.usefixtures("topics")
async def test_a_store_that_runs_ahead_of_its_changelog_is_read_anew(
    kafka: list[str], topic_prefix: str, tmp_path: Path
) -> None:
    table = await _table(kafka, topic_prefix, tmp_path / "a")
    await table.commit({b"k": b"v"}, [], 1)
    table.store.write([(b"phantom", b"v")], 1_000)
    await table.close()
    again = await _table(kafka, topic_prefix, tmp_path / "a")
    await _restore(kafka, again)
    assert (again.get(b"phantom"), again.get(b"k")) == (None, b"v")
    await again.close()


@pytest.mark.usefixtures("topics", "transactions")
async def test_a_commit_larger_than_one_producer_batch_goes_out_whole(
    kafka: list[str], topic_prefix: str, tmp_path: Path
) -> None:
    table = await _table(kafka, topic_prefix, tmp_path / "a")
    await table.commit({b"%04d" % n: b"x" * 10_000 for n in range(300)}, [], 1)
    await table.close()
    again = await _table(kafka, topic_prefix, tmp_path / "a")
    async with ChangelogReader({"bootstrap_servers": kafka}, delete_retention_s=86_400) as reader:
        ((_, end),) = (await reader.bounds([TopicPartition(again.changelog, 0)])).values()
    position = again.store.position()
    assert position is not None
    assert position[0] == end - 1, "all but the marker"
    await again.close()


@pytest.mark.usefixtures("topics")
async def test_applied_records_are_trimmed_and_the_rest_stays(kafka: list[str], topic_prefix: str) -> None:
    connection, tp = {"bootstrap_servers": kafka}, TopicPartition(f"{topic_prefix}out", 0)
    producer = AIOKafkaProducer(bootstrap_servers=kafka)
    await producer.start()
    for number in range(10):
        await producer.send_and_wait(tp.topic, b"%d" % number, partition=0)
    await producer.stop()
    await trim(connection, {tp: 7})
    async with ChangelogReader(connection, delete_retention_s=86_400) as reader:
        assert await reader.bounds([tp]) == {tp: (7, 10)}


async def test_a_topic_with_other_partitions_is_refused_with_the_command_that_mends_it(
    kafka: list[str], topic_prefix: str
) -> None:
    connection = {"bootstrap_servers": kafka}
    await ensure_topics(connection, [RequiredTopic(f"{topic_prefix}x", 2)], 1)
    with pytest.raises(TopicMismatch, match=rf"--alter --topic {topic_prefix}x --partitions 4"):
        await ensure_topics(connection, [RequiredTopic(f"{topic_prefix}x", 4)], 1)
