"""`check` looks at the topics of a real Kafka."""

from __future__ import annotations

from functools import partial

import pytest

from pipeline.console.check import Desired, Finding, check
from pipeline.console.place import Place, partition_counts
from pipeline.engine.topics import RequiredTopic, ensure_topics, topic_faults


@pytest.fixture
def place(kafka: list[str], topic_prefix: str) -> Place:
    return Place({"bootstrap_servers": kafka}, topic_prefix)


async def look(place: Place, replication_factor: int = 1, **partitions: int) -> list[Finding]:
    wanted = {place.topic_name(name): count for name, count in partitions.items()}
    needed = [RequiredTopic(name, count, is_public=name.endswith("touches")) for name, count in wanted.items()]
    desired = Desired(
        wanted,
        replication_factor,
        [],
        [],
        None,
        "environment",
        [],
        topic_faults=partial(topic_faults, place.connection, needed),
    )
    return [
        f async for f in check(place, desired, lambda: 0.0) if f.item not in {"configuration", "permissions", "clock"}
    ]


async def test_missing_topics_are_no_failure_and_are_not_created_by_looking(place: Place):
    kafka, topics, _ = await look(place, touches=2)
    assert (kafka.is_ok, topics.is_ok) == (True, True)
    assert topics.what.startswith("0 of 1 are there, the worker creates")
    assert place.topic_name("touches") not in await partition_counts(place)


async def test_a_topic_with_other_partitions_fails_with_the_command_that_mends_it(place: Place):
    name = place.topic_name("touches")
    await ensure_topics(place.connection, [RequiredTopic(name, 2)], 1)
    *_, more = await look(place, touches=4)
    assert not more.is_ok
    assert f"--alter --topic {name} --partitions 4" in more.what
    *_, fewer = await look(place, touches=1)
    assert not fewer.is_ok
    assert "configure 2 partitions" in fewer.what
    assert "--delete" not in fewer.what
    _, right, settings = await look(place, touches=2)
    assert settings.is_ok
    assert right == Finding("topics", is_ok=True, what="1 of 1 are there")


async def test_a_replication_factor_over_the_brokers_fails(place: Place):
    kafka, *_ = await look(place, replication_factor=5)
    assert not kafka.is_ok
    assert "kafka.replication_factor" in kafka.what
