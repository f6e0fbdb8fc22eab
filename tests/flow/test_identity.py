"""Topics that are not what they were, and folders that are somebody else's: decided loudly, and nothing is lost by it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic, RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from tests.harness.stack import PARTITIONS, ROOT, touch

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.harness.reporting import MakeStack
    from tests.harness.stack import Stack

DAY_MS = 86_400_000


@asynccontextmanager
async def admin_of(stack: Stack) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(bootstrap_servers=stack.servers)
    await admin.start()
    try:
        yield admin
    finally:
        await admin.close()


async def create_anew(stack: Stack, topic: str) -> None:
    async with admin_of(stack) as admin:
        await admin.delete_topics([stack.prefix + topic])
        while stack.prefix + topic in await admin.list_topics():
            pass
        answer = await admin.create_topics([NewTopic(stack.prefix + topic, PARTITIONS, 1)])
        assert all(error[1] in (0, 36) for error in answer.topic_errors), (
            answer
        )  # a worker that restarted may have been quicker


def logs(stack: Stack) -> str:
    return "".join(path.read_text() for path in stack.folder.glob("worker-*.log"))


async def supervise(stack: Stack, deadline_s: float = 60.0) -> bool:
    async def restart() -> None:
        stack.restart_the_dead()

    return await stack.follow(stack.all_ended, deadline_s=deadline_s, meanwhile=restart)


async def test_a_topic_created_anew_under_a_running_worker_or_a_stopped_one_is_read_from_its_beginning(
    make_stack: MakeStack,
):
    stack = make_stack()
    stack.start(0)
    await stack.wait_for_topics()
    await stack.wait_for_work(0)
    await stack.produce([touch("email", n) for n in range(200)])
    assert await supervise(stack)
    await create_anew(stack, "touches")
    await stack.produce([touch("email", n) for n in range(200, 400)])
    assert await supervise(stack)
    assert "touches was deleted and created anew while this worker ran" in logs(stack) or "has no offset" in logs(stack)
    assert "touches[0] was deleted and created anew; it is read from its beginning, 0" in logs(stack)

    await stack.stop_gently(0)
    await create_anew(stack, "touches")
    await stack.produce([touch("email", n) for n in range(400, 1200)])
    stack.start_again(0)
    assert await supervise(stack)
    stack.judge()
    assert len(stack.accepted()) == 1200


async def test_records_deleted_ahead_of_a_running_worker_are_told_and_counted_and_it_goes_on(make_stack: MakeStack):
    stack = make_stack()
    stack.start(0)
    await stack.wait_for_topics()
    await stack.wait_for_work(0)
    await stack.produce([touch("email", n) for n in range(20)])
    assert await supervise(stack)
    stack.send(0, signal.SIGSTOP)
    topic = f"{stack.prefix}touches"
    producer = AIOKafkaProducer(bootstrap_servers=stack.servers)
    await producer.start()
    ends = [
        (await producer.send_and_wait(topic, b"{}", partition=p)).offset + 1
        for p in range(PARTITIONS)
        for _ in range(9)
    ][8::9]
    await producer.stop()
    async with admin_of(stack) as admin:
        await admin.delete_records(
            {TopicPartition(topic, p): RecordsToDelete(before_offset=ends[p]) for p in range(PARTITIONS)}
        )
    stack.send(0, signal.SIGCONT)
    await stack.produce([touch("email", n) for n in range(20, 40)])
    assert await supervise(stack)
    assert "were deleted before they were read (retention?): " in logs(stack)


async def test_a_folder_of_another_prefix_is_wiped_and_said(make_stack: MakeStack):
    first, second = make_stack(name="a"), make_stack(name="b")
    first.start(0)
    await first.wait_for_topics()
    await first.produce([touch("sms", n) for n in range(60)])
    assert await supervise(first)
    await first.stop_gently(0)
    shutil.copytree(first.folder / "data-0", second.folder / "data-0")
    second.start(0)
    await second.wait_for_topics()
    await second.produce([touch("sms", n) for n in range(60)])
    assert await supervise(second)
    second.judge()
    assert len(second.accepted()) == 60
    assert "is wiped and restored from Kafka: it is a copy of another changelog" in logs(second)


async def test_a_changelog_that_was_deleted_stops_the_worker_before_it_sends_again(make_stack: MakeStack):
    stack = make_stack()
    stack.start(0)
    await stack.wait_for_topics()
    await stack.produce([touch("sms", n) for n in range(20)])
    assert await supervise(stack)
    await stack.stop_gently(0)
    async with admin_of(stack) as admin:
        await admin.delete_topics([f"{stack.prefix}lanes-sms-changelog"])
    shutil.rmtree(stack.folder / "data-0" / "tables")
    stack.start_again(0)
    assert stack.workers[0].wait(40) == 1
    assert "Going on would send messages again" in logs(stack)
    assert len(stack.accepted()) == 20


async def test_settings_that_break_the_promise_stop_the_start_with_the_command_that_mends_them(
    make_stack: MakeStack, tmp_path
):
    stack = make_stack()
    async with admin_of(stack) as admin:
        await admin.create_topics(
            [
                NewTopic(
                    f"{stack.prefix}touches",
                    PARTITIONS,
                    1,
                    topic_configs={"max.message.bytes": "1000012", "retention.bytes": "-1"},
                ),
                NewTopic(
                    f"{stack.prefix}touches.sms",
                    PARTITIONS,
                    1,
                    topic_configs={"max.message.bytes": "1048588", "retention.ms": "-1"},
                ),
                NewTopic(f"{stack.prefix}touches.results", PARTITIONS, 1),
                NewTopic(
                    f"{stack.prefix}states-changelog", PARTITIONS, 1, topic_configs={"max.message.bytes": "20000000"}
                ),
            ]
        )
    stack.start(0)
    assert stack.workers[0].wait(40) == 1
    said = [
        line.partition(f"pipeline: error: topic {stack.prefix}")[2]
        for line in logs(stack).splitlines()
        if "pipeline: error: " in line
    ]
    assert sorted(line.split(";")[0] for line in said) == [
        "states-changelog has cleanup.policy=delete, required is compact",
        "touches.results has retention.ms=604800000, required is -1",
        "touches.sms has max.message.bytes=1048588, required is 4194304",
    ]
    assert all("fix it with: kafka-configs.sh --bootstrap-server" in line for line in said)
    check = subprocess.run(
        [sys.executable, "-m", "faust", "-A", "pipeline", "check"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "PIPELINE_CONFIG": str(stack.folder / "worker-0.toml"),
        },
    )
    assert check.returncode == 1
    assert "cleanup.policy=delete, required is compact" in check.stdout + check.stderr
    # touches is the producers' topic: what it lacks is set.
    async with admin_of(stack) as admin:
        [found] = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, f"{stack.prefix}touches")])
        settings = {entry[0]: entry[1] for entry in found.resources[0][4]}
    assert settings["message.timestamp.type"] == "LogAppendTime"
    assert int(settings["max.message.bytes"]) > 1024 * 1024
    assert settings["retention.bytes"] == "-1"


@pytest.mark.parametrize("stamp_ms", [0, 1_700_000_000, -45 * DAY_MS])
async def test_touches_stamped_long_ago_are_not_deleted_unread(make_stack: MakeStack, stamp_ms: int):
    stack = make_stack()
    stack.start(0)
    await stack.wait_for_topics()
    each = touch("email", 1)
    stack.produced[each["touch_id"]] = each
    producer = AIOKafkaProducer(bootstrap_servers=stack.servers)
    await producer.start()
    stamped = stamp_ms if stamp_ms >= 0 else int(time.time() * 1000) + stamp_ms
    answer = await producer.send_and_wait(f"{stack.prefix}touches", b"{}", partition=0, timestamp_ms=stamped)
    await producer.stop()
    assert answer.timestamp_type == 1, "LogAppendTime"
    assert abs(answer.timestamp - time.time() * 1000) < 60_000
