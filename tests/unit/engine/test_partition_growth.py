"""A topic with other partitions than configured: what stops a worker, what it goes on with, and what it says."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from pipeline.domain.home import home_of
from pipeline.engine.assignor import PartitionAssignor
from pipeline.engine.partition_growth import assess
from pipeline.engine.required_topic import RequiredTopic
from pipeline.kafka.cluster import Cluster as ConsoleCluster

TOUCHES = RequiredTopic("touches", 8, is_public=True)
RESULTS = RequiredTopic("touches.results", 8)
LANES = RequiredTopic("touches.sms", 8, may_grow=True)
NEW, HAS_8, HAS_4, HAS_12 = frozenset(), frozenset({8}), frozenset({4}), frozenset({12})
EMPTY, SOME = (0, 0), (132, 200)
ALTER = "--alter --topic {} --partitions 8"


@pytest.mark.parametrize(
    ("there", "known", "stops", "says"),
    [
        # Grown under a pipeline that runs: it goes on.
        ((TOUCHES, 16, SOME), HAS_8, False, "132 records in partitions 8 to 15 are not read"),
        ((TOUCHES, 9, EMPTY), HAS_8, False, "0 records in partitions 8 to 8 are not read"),
        ((TOUCHES, 16, SOME), frozenset({8, 16}), False, "132 records in partitions 8 to 15"),
        ((RESULTS, 16, EMPTY), HAS_8, False, "the others stay empty"),
        ((LANES, 16, EMPTY), HAS_8, False, "the others stay empty"),
        # Made with more partitions before the first start, or configured with fewer since.
        ((TOUCHES, 12, EMPTY), NEW, True, "configure 12 partitions"),
        ((TOUCHES, 12, SOME), HAS_12, True, "configure 12 partitions"),
        ((RESULTS, 12, SOME), HAS_12, True, "configure 12 partitions"),
        ((LANES, 12, SOME), HAS_8, True, "configure 12 partitions"),
        # Too few.
        ((TOUCHES, 3, EMPTY), NEW, True, ALTER.format("touches")),
        ((TOUCHES, 1, EMPTY), HAS_8, True, ALTER.format("touches")),
        ((TOUCHES, 4, EMPTY), HAS_4, True, "configure 4 partitions"),
        ((RESULTS, 4, EMPTY), HAS_4, True, "configure 4 partitions"),
        ((LANES, 4, EMPTY), HAS_4, True, ALTER.format("touches.sms")),
    ],
)
def test_what_is_said_of_a_topic_with_other_partitions_than_configured(there, known, stops, says):
    topic, found, beyond = there
    does_stop, line = assess(topic, found, beyond, known, "kafka:9092")
    assert (does_stop, says in line) == (stops, True), line
    assert line.startswith(f"topic {topic.name} has {found} partitions, 8 are configured")
    assert "--delete" not in line
    assert "\n" not in line


def test_a_topic_that_has_grown_is_handed_out_as_far_as_the_pipeline_knows_it():
    config = SimpleNamespace(knows=lambda tp: tp.topic != "touches" or tp.partition < 4)
    app = SimpleNamespace(
        conf=SimpleNamespace(consumer_group_instance_id="w"),
        engine_config=config,
        tables=SimpleNamespace(data={}, changelog_topics=set()),
        tracer=None,
        sensors=SimpleNamespace(on_assignment_start=lambda _: None, on_assignment_completed=lambda *_: None),
    )
    cluster = SimpleNamespace(partitions_for_topic={"touches": set(range(8)), "touches.results": set(range(4))}.get)
    assignor = PartitionAssignor(app)
    members = {name: assignor.metadata({"touches", "touches.results"}) for name in ("a", "b", "c")}
    handed = [
        (topic, partition)
        for each in assignor.assign(cluster, members).values()
        for topic, ps in each.assignment
        for partition in ps
    ]
    assert sorted(handed) == [(topic, p) for topic in ("touches", "touches.results") for p in range(4)]


@pytest.mark.parametrize("touch_id", [f"t-{n}" for n in range(20)])
def test_our_own_commands_produce_into_partitions_that_are_read(touch_id):
    choose = ConsoleCluster({}, "", 4).partitioner()
    assert choose(touch_id.encode(), list(range(8)), [7, 1, 5]) == home_of(touch_id, 4)
    assert choose(None, list(range(8)), [7, 1, 5]) == 1
    assert ConsoleCluster({}).partitioner()(touch_id.encode(), list(range(8)), []) == home_of(touch_id, 8)
