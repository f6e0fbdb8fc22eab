"""The story of touches is read back from a real Kafka, read committed."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition

from pipeline.console.status.work import Seen, status
from pipeline.engine.required_topic import RequiredTopic
from pipeline.engine.topics import ensure_topics
from pipeline.kafka.cluster import Cluster, CommandFailed
from pipeline.records.published import ValueReader
from pipeline.records.single_object import encode
from tests.harness.odd_batches import batch, put, record

if TYPE_CHECKING:
    from collections.abc import Mapping

PARTITIONS = 3


def told(touch_id: str, state: str, at_ms: int) -> dict[str, Any]:
    return {
        "touch_id": touch_id,
        "campaign_id": "c",
        "lead_id": "l",
        "channel": "sms",
        "state": state,
        "attempt": 0,
        "sequence": 1,
        "metadata": {},
        "occurred_at": at_ms,
    }


class Story:
    """A status topic, and a transactional writer of it."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.topic = cluster.topic_name("touches.status")
        self.lines: list[tuple[str, str]] = []
        self.told = asyncio.Event()
        self.complaints: list[str] = []

    async def write(self, *records: tuple[int, dict[str, Any]], commit: bool = True, form: str = "avro") -> None:
        producer = AIOKafkaProducer(**self.cluster.connection, transactional_id=f"{self.topic}-test")
        await producer.start()
        try:
            await producer.begin_transaction()
            for partition, each in records:
                value = encode("status", each) if form == "avro" else json.dumps(each).encode()
                await producer.send_and_wait(
                    self.topic, key=each["touch_id"].encode(), value=value, partition=partition
                )
            await (producer.commit_transaction() if commit else producer.abort_transaction())
        finally:
            await producer.stop()

    def show(self, each: Mapping[str, Any]) -> None:
        self.lines.append((each["touch_id"], each["state"]))
        self.told.set()

    async def read(self, touch_id: str | None = None, **how: Any) -> Seen:
        return await status(
            self.cluster,
            ValueReader("status"),
            show=self.show,
            complain=self.complaints.append,
            touch_id=touch_id,
            **how,
        )


@pytest.fixture
async def story(kafka: list[str], topic_prefix: str) -> Story:
    story = Story(Cluster({"bootstrap_servers": kafka}, topic_prefix))
    await ensure_topics(story.cluster.connection, [RequiredTopic(story.topic, PARTITIONS)], 1)
    return story


async def test_an_empty_topic_has_nothing_to_show(story: Story):
    assert await story.read() == Seen()


async def test_records_of_all_partitions_come_in_order_of_time(story: Story):
    await story.write(
        (0, told("a", "accepted", 10)),
        (0, told("a", "sent", 40)),
        (2, told("b", "accepted", 20)),
        (1, told("c", "failed", 30)),
    )
    assert (await story.read()).records == 4
    assert story.lines == [("a", "accepted"), ("b", "accepted"), ("c", "failed"), ("a", "sent")]


async def test_aborted_records_are_not_told_and_markers_do_not_hide_the_end(story: Story):
    await story.write((0, told("a", "accepted", 10)))
    await story.write((0, told("b", "accepted", 20)), commit=False)
    assert (await story.read()).records == 1
    assert story.lines == [("a", "accepted")]


async def test_one_touch_is_picked_out_and_json_is_read_as_well(story: Story):
    await story.write((0, told("a", "accepted", 10)), (0, told("b", "accepted", 10)))
    await story.write((0, told("a", "sent", 20)), form="json")
    assert replace(await story.read("a"), latest=None) == Seen(records=2, ended=True)
    assert story.lines == [("a", "accepted"), ("a", "sent")]


async def test_an_unknown_touch_has_no_records(story: Story):
    await story.write((0, told("a", "accepted", 10)))
    assert await story.read("nobody") == Seen()


async def test_following_a_touch_ends_with_its_terminal_status(story: Story):
    await story.write((0, told("a", "accepted", 10)))
    following = asyncio.create_task(story.read("a", follow=True, timeout_s=30))
    await asyncio.wait_for(story.told.wait(), 20)
    await story.write((1, told("b", "sent", 15)), (0, told("a", "deferred", 20)), (0, told("a", "sent", 30)))
    assert replace(await following, latest=None) == Seen(records=3, ended=True)


async def test_following_all_ends_at_the_timeout(story: Story):
    await story.write((0, told("a", "sent", 10)))
    seen = await story.read(follow=True, timeout_s=1.0)
    assert replace(seen, latest=None) == Seen(records=1, timed_out=True)


async def test_a_record_that_is_none_of_ours_is_named_and_the_rest_is_shown(story: Story):
    producer = AIOKafkaProducer(**story.cluster.connection)
    await producer.start()
    await producer.send_and_wait(story.topic, value=b"\xff\xff", partition=0)
    await producer.stop()
    await story.write((0, told("a", "sent", 10)))
    assert (await story.read()).records == 1
    assert "[0] offset 0: no status" in story.complaints[0]


async def test_a_record_that_cannot_be_parsed_is_named_and_its_neighbours_are_shown(story: Story):
    rows = [encode("status", told(name, "sent", 10 + n)) for n, name in enumerate("abc")]
    odd = [record(n, row, [(b"\xff", b"")] * (n == 1)) for n, row in enumerate(rows)]
    producer = AIOKafkaProducer(**story.cluster.connection)
    await producer.start()
    await put(producer, TopicPartition(story.topic, 1), batch(odd, codec=1))
    await producer.stop()
    await story.write((0, told("z", "sent", 9)))
    assert (await story.read()).records == 3
    assert [name for name, _ in story.lines] == ["z", "a", "c"]
    assert [line.partition(": ")[0] for line in story.complaints] == [f"{story.topic}[1] offset 1"]


async def test_a_missing_topic_is_a_failure_that_says_what_to_do(kafka: list[str]):
    with pytest.raises(CommandFailed, match="start a worker"):
        await Story(Cluster({"bootstrap_servers": kafka}, "nowhere.")).read()


async def test_an_unreachable_kafka_is_a_failure_that_names_it():
    with pytest.raises(CommandFailed, match=r"127\.0\.0\.1:1 cannot be reached"):
        await Story(Cluster({"bootstrap_servers": ["127.0.0.1:1"]})).read()
