"""The promise, under harm: every touch one answer, no message twice. Seeded; every failure prints the touch's story."""

from __future__ import annotations

import asyncio
import os
import random
import time
from typing import TYPE_CHECKING

import pytest

from tests.chaos.stack import CHANNELS, Stack, table, touch

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
