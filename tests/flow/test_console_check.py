"""`check` looks at the topics of a real Kafka."""

from __future__ import annotations

from functools import partial

import pytest

from pipeline.console.check.work import Desired, Finding, check
from pipeline.engine.required_topic import RequiredTopic
from pipeline.engine.topics import ensure_topics, topic_faults
from pipeline.kafka.cluster import Cluster, partition_counts


@pytest.fixture
def cluster(kafka: list[str], topic_prefix: str) -> Cluster:
    return Cluster({"bootstrap_servers": kafka}, topic_prefix)


async def look(cluster: Cluster, replication_factor: int = 1, **partitions: int) -> list[Finding]:
    wanted = {cluster.topic_name(name): count for name, count in partitions.items()}
    needed = [RequiredTopic(name, count, is_public=name.endswith("touches")) for name, count in wanted.items()]
    desired = Desired(
        wanted,
        replication_factor,
        [],
        [],
        None,
        "environment",
        [],
        topic_faults=partial(topic_faults, cluster.connection, needed),
    )
    return [
        f async for f in check(cluster, desired, lambda: 0.0) if f.item not in {"configuration", "permissions", "clock"}
    ]


async def test_missing_topics_are_no_failure_and_are_not_created_by_looking(cluster: Cluster):
    kafka, topics, _ = await look(cluster, touches=2)
    assert (kafka.is_ok, topics.is_ok) == (True, True)
    assert topics.what.startswith("0 of 1 are there, the worker creates")
    assert cluster.topic_name("touches") not in await partition_counts(cluster)


async def test_a_topic_with_other_partitions_fails_with_the_command_that_mends_it(cluster: Cluster):
    name = cluster.topic_name("touches")
    await ensure_topics(cluster.connection, [RequiredTopic(name, 2)], 1)
    *_, more = await look(cluster, touches=4)
    assert not more.is_ok
    assert f"--alter --topic {name} --partitions 4" in more.what
    *_, fewer = await look(cluster, touches=1)
    assert not fewer.is_ok
    assert "configure 2 partitions" in fewer.what
    assert "--delete" not in fewer.what
    _, right, settings = await look(cluster, touches=2)
    assert settings.is_ok
    assert right == Finding("topics", is_ok=True, what="1 of 1 are there")


async def test_a_replication_factor_over_the_brokers_fails(cluster: Cluster):
    kafka, *_ = await look(cluster, replication_factor=5)
    assert not kafka.is_ok
    assert "kafka.replication_factor" in kafka.what
