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

from pipeline.console.place import Failed, Place
from pipeline.console.produce import produce
from pipeline.console.rows import Form
from pipeline.engine.topics import RequiredTopic, ensure_topics

if TYPE_CHECKING:
    from aiokafka import ConsumerRecord

PARTITIONS = 4


@pytest.fixture
def place(kafka: list[str], topic_prefix: str) -> Place:
    return Place({"bootstrap_servers": kafka}, topic_prefix)


async def create_topic(place: Place, **settings: str) -> None:
    await ensure_topics(place.connection, [RequiredTopic(place.topic_name("touches"), PARTITIONS, settings)], 1)


async def read(place: Place) -> list[ConsumerRecord]:
    partitions = [TopicPartition(place.topic_name("touches"), number) for number in range(PARTITIONS)]
    consumer = AIOKafkaConsumer(**place.connection, auto_offset_reset="earliest", fetch_max_wait_ms=50)
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


async def test_every_touch_arrives_under_its_id_on_the_partition_every_client_would_choose(place: Place):
    await create_topic(place)
    ids = [f"t-{number}" for number in range(2_000)]
    produced = await produce(place, lines(*({"touch_id": each} for each in ids)), Form.NDJSON, complain=pytest.fail)
    records = await read(place)
    assert (produced.touches, produced.broken) == (2_000, 0)
    assert sorted(json.loads(r.value)["touch_id"] for r in records) == sorted(ids)
    assert all(r.key.decode() == json.loads(r.value)["touch_id"] for r in records)
    assert all(r.partition == (murmur2(r.key) & 0x7FFFFFFF) % PARTITIONS for r in records)


async def test_touches_with_one_id_keep_their_order(place: Place):
    await create_topic(place)
    await produce(place, lines(*({"touch_id": "t", "n": n} for n in range(1_500))), Form.NDJSON, complain=pytest.fail)
    assert [json.loads(r.value)["n"] for r in await read(place)] == list(range(1_500))


async def test_broken_lines_are_named_and_the_rest_arrives(place: Place):
    await create_topic(place)
    complaints: list[str] = []
    source = lines({"touch_id": "a"}, b"{nope", {"no": "id"}, {"touch_id": "b"})
    produced = await produce(place, source, Form.NDJSON, complain=complaints.append)
    assert (produced.touches, produced.broken) == (2, 2)
    assert [c.split(":")[0] for c in complaints] == ["line 2", "line 3"]
    assert {r.key for r in await read(place)} == {b"a", b"b"}


async def test_a_touch_of_a_mebibyte_arrives(place: Place):
    await create_topic(place, **{"max.message.bytes": str(2 * 1024 * 1024)})
    touch = {"touch_id": "big", "body": "x" * (1024 * 1024 - 35)}
    assert (await produce(place, lines(touch), Form.NDJSON, complain=pytest.fail)).touches == 1
    assert json.loads((await read(place))[0].value) == touch


async def test_a_touch_too_large_for_the_topic_is_named_and_the_rest_arrives(place: Place):
    await create_topic(place, **{"max.message.bytes": "20000"})
    complaints: list[str] = []
    source = lines({"touch_id": "a"}, {"touch_id": "big", "body": os.urandom(20_000).hex()}, {"touch_id": "b"})
    produced = await produce(place, source, Form.NDJSON, complain=complaints.append)
    assert complaints == ["line 2: too large for the topic; skipped"]
    assert (produced.touches, produced.broken) == (2, 1)


async def test_csv_arrives_as_json(place: Place):
    await create_topic(place)
    await produce(place, io.BytesIO(b"touch_id,variables.first\na,Ann\n"), Form.CSV, complain=pytest.fail)
    assert [json.loads(r.value) for r in await read(place)] == [{"touch_id": "a", "variables": {"first": "Ann"}}]


async def test_a_missing_topic_is_created_by_whoever_knows_how(place: Place):
    async def create() -> None:
        await create_topic(place)

    produced = await produce(place, lines({"touch_id": "a"}), Form.NDJSON, complain=pytest.fail, create_topics=create)
    assert produced.touches == len(await read(place)) == 1


async def test_a_missing_topic_nobody_creates_is_a_failure_that_says_what_to_do(place: Place):
    with pytest.raises(Failed, match=r"touches does not exist .* start a worker"):
        await produce(place, lines({"touch_id": "a"}), Form.NDJSON, complain=pytest.fail)


async def test_an_unreachable_kafka_is_a_failure_that_names_it():
    with pytest.raises(Failed, match=r"127\.0\.0\.1:1 cannot be reached"):
        await produce(Place({"bootstrap_servers": ["127.0.0.1:1"]}), lines(), Form.NDJSON, complain=pytest.fail)


async def test_an_unusable_csv_header_is_a_failure(place: Place):
    await create_topic(place)
    with pytest.raises(Failed, match="no column touch_id"):
        await produce(place, io.BytesIO(b"id\na\n"), Form.CSV, complain=pytest.fail)


async def test_a_slow_pipe_delivers_what_it_has(place: Place):
    await create_topic(place)
    reading, writing = os.pipe()
    os.write(writing, b'{"touch_id":"a"}\n')
    with os.fdopen(reading, "rb") as pipe:
        producing = asyncio.create_task(produce(place, pipe, Form.NDJSON, complain=pytest.fail))
        try:
            async with asyncio.timeout(20):
                while not await read(place):
                    assert not producing.done()
        finally:
            os.close(writing)
        assert (await producing).touches == 1
