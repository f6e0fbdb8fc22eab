"""The promise, under harm: every touch one answer, no message twice. Seeded; every failure prints the touch's story."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from typing import TYPE_CHECKING

import pytest

from pipeline.local.kafka import LocalKafka
from tests.chaos.stack import CHANNELS, PROVIDER, Stack, table, touch

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LONG = bool(os.environ.get("LONG"))


@pytest.fixture
def stack(kafka: list[str], topic_prefix: str, tmp_path: Path) -> Iterator[Stack]:
    stack = Stack(kafka, topic_prefix, tmp_path)
    stack.start_sandbox()
    yield stack
    stack.stop_all()


async def test_two_workers_killed_every_two_seconds_lose_nothing_and_send_nothing_twice(stack: Stack) -> None:
    dice = random.Random(1)
    per_channel, kill_for_s = (2_000, 60) if not LONG else (20_000, 400)
    for number in range(2):
        stack.start(number)
    await stack.wait_for_topics()
    touches = [touch(channel, n) for n in range(per_channel) for channel in CHANNELS]
    producing = asyncio.create_task(stack.produce(touches, per_s=len(touches) / kill_for_s))
    began = time.monotonic()
    next_kill = began + 4

    async def harm() -> None:
        nonlocal next_kill
        stack.restart_the_dead()
        now = time.monotonic()
        if next_kill < now < began + kill_for_s:
            stack.kill(dice.randrange(2))
            next_kill = now + 2

    ended = await stack.follow(lambda: producing.done() and stack.all_ended(), deadline_s=kill_for_s + 120, meanwhile=harm)
    await producing
    assert ended, f"{stack.ended()} of {len(stack.produced)} have ended"
    figures = stack.judge()
    print(table("kill -9 every two seconds", figures, stack))
    assert stack.kills >= kill_for_s / 2 * 0.8
    assert all(f["unconfirmed"] == 0 for f in figures.values())


async def _broker_dies(stack: Stack, cluster: LocalKafka, away_s: float, deadline_s: float) -> float:
    """Kill broker 0 under load, bring it back; return seconds from its return to the first answer to a touch produced then."""
    for number in range(2):
        stack.start(number)
    await stack.wait_for_topics()
    touches = [touch(channel, n) for n in range(150) for channel in CHANNELS]
    await stack.produce(touches[:300])
    assert await stack.follow(lambda: stack.ended() >= 100, deadline_s=60)
    cluster.kill(0)
    gone = time.monotonic()
    while time.monotonic() - gone < away_s:
        stack.restart_the_dead()
        await asyncio.sleep(0.2)
    cluster.start_broker(0)
    back = time.monotonic()
    late = [each["touch_id"] for each in touches[300:]]

    async def supervise() -> None:
        stack.restart_the_dead()

    await stack.produce(touches[300:])
    assert await stack.follow(lambda: any(touch_id in stack.stories for touch_id in late), deadline_s=60, meanwhile=supervise), "not at work 60 s after Kafka's return"
    resumed = time.monotonic() - back
    assert await stack.follow(stack.all_ended, deadline_s=deadline_s, meanwhile=supervise), f"{stack.ended()} of {len(stack.produced)}"
    return resumed


@pytest.mark.parametrize(("brokers", "away_s"), [(1, 12.0), (3, 8.0)])
async def test_a_broker_that_dies_under_load_and_returns(brokers: int, away_s: float, topic_prefix: str, tmp_path: Path) -> None:
    with LocalKafka(tmp_path / "kafka", brokers=brokers) as cluster:
        stack = Stack(cluster.bootstrap_servers, topic_prefix, tmp_path, replication=min(3, brokers))
        stack.start_sandbox()
        try:
            resumed = await _broker_dies(stack, cluster, away_s, 120)
            print(table(f"one of {brokers} brokers killed for {away_s:.0f} s, at work again after {resumed:.1f} s", stack.judge(), stack))
        finally:
            stack.stop_all()


async def test_workers_frozen_past_the_session_timeout_and_woken_send_nothing_twice(stack: Stack) -> None:
    for number in range(2):
        stack.start(number)
    await stack.wait_for_topics()
    stack.rule(delay_ms=150)
    producing = asyncio.create_task(stack.produce([touch(channel, n) for n in range(400) for channel in CHANNELS], per_s=40))
    began = time.monotonic()
    plan = [(3.0, 0, signal.SIGSTOP), (13.0, 0, signal.SIGCONT), (16.0, 1, signal.SIGSTOP), (26.0, 1, signal.SIGCONT)]

    async def harm() -> None:
        while plan and time.monotonic() - began > plan[0][0]:
            _, number, what = plan.pop(0)
            stack.send(number, what)
        stack.restart_the_dead()

    assert await stack.follow(lambda: producing.done() and stack.all_ended(), deadline_s=120, meanwhile=harm)
    await producing
    assert not plan
    figures = stack.judge()
    print(table("frozen for 10 s, with a session of 6 s", figures, stack))
    assert all(f["unconfirmed"] == 0 for f in figures.values())


FREEZE_S = 60.0 if LONG else 14.0


async def _freeze_and_take_over(stack: Stack, frozen: int) -> None:
    """Let another worker take the frozen one's lanes over and end everything; then wake it and look again."""
    began = time.monotonic()

    async def others() -> None:
        for number, process in list(stack.workers.items()):
            if number != frozen and process.poll() is not None:
                stack.start(number)

    stack.start(frozen + 1)
    assert await stack.follow(stack.all_ended, deadline_s=90, meanwhile=others), f"{stack.ended()} of {len(stack.produced)}"
    while time.monotonic() - began < FREEZE_S:
        await asyncio.sleep(0.2)
    stack.send(frozen, signal.SIGCONT)
    await stack.follow(lambda: stack.workers[frozen].poll() is not None, deadline_s=8)


@pytest.mark.parametrize("channels", [(c,) for c in CHANNELS] if LONG else [CHANNELS])
async def test_a_worker_frozen_between_claim_and_call_sends_nothing_when_it_wakes(
    stack: Stack, channels: tuple[str, ...], tmp_path: Path
) -> None:
    mark = tmp_path / "frozen"
    stack.start(0, program="tests.chaos.freezing_worker", FREEZE_MARK=str(mark))
    await stack.wait_for_topics()
    await stack.produce([touch(channel, n) for n in range(20) for channel in channels])
    async with asyncio.timeout(30):
        while not mark.exists():
            await asyncio.sleep(0.05)
    await _freeze_and_take_over(stack, 0)
    figures = stack.judge()
    print(table(f"frozen {FREEZE_S:.0f} s between claim and call", figures, stack))
    assert all(figures[channel]["sent"] == 20 for channel in channels)


@pytest.mark.parametrize("channels", [(c,) for c in CHANNELS] if LONG else [CHANNELS])
async def test_a_worker_frozen_inside_a_call_sends_nothing_twice(stack: Stack, channels: tuple[str, ...]) -> None:
    stack.start(0)
    await stack.wait_for_topics()
    stack.rule(delay_ms=1_000, times=15)
    await stack.produce([touch(channel, n) for n in range(20) for channel in channels])
    async with asyncio.timeout(30):
        while not all(stack.arrivals(PROVIDER[channel]) for channel in channels):
            await asyncio.sleep(0.05)
    stack.send(0, signal.SIGSTOP)
    await _freeze_and_take_over(stack, 0)
    figures = stack.judge()
    print(table(f"frozen {FREEZE_S:.0f} s inside a call", figures, stack))
    assert all(figures[channel]["sent"] == 20 for channel in channels)
    assert any(figures[channel]["looked up"] for channel in channels)
