"""A new topic counts once the broker knows who leads it; changelogs stay short."""

from __future__ import annotations

from typing import Any

import pytest
from aiokafka.errors import KafkaTimeoutError

from pipeline import flow
from pipeline.engine import partition_growth, topics
from pipeline.engine.required_topic import RequiredTopic
from pipeline.engine.topic_settings import faults

LED, UNLED = {"leader": 1}, {"leader": -1}


class SlowAdmin:
    """Answers each question about the cluster with the next view of it; the last one stays."""

    def __init__(self, *views: dict[str, list[dict[str, int]]]) -> None:
        self._views = list(views)
        self.asked = 0

    async def list_topics(self) -> list[str]:
        self.asked += 1
        return list(self._views[0])

    async def describe_topics(self, names: list[str]) -> list[dict[str, Any]]:
        view = self._views[0]
        if len(self._views) > 1:
            self._views.pop(0)
        return [{"topic": name, "partitions": view[name]} for name in names]


async def test_nobody_subscribes_before_every_new_partition_has_a_leader(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topics, "POLL_S", 0)
    admin = SlowAdmin(
        {"a": [LED]}, {"a": [LED], "b": []}, {"a": [LED], "b": [LED, UNLED]}, {"a": [LED], "b": [LED, LED]}
    )
    await topics._wait_for_leaders(admin, {"a", "b"})
    assert admin.asked == 4


async def test_topics_that_get_no_leader_stop_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topics, "LEADERS_WITHIN_S", 0.01)
    monkeypatch.setattr(topics, "POLL_S", 0)
    with pytest.raises(KafkaTimeoutError, match="b"):
        await topics._wait_for_leaders(SlowAdmin({"a": [LED], "b": [UNLED]}), {"a", "b"})


def test_what_a_restore_reads_of_a_changelog_that_was_never_compacted_is_bounded() -> None:
    specs = flow.topics(partitions=8, lanes=8, replication=1, dedup_for_ms=86_400_000)
    changelogs = [spec for spec in specs if spec.name.endswith("-changelog")]
    assert len(changelogs) == 6
    assert all(int(spec.settings["segment.bytes"]) <= 16 * 1024 * 1024 for spec in changelogs)


def test_a_segment_of_a_changelog_holds_the_largest_record_that_its_table_can_have() -> None:
    specs = flow.topics(partitions=8, lanes=8, replication=1, dedup_for_ms=86_400_000)
    for spec in specs:
        if spec.settings["cleanup.policy"] == "compact":
            largest = flow.CLAIM_BYTES if spec.name.startswith("lanes-") else flow.OWN_MESSAGE_BYTES
            assert largest <= int(spec.settings["segment.bytes"]) <= 16 * 1024 * 1024
    assert flow.WORK_BYTES + 64 * 1024 < flow.OWN_MESSAGE_BYTES, "what the other tables hold"


def test_orders_suppressions_and_what_lanes_tell_have_one_order_each_whatever_is_configured() -> None:
    for count in (1, 8, 64):
        specs = {
            spec.name: spec
            for spec in flow.topics(partitions=count, lanes=count, replication=1, dedup_for_ms=86_400_000)
        }
        for name in (flow.CONTROL, flow.SUPPRESSIONS, flow.LANES):
            assert (specs[name].partitions, specs[name].settings["cleanup.policy"]) == (1, "compact")


def test_a_topic_of_one_partition_does_not_tell_with_how_many_the_pipeline_has_run() -> None:
    specs = flow.topics(partitions=8, lanes=8, replication=1, dedup_for_ms=86_400_000)
    needed = [
        RequiredTopic(each.name, each.partitions, is_public=each.is_public, may_grow=each.may_grow) for each in specs
    ]
    existing = {each.name: each.partitions for each in needed}
    touches = next(each for each in needed if each.name == flow.TOUCHES)
    assert partition_growth._known(needed, existing, touches) == {8}


SPECS = {spec.name: spec for spec in flow.topics(partitions=8, lanes=8, replication=3, dedup_for_ms=86_400_000)}


@pytest.mark.parametrize(
    ("topic", "key", "found", "is_fault", "breaks"),
    [
        (flow.TOUCHES, "message.timestamp.type", "CreateTime", True, True),
        (flow.TOUCHES, "message.timestamp.type", "LogAppendTime", False, False),
        (flow.TOUCHES, "retention.bytes", "1000000", True, False),
        (flow.TOUCHES, "retention.ms", "-1", False, False),
        (flow.TOUCHES, "max.message.bytes", "1000012", True, True),
        (flow.TOUCHES, "max.message.bytes", "99000000", False, False),
        (flow.RESULTS, "retention.ms", "604800000", True, True),
        (flow.RESULTS, "retention.bytes", "1073741824", True, True),
        (flow.RESULTS, "retention.ms", "-1", False, False),
        (flow.CONTROL, "cleanup.policy", "delete", True, True),
        (flow.SUPPRESSIONS, "cleanup.policy", "compact,delete", True, True),
        ("states-changelog", "cleanup.policy", "delete", True, True),
        ("states-changelog", "delete.retention.ms", "1000", True, True),
        ("states-changelog", "segment.bytes", "1073741824", True, False),
        ("states-changelog", "min.insync.replicas", "1", True, False),
    ],
)
def test_settings_that_could_lose_touches_stop_the_start_and_others_are_told(topic, key, found, is_fault, breaks):
    spec = SPECS[topic]
    required = RequiredTopic(topic, spec.partitions, spec.settings, is_public=spec.is_public)
    said = faults(required, {key: found})
    assert [(fault.key, fault.breaks) for fault in said] == ([(key, breaks)] if is_fault else [])
    for fault in said:
        assert f"--entity-name {topic} --add-config {key}=" in fault.line("kafka:9092")
