"""Partitions are added to `touches` while the pipeline runs."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING

from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.new_partitions import NewPartitions

from tests.harness.stack import LANE, PARTITIONS, ROOT, touch

if TYPE_CHECKING:
    from tests.harness.stack import Stack

BEYOND = 30
"""Touches that producers write to partitions nobody reads."""


async def grow(stack: Stack, *topics: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=stack.servers)
    await admin.start()
    try:
        await admin.create_partitions({f"{stack.prefix}{topic}": NewPartitions(2 * PARTITIONS) for topic in topics})
    finally:
        await admin.close()


async def produce_beyond(stack: Stack, touches: list[dict]) -> None:
    """Produce as a client does that has seen the new partitions."""
    producer = AIOKafkaProducer(bootstrap_servers=stack.servers)
    await producer.start()
    try:
        for n, each in enumerate(touches):
            await producer.send_and_wait(
                f"{stack.prefix}touches",
                json.dumps(each).encode(),
                each["touch_id"].encode(),
                partition=PARTITIONS + n % PARTITIONS,
            )
    finally:
        await producer.stop()


def command(stack: Stack, *arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PIPELINE_CONFIG": str(stack.folder / "worker-0.toml")}
    return subprocess.run(
        [sys.executable, "-m", "faust", "-A", "pipeline", *arguments],
        check=False,
        cwd=ROOT,
        env=environment,
        input=given,
        capture_output=True,
        text=True,
        timeout=60,
    )


async def said(stack: Stack, number: int, line: str) -> None:
    log, deadline = stack.folder / f"worker-{number}.log", time.monotonic() + 90
    while line not in log.read_text():
        assert time.monotonic() < deadline, log.read_text()[-3_000:]
        await asyncio.sleep(0.2)


async def test_a_fleet_goes_on_with_the_partitions_it_knows_and_says_what_waits_in_the_others(stack: Stack):
    for number in (0, 1):
        stack.start(number)
    await stack.wait_for_topics()
    await stack.wait_for_work(0, 1)
    await grow(stack, "touches", "touches.sms", "accepted-changelog")
    later = [touch("sms", n) for n in range(1_000, 1_000 + BEYOND)]
    await produce_beyond(stack, later)
    await stack.produce([touch(channel, n) for channel in LANE for n in range(20)])
    assert await stack.follow(stack.all_ended, deadline_s=60)

    # It is said at each start and by `check`; nobody has ended, and nothing advises to delete.
    assert await stack.stop_gently(0) == 0
    stack.start(0)
    await stack.wait_for_work(0, 1)
    warning = (
        f"{stack.prefix}touches has 8 partitions, 4 are configured: only those are read; {BEYOND} records in partitions"
    )
    await said(stack, 0, warning)
    checked = await asyncio.to_thread(command, stack, "check")
    assert warning in " ".join(checked.stdout.split()), checked.stdout + checked.stderr
    assert "--delete" not in checked.stdout
    assert all(process.poll() is None for process in stack.workers.values())

    # What waits is brought over as operations.md says, and our own command writes where it is read.
    waiting = "".join(f"{json.dumps(each)}\n" for each in later)
    done = await asyncio.to_thread(command, stack, "produce", "-", given=waiting)
    assert done.returncode == 0, done.stderr
    stack.produced |= {each["touch_id"]: each for each in later}
    assert await stack.follow(stack.all_ended, deadline_s=60)
    stack.judge()

    # And as it happens, by whom nobody has restarted.
    await said(stack, 1, f"{stack.prefix}touches has 8 partitions")


async def test_partitions_are_added_on_purpose_and_what_was_accepted_before_is_recognised(stack: Stack):
    stack.start(0)
    await stack.wait_for_topics()
    await stack.wait_for_work(0)
    before = [touch(channel, n) for channel in LANE for n in range(20)]
    later = [
        touch("sms", n, not_before=int(time.time() * 1000) + 45_000) for n in range(100, 105)
    ]  # in the scheduler meanwhile
    await stack.produce([*before, *later])
    await stack.follow(lambda: stack.ended() >= len(before), deadline_s=60)

    config = stack.folder / "worker-0.toml"
    alone = await asyncio.to_thread(command, stack, "repartition")
    assert (alone.returncode, "kafka.partitions_before is not set" in alone.stderr) == (2, True), alone.stderr
    grown = "partitions = 7\npartitions_before = 4\n"
    config.write_text(config.read_text().replace("partitions = 4\n", grown))
    refused = await asyncio.to_thread(command, stack, "repartition")
    assert refused.returncode == 1
    assert "1 workers of the group" in refused.stderr

    assert await stack.stop_gently(0) == 0
    # Its membership is kept for the session's time, in case it comes back.
    deadline = time.monotonic() + 60
    while (done := await asyncio.to_thread(command, stack, "repartition")).returncode:
        assert "1 workers of the group" in done.stderr, done.stderr
        assert time.monotonic() < deadline
    assert f"{stack.prefix}touches: 4 partitions, now 7" in done.stdout
    assert f"{stack.prefix}accepted-changelog: 4 partitions, now 7" in done.stdout
    assert "touches.sms" not in done.stdout
    again = await asyncio.to_thread(command, stack, "repartition")
    assert f"{stack.prefix}touches: 7 partitions\n" in again.stdout

    # A worker of before does not start any more.
    stack.start(1)
    assert await asyncio.to_thread(stack.workers.pop(1).wait, 60) == 1
    assert "configure 7 partitions" in (stack.folder / "worker-1.log").read_text()

    stack.template, stack.partitions = stack.template.replace("partitions = 4\n", grown), 7
    stack.start(0)
    await stack.wait_for_work(0)
    await stack.produce([*before, *later, *(touch(channel, n) for channel in LANE for n in range(200, 240))])
    assert await stack.follow(stack.all_ended, deadline_s=90)
    stack.judge()
    assert {story[0]["sequence"] for story in stack.stories.values()} == {1}
