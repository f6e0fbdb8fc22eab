"""Partitions that move under load: workers come and go, also with another configuration."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from tests.harness.judge import CHANNELS
from tests.harness.reporting import LONG, MakeStack, Report
from tests.harness.stack import Stack, touch

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

ROUNDS = 6 if LONG else 1


async def _under_load(
    stack: Stack, touches: list[dict[str, Any]], per_s: float, move: Callable[[], Awaitable[None]]
) -> None:
    """Produce and follow while `move` runs; return when all touches have ended."""
    producing = asyncio.create_task(stack.produce(touches, per_s=per_s))
    moving = asyncio.ensure_future(move())
    try:
        assert await stack.follow(
            lambda: moving.done() and producing.done() and stack.all_ended(), deadline_s=120 + 30 * ROUNDS
        ), f"{stack.ended()} of {len(stack.produced)}"
    finally:
        producing.cancel()
        moving.cancel()
    await moving


async def test_workers_that_come_and_go_under_load_exit_0_and_lose_nothing(stack: Stack, report: Report) -> None:
    stack.rule(delay_ms=50, delay_after_ms=50)
    stack.start(0)
    await stack.wait_for_topics()
    codes: list[int] = []

    async def move() -> None:
        for _ in range(ROUNDS):
            stack.start(1)
            stack.start(2)
            await stack.wait_for_work(0, 1, 2)
            codes.append(await stack.stop_gently(0))
            codes.append(await stack.stop_gently(1))
            await stack.wait_for_work(2)
            stack.start(0)
            await stack.wait_for_work(0, 2)
            codes.append(await stack.stop_gently(2))

    touches = [touch(channel, n) for n in range(300 * ROUNDS) for channel in CHANNELS]
    await _under_load(stack, touches, 60, move)
    figures = report("Workers 1, 3, 1 under load, stopped with SIGTERM", stack, f"exit codes {codes}").figures
    assert set(codes) == {0}
    assert stack.exits == []
    assert all(f["sent"] == f["touches"] for f in figures.values())


ONE_WAY = {"email": "batch = 100", "lease": "2s", "timeout": "3s", "limit": '{ rate = 5, per = "1s" }'}
BACKLOG = 2_000
OTHER_WAY = {"email": 'batch = 7\ngather = "5ms"', "lease": "1s", "timeout": "2s", "limit": '{ rate = 40, per = "1s" }'}


async def test_frozen_batches_survive_a_restart_with_another_configuration(
    make_stack: MakeStack, report: Report
) -> None:
    """Killed or stopped while batches of 100 are under way; whoever comes has another batch, lease, timeout and limit."""
    stack = make_stack(**ONE_WAY)
    stack.rule(delay_ms=300, delay_after_ms=300)
    stack.start(0)
    await stack.wait_for_topics()

    async def move() -> None:
        for at in range(ROUNDS):
            await stack.produce([touch("email", n) for n in range(at * BACKLOG, (at + 1) * BACKLOG)])
            await _wait_for_a_call(stack, 100)
            stack.config.update(OTHER_WAY)
            stack.kill(0)
            stack.kills_of.update(CHANNELS)
            await _wait_for_a_call(stack, 7)
            stack.config.update(ONE_WAY)
            assert await stack.stop_gently(0) == 0
            stack.start(0)

    await _under_load(stack, [touch(c, n) for n in range(50 * ROUNDS) for c in ("whatsapp", "sms")], 10, move)
    replayed = _replays(stack)
    figures = report(
        "Restarted with another batch, lease, request_timeout and limit",
        stack,
        f"sizes of the requests under a key that was used again: {replayed}",
    ).figures
    assert any(sizes[0] == 100 for sizes in replayed), "no frozen batch of 100 was replayed"
    assert all(len(set(sizes)) == 1 for sizes in replayed)
    assert all(f["sent"] == f["touches"] for f in figures.values())


async def _wait_for_a_call(stack: Stack, size: int) -> None:
    """Return when a new batch of `size` is under way: arrived once, and not judged yet."""
    async with asyncio.timeout(60):
        while not any(sizes == [size] for sizes in _requests(stack, pending=True)):
            await asyncio.sleep(0.05)


def _replays(stack: Stack) -> list[list[int]]:
    """Return the sizes of the requests of every key that was used more than once."""
    return [sizes for sizes in _requests(stack) if len(sizes) > 1]


def _requests(stack: Stack, *, pending: bool = False) -> list[list[int]]:
    """Return the sizes of the requests under every key; `pending`: only of keys that have no answer yet."""
    by_key: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for arrival in stack.arrivals("resend"):
        by_key[arrival["key"]].append(arrival)
    return [
        [each["count"] for each in arrivals]
        for arrivals in by_key.values()
        if not (pending and any(each["status"] for each in arrivals))
    ]
