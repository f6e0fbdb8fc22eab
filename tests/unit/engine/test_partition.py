"""One owned partition: order, holes, back-pressure, parking."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest

from pipeline.engine.agent import NotReady
from pipeline.engine.batch import Batch
from pipeline.engine.commit_slots import SLOTS, CommitSlots
from pipeline.engine.inbox import INBOX_RECORDS, STEP_BYTES, OffsetGap
from pipeline.engine.partition import KEEPALIVE_S, LARGE_STEP, STEP_RECORDS, Partition
from pipeline.stage_io import Record


@dataclass
class Done:
    changes: dict = field(default_factory=dict)
    outputs: list = field(default_factory=list)
    wake_ms: int | None = None
    rest_ms: int = 0


class FakeTable:
    def __init__(self):
        self.commits = []
        self.gate = asyncio.Event()
        self.gate.set()

    def note(self, last):
        pass

    async def commit(self, changes, outputs, next_offset):
        await self.gate.wait()
        self.commits.append((dict(changes), next_offset))


class FakeAgent:
    def __init__(self):
        self.seen, self.drained, self.not_yet, self.steps, self.rest_ms = [], 0, False, 0, 0

    wake_ms = None

    def open(self, table, now_ms, wake):
        self.wake = wake

    def step(self, records, table, now_ms):
        self.steps += 1
        if self.not_yet:
            raise NotReady
        self.seen += [r.offset for r in records]
        return Done({b"n": b"%d" % len(self.seen)} if records else {}, rest_ms=self.rest_ms, wake_ms=self.wake_ms)

    def committed(self, step):
        pass

    async def drain(self):
        self.drained += 1

    def resume(self):
        pass

    async def close(self):
        pass


def batch(start, end, offsets=None):
    rows = range(start, end) if offsets is None else offsets
    return Batch("t", 0, start, end, epoch=1, records=[Record("t", 0, o, 0, None, b"") for o in rows])


@pytest.fixture
async def running():
    partition = Partition("t", 0, FakeTable(), FakeAgent(), lambda: 0)
    partition.open(10)
    task = asyncio.create_task(partition.run())
    yield partition
    task.cancel()


async def until(condition):
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0)


async def test_records_are_applied_in_order_and_the_position_covers_markers(running):
    running.deliver(batch(10, 15, [10, 12]))
    running.deliver(batch(15, 17))
    await until(lambda: running.applied == 17)
    assert running.agent.seen == [10, 12, 15, 16]
    assert running.table.commits[-1][1] == 17


async def test_the_position_is_behind_the_last_record_when_a_step_ends_within_a_batch(running):
    running.table.gate.clear()
    running.deliver(batch(10, 11))
    await until(lambda: running.agent.seen)
    running.deliver(batch(11, 20))
    running.deliver(batch(20, 20 + STEP_RECORDS))
    running.table.gate.set()
    await until(lambda: running.applied == 20 + STEP_RECORDS)
    assert [position for _, position in running.table.commits] == [11, 11 + STEP_RECORDS, 20 + STEP_RECORDS]


async def test_an_idle_partition_commits_once_a_day_so_that_kafka_does_not_forget_its_transactional_id(
    running, monkeypatch
):
    running.deliver(batch(10, 12))
    await until(lambda: running.applied == 12)
    commits, began = len(running.table.commits), time.monotonic()

    async def look_up(after_s):
        stepped = running.agent.steps
        monkeypatch.setattr("pipeline.engine.partition.time", SimpleNamespace(monotonic=lambda: began + after_s))
        running.agent.wake()
        await until(lambda: running.agent.steps > stepped)
        await asyncio.sleep(0.01)

    await look_up(KEEPALIVE_S - 60)
    assert len(running.table.commits) == commits
    await look_up(KEEPALIVE_S + 60)
    assert running.table.commits[commits:] == [({}, 12)]
    await look_up(KEEPALIVE_S + 120)
    assert len(running.table.commits) == commits + 1
    assert KEEPALIVE_S < 7 * 86_400, "Kafka's transactional.id.expiration.ms"


async def test_what_was_applied_before_is_skipped_and_a_hole_is_seen(running):
    running.deliver(batch(5, 12))
    await until(lambda: running.applied == 12)
    assert running.agent.seen == [10, 11]
    with pytest.raises(OffsetGap, match="expected offset 12, got 14"):
        running.deliver(batch(14, 20))


async def test_a_full_partition_is_not_fetched_so_memory_is_bounded(running):
    running.table.gate.clear()
    assert running.has_room
    running.deliver(batch(10, 10 + STEP_RECORDS + INBOX_RECORDS))
    await asyncio.sleep(0.01)
    assert not running.has_room
    running.table.gate.set()
    await until(lambda: running.has_room)


async def test_a_parked_partition_stands_still_and_reads_again_what_it_had_not_applied(running):
    running.table.gate.clear()
    running.deliver(batch(10, 10 + STEP_RECORDS + 5))
    await asyncio.sleep(0.01)
    parking = asyncio.create_task(running.park())
    await asyncio.sleep(0.01)
    running.table.gate.set()
    await parking
    assert (running.applied, running.expected) == (10 + STEP_RECORDS, 10 + STEP_RECORDS)
    assert running.agent.drained == 1
    running.deliver(batch(600, 700))
    running.resume()
    running.deliver(batch(10 + STEP_RECORDS, 10 + STEP_RECORDS + 5))
    await until(lambda: running.applied == 10 + STEP_RECORDS + 5)


@pytest.fixture
async def resting(running):
    """A partition whose agent has just stepped, and said that arrivals may wait for a minute."""
    running.agent.rest_ms = 60_000
    running.deliver(batch(10, 11))
    await until(lambda: running.applied == 11)
    running.deliver(batch(11, 12))
    await asyncio.sleep(0.02)
    assert running.agent.seen == [10], "it waits for others to share its transaction"
    return running


async def test_arrivals_share_a_transaction_when_the_rest_is_over(running):
    running.agent.rest_ms = 100
    running.deliver(batch(10, 11))
    await until(lambda: running.applied == 11)
    for n in range(11, 20):
        running.deliver(batch(n, n + 1))
        await asyncio.sleep(0)
    await until(lambda: running.applied == 20)
    assert len(running.table.commits) == 2


async def test_after_a_quiet_time_a_record_does_not_wait(running):
    running.agent.rest_ms = 50
    running.deliver(batch(10, 11))
    await until(lambda: running.applied == 11)
    await asyncio.sleep(0.06)
    running.deliver(batch(11, 12))
    async with asyncio.timeout(0.04):
        await until(lambda: running.applied == 12)


async def test_a_rest_ends_when_the_agent_asks_for_a_step(resting):
    resting.agent.wake()
    await until(lambda: resting.applied == 12)


async def test_a_rest_ends_when_the_inbox_is_full(resting):
    resting.deliver(batch(12, 12 + INBOX_RECORDS))
    await until(lambda: resting.applied == 12 + INBOX_RECORDS - 1)


async def test_a_rest_ends_at_the_instant_of_the_agents_own_step(running):
    running.agent.rest_ms, running.agent.wake_ms = 60_000, 30  # the clock stands at 0
    running.deliver(batch(10, 11))
    await until(lambda: running.applied == 11)
    running.deliver(batch(11, 12))
    await until(lambda: running.applied == 12)


async def test_a_resting_partition_is_parked_at_once(resting):
    async with asyncio.timeout(1):
        await resting.park()
    assert (resting.applied, resting.expected) == (11, 11), "what it had not applied is read again"


async def test_records_a_stage_cannot_judge_yet_come_again(running):
    running.agent.not_yet = True
    running.deliver(batch(10, 12))
    await asyncio.sleep(0.01)
    assert (running.agent.seen, running.applied) == ([], 10)
    running.agent.not_yet = False
    running._retry_at_ms = 0
    await until(lambda: running.agent.seen == [10, 11])


@pytest.fixture
async def crowded():
    """Three times as many partitions as may go at once, each with much to do and a commit under way or to come."""
    commit_slots = CommitSlots()
    partitions = [
        Partition("t", n, FakeTable(), FakeAgent(), lambda: 0, commit_slots=commit_slots) for n in range(3 * SLOTS)
    ]
    tasks = []
    for partition in partitions:
        partition.open(0)
        partition.table.gate.clear()
        partition.deliver(batch(0, LARGE_STEP))
        tasks.append(asyncio.create_task(partition.run()))
    yield partitions
    for task in tasks:
        task.cancel()


def at_it(partitions):
    return [partition for partition in partitions if partition.agent.seen]


@pytest.fixture
def endless_slots(monkeypatch):
    monkeypatch.setattr("pipeline.engine.commit_slots.SLOT_S", 60)


@pytest.mark.usefixtures("endless_slots")
async def test_of_many_with_much_to_do_few_go_at_once_and_one_with_little_goes_at_once(crowded):
    await until(lambda: len(at_it(crowded)) == SLOTS)
    small = Partition("t", 99, FakeTable(), FakeAgent(), lambda: 0, commit_slots=crowded[0]._commit_slots)
    small.open(0)
    small.deliver(batch(0, 1))
    task = asyncio.create_task(small.run())
    await until(lambda: small.table.commits)
    task.cancel()
    assert len(at_it(crowded)) == SLOTS, "the others wait for a turn"
    for partition in crowded:
        partition.table.gate.set()
    await until(lambda: all(partition.table.commits for partition in crowded))


async def test_a_commit_that_hangs_keeps_nobody_else_from_his_turn(monkeypatch, crowded):
    monkeypatch.setattr("pipeline.engine.commit_slots.SLOT_S", 0.05)
    async with asyncio.timeout(5):
        while len(at_it(crowded)) < len(crowded):
            await asyncio.sleep(0.01)
    assert not any(partition.table.commits for partition in crowded)


def heavy(start, end, size):
    return Batch(
        "t", 0, start, end, epoch=1, records=[Record("t", 0, o, 0, None, bytes(size)) for o in range(start, end)]
    )


async def test_a_step_takes_up_a_bounded_number_of_bytes_and_a_partition_holds_a_bounded_number(running):
    running.table.gate.clear()
    running.deliver(heavy(10, 22, 1_000_000))
    assert not running.has_room, "twelve records, and twelve megabytes"
    await until(lambda: len(running.agent.seen) == 5)
    running.table.gate.set()
    await until(lambda: running.applied == 22)
    assert [position for _, position in running.table.commits] == [15, 20, 22]
    assert running.has_room


async def test_a_record_larger_than_a_step_is_a_step_of_its_own(running):
    running.deliver(heavy(10, 12, STEP_BYTES + 1))
    await until(lambda: running.applied == 12)
    assert [position for _, position in running.table.commits] == [11, 12]


async def test_steps_that_take_long_are_halved_until_they_do_not_and_grow_again(running, monkeypatch):
    sizes, cost_s = [], 0.01
    now = [0.0]
    monkeypatch.setattr("pipeline.engine.partition.time.monotonic", lambda: now[0])
    step = running.agent.step

    def slow(records, table, now_ms):
        sizes.append(len(records))
        now[0] += cost_s * len(records)
        return step(records, table, now_ms)

    running.agent.step = slow
    running.deliver(batch(10, 510))
    await until(lambda: running.applied == 510)
    assert sizes[0] == 500
    assert sizes[1:5] == [], "nothing is left of them"
    running.deliver(batch(510, 1010))
    await until(lambda: running.applied == 1010)
    cost_s = 0.00001
    running.deliver(batch(1010, 1510))
    await until(lambda: running.applied == 1510)
    slow_ones = [size for size in sizes[1:] if size and size <= 250]
    assert slow_ones[:5] == [250, 125, 62, 31, 15]
    assert max(sizes[-4:]) > 60


async def test_records_that_wait_unread_are_those_behind_the_inbox_and_in_it(running):
    assert running.behind(10) == running.behind(None) == 0
    assert running.behind(25) == 15
    running.deliver(batch(10, 15, [10, 12]))
    assert running.behind(25) == 12, "two in the inbox, ten behind it"
    await until(lambda: running.applied == 15)
    assert running.behind(25) == 10
    assert running.behind(12) == 0, "an end that is out of date"
