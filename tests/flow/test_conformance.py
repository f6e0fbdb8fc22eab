"""What the engine relies on, held against the real Kafka and against the simulation's log alike: that one does not lie."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Protocol

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from pipeline.engine.config import EngineConfig
from pipeline.engine.required_topic import RequiredTopic
from pipeline.engine.table_opening import KafkaTables
from pipeline.engine.topics import ensure_topics
from pipeline.lab.simulation.log import Broker, SimulatedTables
from pipeline.lab.simulation.world import Process, World
from pipeline.stage_io import Output

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from pipeline.engine.ownership import OpenedTable

IN, OTHER_IN, OUT = "in", "other", "out"
ZERO, ONE, OTHER = TopicPartition(IN, 0), TopicPartition(IN, 1), TopicPartition(OTHER_IN, 0)
DEADLINE_S = 60.0


class LogUnderTest(Protocol):
    """A log with its tables: topics `in`, `other` and `out` of two partitions, tables `a` and `b`."""

    async def open(self, wanted: Mapping[TopicPartition, str]) -> Mapping[TopicPartition, OpenedTable]:
        """Take tables over as a new process does, with nothing of its own."""

    async def produce(self, topic: str, partition: int, value: bytes) -> None:
        """Append a record outside any transaction."""

    async def values(self, topic: str, partition: int) -> list[bytes | None]:
        """Return what a read_committed reader finds."""


class RealLog:
    def __init__(self, servers: list[str], prefix: str, folder: Path) -> None:
        self._servers, self._prefix, self._folder = servers, prefix, folder
        self._opened = 0

    async def prepare(self) -> None:
        topics = [RequiredTopic(f"{self._prefix}{name}", 2) for name in (IN, OTHER_IN, OUT)]
        tables = [RequiredTopic(f"{self._prefix}{name}-changelog", 2, {"cleanup.policy": "compact"}) for name in "ab"]
        await ensure_topics({"bootstrap_servers": self._servers}, [*topics, *tables], 1)

    async def open(self, wanted: Mapping[TopicPartition, str]) -> Mapping[TopicPartition, OpenedTable]:
        self._opened += 1
        config = EngineConfig(
            {"bootstrap_servers": self._servers}, f"{self._prefix}app", self._prefix, self._folder / str(self._opened)
        )
        named = {TopicPartition(self._prefix + tp.topic, tp.partition): tp for tp in wanted}
        opened = await KafkaTables(config).open({real: wanted[tp] for real, tp in named.items()})
        return {tp: opened[real] for real, tp in named.items()}

    async def produce(self, topic: str, partition: int, value: bytes) -> None:
        producer = AIOKafkaProducer(bootstrap_servers=self._servers)
        await producer.start()
        await producer.send_and_wait(self._prefix + topic, value, partition=partition)
        await producer.stop()

    async def values(self, topic: str, partition: int) -> list[bytes | None]:
        tp, found = TopicPartition(self._prefix + topic, partition), []
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self._servers, isolation_level="read_committed", auto_offset_reset="earliest"
        )
        await consumer.start()
        consumer.assign([tp])
        end = (await consumer.end_offsets([tp]))[tp]
        while await consumer.position(tp) < end:
            for rows in (await consumer.getmany(timeout_ms=100)).values():
                found += [row.value for row in rows]
        await consumer.stop()
        return found


class SimulatedLog:
    def __init__(self, world: World, process: Process) -> None:
        self._broker, self._process, self._world = Broker(world), process, world

    async def open(self, wanted: Mapping[TopicPartition, str]) -> Mapping[TopicPartition, OpenedTable]:
        return await SimulatedTables(self._broker, self._process, lambda: self._world.now_ms).open(wanted)

    async def produce(self, topic: str, partition: int, value: bytes) -> None:
        self._broker.log.append(Output(topic, partition, None, value), self._world.now_ms)

    async def values(self, topic: str, partition: int) -> list[bytes | None]:
        _, records = self._broker.log.read(topic, partition, 0, 1_000)
        return [record.value for record in records]


Case = Callable[[LogUnderTest], Coroutine[None, None, None]]


@pytest.fixture(params=["kafka", "simulation"])
def run(request: pytest.FixtureRequest, topic_prefix: str, tmp_path: Path) -> Callable[[Case], None]:
    """Runs a case on one of the two logs."""
    if request.param == "simulation":
        return _run_simulated
    servers = request.getfixturevalue("kafka")

    async def on_kafka(case: Case) -> None:
        log = RealLog(servers, topic_prefix, tmp_path)
        await log.prepare()
        async with asyncio.timeout(DEADLINE_S):
            await case(log)

    return lambda case: asyncio.run(on_kafka(case))


def _run_simulated(case: Case) -> None:
    world = World(1)
    process = Process(world, "case")
    tasks: list[asyncio.Task[None]] = []
    process.post(lambda: tasks.append(process.create_task(case(SimulatedLog(world, process)))))
    assert world.run(lambda: bool(tasks) and tasks[0].done(), DEADLINE_S)
    tasks[0].result()


def test_a_new_table_is_empty_and_nothing_of_its_input_is_applied(run) -> None:
    async def case(log: LogUnderTest) -> None:
        await log.produce(IN, 0, b"1")
        await log.produce(IN, 0, b"2")
        opened = (await log.open({ZERO: "a"}))[ZERO]
        assert list(opened.table.scan(b"", b"\xff")) == []
        assert (opened.table.next_offset, opened.begin, opened.end) == (0, 0, 2)
        await opened.table.close()

    run(case)


def test_the_next_owner_finds_what_was_committed_and_up_to_where(run) -> None:
    async def case(log: LogUnderTest) -> None:
        first = (await log.open({ZERO: "a"}))[ZERO].table
        await first.commit({b"k": b"1", b"gone": b"x", b"a": b"0"}, [], 3)
        await first.commit({b"k": b"2", b"gone": None}, [], 5)
        await first.commit({}, [], 7)
        await first.close()
        second = (await log.open({ZERO: "a"}))[ZERO].table
        assert (list(second.scan(b"a", b"z")), second.next_offset) == ([(b"a", b"0"), (b"k", b"2")], 7)
        await second.close()

    run(case)


def test_an_owner_sees_its_changes_once_they_are_committed(run) -> None:
    async def case(log: LogUnderTest) -> None:
        table = (await log.open({ZERO: "a"}))[ZERO].table
        await table.commit({b"b": b"1"}, [], 1)
        await table.commit({b"a": b"2", b"c": b"3"}, [], None)
        assert (list(table.scan(b"a", b"c")), table.get(b"c"), table.next_offset) == (
            [(b"a", b"2"), (b"b", b"1")],
            b"3",
            1,
        )
        await table.close()

    run(case)


def test_who_has_lost_a_table_can_commit_neither_state_nor_records(run) -> None:
    async def case(log: LogUnderTest) -> None:
        old = (await log.open({ZERO: "a"}))[ZERO].table
        await old.commit({b"k": b"old"}, [Output(OUT, 0, b"k", b"old")], 1)
        new = (await log.open({ZERO: "a"}))[ZERO].table
        with pytest.raises(Exception, match=r"(?i)fenced|InvalidProducerEpoch|epoch"):
            await old.commit({b"k": b"zombie"}, [Output(OUT, 0, b"k", b"zombie")], 9)
        assert (old.get(b"k"), old.next_offset) == (b"old", 1)
        await new.commit({b"n": b"new"}, [Output(OUT, 0, b"k", b"new")], 2)
        assert await log.values(OUT, 0) == [b"old", b"new"]
        await old.close()
        await new.close()
        third = (await log.open({ZERO: "a"}))[ZERO].table
        assert (third.get(b"k"), third.get(b"n"), third.next_offset) == (b"old", b"new", 2)
        await third.close()

    run(case)


def test_the_records_of_a_commit_stand_in_their_order_in_each_partition(run) -> None:
    async def case(log: LogUnderTest) -> None:
        table = (await log.open({ZERO: "a"}))[ZERO].table
        await table.commit({}, [Output(OUT, n % 2, None, b"%d" % n) for n in range(6)], 6)
        await table.commit({}, [Output(OUT, 0, None, b"6")], 7)
        assert (await log.values(OUT, 0), await log.values(OUT, 1)) == ([b"0", b"2", b"4", b"6"], [b"1", b"3", b"5"])
        await table.close()

    run(case)


def test_markers_occupy_offsets_of_the_input(run) -> None:
    async def case(log: LogUnderTest) -> None:
        writer = (await log.open({OTHER: "b"}))[OTHER].table
        await writer.commit({}, [Output(IN, 0, None, b"1"), Output(IN, 0, None, b"2")], 1)
        await writer.commit({}, [Output(IN, 0, None, b"3")], 2)
        reader = (await log.open({ZERO: "a"}))[ZERO]
        assert (reader.begin, reader.end) == (0, 5)
        assert await log.values(IN, 0) == [b"1", b"2", b"3"]
        await writer.close()
        await reader.table.close()

    run(case)


def test_two_owners_write_into_one_partition(run) -> None:
    async def case(log: LogUnderTest) -> None:
        a = (await log.open({ZERO: "a"}))[ZERO].table
        b = (await log.open({OTHER: "b"}))[OTHER].table
        for n in range(5):
            await a.commit({}, [Output(OUT, 0, None, b"a%d" % n)], n)
            await b.commit({}, [Output(OUT, 0, None, b"b%d" % n)], n)
        values = [value for value in await log.values(OUT, 0) if value is not None]
        assert [v for v in values if v[:1] == b"a"] == [b"a%d" % n for n in range(5)]
        assert [v for v in values if v[:1] == b"b"] == [b"b%d" % n for n in range(5)]
        await a.close()
        await b.close()

    run(case)


def test_partitions_of_one_table_and_tables_of_one_partition_are_apart(run) -> None:
    async def case(log: LogUnderTest) -> None:
        mine = await log.open({ZERO: "a", ONE: "a", OTHER: "b"})
        for number, tp in enumerate((ZERO, ONE, OTHER)):
            await mine[tp].table.commit({b"k": b"%d" % number}, [], number + 1)
        for each in mine.values():
            await each.table.close()
        again = await log.open({ZERO: "a", ONE: "a", OTHER: "b"})
        assert [(again[tp].table.get(b"k"), again[tp].table.next_offset) for tp in (ZERO, ONE, OTHER)] == [
            (b"0", 1),
            (b"1", 2),
            (b"2", 3),
        ]
        for each in again.values():
            await each.table.close()

    run(case)


def test_a_table_taken_over_fences_no_other(run) -> None:
    async def case(log: LogUnderTest) -> None:
        mine = await log.open({ZERO: "a", ONE: "a"})
        theirs = (await log.open({ZERO: "a"}))[ZERO].table
        await mine[ONE].table.commit({b"k": b"1"}, [], 1)
        await theirs.commit({b"k": b"2"}, [], 1)
        with pytest.raises(Exception, match=r"(?i)fenced|InvalidProducerEpoch|epoch"):
            await mine[ZERO].table.commit({b"k": b"3"}, [], 2)
        for table in (mine[ZERO].table, mine[ONE].table, theirs):
            await table.close()

    run(case)


def test_an_empty_commit_leaves_no_trace(run) -> None:
    async def case(log: LogUnderTest) -> None:
        table = (await log.open({ZERO: "a"}))[ZERO].table
        await table.commit({}, [], None)
        assert (table.next_offset, await log.values(OUT, 0)) == (0, [])
        await table.close()

    run(case)
