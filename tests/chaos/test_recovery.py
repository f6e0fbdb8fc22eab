"""How long a killed worker takes until it sends again, with a long history behind it."""

from __future__ import annotations

import asyncio
import shutil
import statistics
import time
from itertools import count

from tests.harness.reporting import LONG, MakeStack, Report
from tests.harness.stack import Stack, touch

HISTORY = 100_000 if LONG else 5_000
TIMES = 5 if LONG else 3
MOST_S = 10.0
LEFTOVER_MS = 150
"""A request of the killed process may still be on its way into the sandbox; no Python starts so fast."""


async def test_a_killed_worker_sends_again_within_ten_seconds(make_stack: MakeStack, report: Report) -> None:
    stack = make_stack()
    stack.start(0)
    await stack.wait_for_topics()
    began = time.monotonic()
    await stack.produce(touch("email", n) for n in range(HISTORY))
    assert await stack.follow(stack.all_ended, deadline_s=60 + HISTORY / 200)
    history_s = time.monotonic() - began
    is_over = False
    producing = asyncio.create_task(
        stack.produce((touch("email", n) for n in count(HISTORY)), per_s=50, until=lambda: is_over)
    )
    warm = [await _resume_s(stack) for _ in range(TIMES)]
    cold = [await _resume_s(stack, keeps_tables=False) for _ in range(TIMES if LONG else 1)]
    is_over = True
    await producing
    assert await stack.follow(stack.all_ended, deadline_s=60)
    stack.kills_of["email"] = stack.kills
    report(
        f"Killed (-9) with {HISTORY:,} ended touches behind it",
        stack,
        f"history in {history_s:.0f} s; from process start to the next accepted call: median {statistics.median(warm):.1f} s "
        f"({_said(warm)}); with its data folder lost {statistics.median(cold):.1f} s ({_said(cold)})",
    )
    assert statistics.median(warm) < MOST_S


async def _resume_s(stack: Stack, *, keeps_tables: bool = True) -> float:
    """Kill the worker at work, start it again, and return the seconds until the sandbox accepts its next call."""
    await stack.wait_for_work(0)
    known = stack.accepted_count()
    await _next_accepted(stack, known, 0)
    stack.workers[0].kill()
    stack.workers[0].wait()
    if not keeps_tables:
        shutil.rmtree(stack.folder / "data-0")
    stack.kills += 1
    stack.start_again(0)
    started_ms = time.time_ns() // 1_000_000
    return (await _next_accepted(stack, known, started_ms + LEFTOVER_MS) - started_ms) / 1000


async def _next_accepted(stack: Stack, known: int, after_ms: int) -> int:
    async with asyncio.timeout(60):
        while True:
            at = [message["at_ms"] for message in stack.accepted(known) if message["at_ms"] > after_ms]
            if at:
                return min(at)
            await asyncio.sleep(0.05)


def _said(seconds: list[float]) -> str:
    return ", ".join(f"{each:.1f}" for each in seconds)
