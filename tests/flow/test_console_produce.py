"""Files become records of `touches` on a real Kafka."""

from __future__ import annotations

import asyncio
import io
import json
import os
from typing import TYPE_CHECKING

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.partitioner import murmur2

from pipeline.console.lines import Form
from pipeline.console.produce.work import produce
from pipeline.engine.required_topic import RequiredTopic
from pipeline.engine.topics import ensure_topics
from pipeline.kafka.cluster import Cluster, CommandFailed

if TYPE_CHECKING:
    from aiokafka import ConsumerRecord

PARTITIONS = 4


@pytest.fixture
def cluster(kafka: list[str], topic_prefix: str) -> Cluster:
    return Cluster({"bootstrap_servers": kafka}, topic_prefix)


async def create_topic(cluster: Cluster, **settings: str) -> None:
    await ensure_topics(cluster.connection, [RequiredTopic(cluster.topic_name("touches"), PARTITIONS, settings)], 1)


async def read(cluster: Cluster) -> list[ConsumerRecord]:
    partitions = [TopicPartition(cluster.topic_name("touches"), number) for number in range(PARTITIONS)]
    consumer = AIOKafkaConsumer(**cluster.connection, auto_offset_reset="earliest", fetch_max_wait_ms=50)
    await consumer.start()
    try:
        consumer.assign(partitions)
        found, ends = [], await consumer.end_offsets(partitions)
        while any([await consumer.position(tp) < end for tp, end in ends.items()]):
            for records in (await consumer.getmany(timeout_ms=100)).values():
                found.extend(records)
        return found
    finally:
        await consumer.stop()


def lines(*touches: object) -> io.BytesIO:
    return io.BytesIO(
        b"".join((each if isinstance(each, bytes) else json.dumps(each).encode()) + b"\n" for each in touches)
    )


async def test_every_touch_arrives_under_its_id_on_the_partition_every_client_would_choose(cluster: Cluster):
    await create_topic(cluster)
    ids = [f"t-{number}" for number in range(2_000)]
    produced = await produce(cluster, lines(*({"touch_id": each} for each in ids)), Form.NDJSON, complain=pytest.fail)
    records = await read(cluster)
    assert (produced.touches, produced.broken) == (2_000, 0)
    assert sorted(json.loads(r.value)["touch_id"] for r in records) == sorted(ids)
    assert all(r.key.decode() == json.loads(r.value)["touch_id"] for r in records)
    assert all(r.partition == (murmur2(r.key) & 0x7FFFFFFF) % PARTITIONS for r in records)


async def test_touches_with_one_id_keep_their_order(cluster: Cluster):
    await create_topic(cluster)
    await produce(cluster, lines(*({"touch_id": "t", "n": n} for n in range(1_500))), Form.NDJSON, complain=pytest.fail)
    assert [json.loads(r.value)["n"] for r in await read(cluster)] == list(range(1_500))


async def test_broken_lines_are_named_and_the_rest_arrives(cluster: Cluster):
    await create_topic(cluster)
    complaints: list[str] = []
    source = lines({"touch_id": "a"}, b"{nope", {"no": "id"}, {"touch_id": "b"})
    produced = await produce(cluster, source, Form.NDJSON, complain=complaints.append)
    assert (produced.touches, produced.broken) == (2, 2)
    assert [c.split(":")[0] for c in complaints] == ["line 2", "line 3"]
    assert {r.key for r in await read(cluster)} == {b"a", b"b"}


async def test_a_touch_of_a_mebibyte_arrives(cluster: Cluster):
    await create_topic(cluster, **{"max.message.bytes": str(2 * 1024 * 1024)})
    touch = {"touch_id": "big", "body": "x" * (1024 * 1024 - 35)}
    assert (await produce(cluster, lines(touch), Form.NDJSON, complain=pytest.fail)).touches == 1
    assert json.loads((await read(cluster))[0].value) == touch


async def test_a_touch_too_large_for_the_topic_is_named_and_the_rest_arrives(cluster: Cluster):
    await create_topic(cluster, **{"max.message.bytes": "20000"})
    complaints: list[str] = []
    source = lines({"touch_id": "a"}, {"touch_id": "big", "body": os.urandom(20_000).hex()}, {"touch_id": "b"})
    produced = await produce(cluster, source, Form.NDJSON, complain=complaints.append)
    assert complaints == ["line 2: too large for the topic; skipped"]
    assert (produced.touches, produced.broken) == (2, 1)


async def test_csv_arrives_as_json(cluster: Cluster):
    await create_topic(cluster)
    await produce(cluster, io.BytesIO(b"touch_id,variables.first\na,Ann\n"), Form.CSV, complain=pytest.fail)
    assert [json.loads(r.value) for r in await read(cluster)] == [{"touch_id": "a", "variables": {"first": "Ann"}}]


async def test_a_missing_topic_is_created_by_whoever_knows_how(cluster: Cluster):
    async def create() -> None:
        await create_topic(cluster)

    produced = await produce(cluster, lines({"touch_id": "a"}), Form.NDJSON, complain=pytest.fail, create_topics=create)
    assert produced.touches == len(await read(cluster)) == 1


async def test_a_missing_topic_nobody_creates_is_a_failure_that_says_what_to_do(cluster: Cluster):
    with pytest.raises(CommandFailed, match=r"touches does not exist .* start a worker"):
        await produce(cluster, lines({"touch_id": "a"}), Form.NDJSON, complain=pytest.fail)


async def test_an_unreachable_kafka_is_a_failure_that_names_it():
    with pytest.raises(CommandFailed, match=r"127\.0\.0\.1:1 cannot be reached"):
        await produce(Cluster({"bootstrap_servers": ["127.0.0.1:1"]}), lines(), Form.NDJSON, complain=pytest.fail)


async def test_an_unusable_csv_header_is_a_failure(cluster: Cluster):
    await create_topic(cluster)
    with pytest.raises(CommandFailed, match="no column touch_id"):
        await produce(cluster, io.BytesIO(b"id\na\n"), Form.CSV, complain=pytest.fail)


async def test_a_slow_pipe_delivers_what_it_has(cluster: Cluster):
    await create_topic(cluster)
    reading, writing = os.pipe()
    os.write(writing, b'{"touch_id":"a"}\n')
    with os.fdopen(reading, "rb") as pipe:
        producing = asyncio.create_task(produce(cluster, pipe, Form.NDJSON, complain=pytest.fail))
        try:
            async with asyncio.timeout(20):
                while not await read(cluster):
                    assert not producing.done()
        finally:
            os.close(writing)
        assert (await producing).touches == 1
