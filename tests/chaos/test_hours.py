"""Window and limit under harm, by the sandbox's own clock; and workers whose clocks move."""

from __future__ import annotations

import asyncio
import json
import random
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from tests.harness.judge import CHANNELS, Judgement
from tests.harness.reporting import LONG, MakeStack, Report
from tests.harness.stack import Stack, touch

if TYPE_CHECKING:
    from pathlib import Path

RATE, PER_MS = 30, 2_000
OPEN_S, CLOSED_S = 14, 10
SMS_MARGIN_MS = 5_000


async def test_no_call_begins_outside_window_and_limit_through_kills(make_stack: MakeStack, report: Report) -> None:
    """The window closes some 14 s after the worker is ready and opens again 10 s later (one day's window that is open all the rest)."""
    stack = make_stack(limit=f'{{ rate = {RATE}, per = "{PER_MS}ms" }}')
    stack.rule(delay_ms=20, delay_after_ms=20)
    began_s = time.time()
    stack.start(0)
    await stack.wait_for_topics()
    await stack.wait_for_work(0)
    # The window stands in the configuration: it is drawn up for as long as this machine takes to stop and start.
    closes_s = int(2 * time.time() - began_s) + OPEN_S
    opens_s = closes_s + CLOSED_S
    window = f'{{ opens = "{_clock(opens_s)}", closes = "{_clock(closes_s)}", zone = "UTC" }}'
    stack.config.update(window=window, email=f"batch = 1\nwindow = {window}")
    assert await stack.stop_gently(0) == 0
    stack.start(0)
    await stack.produce([touch(channel, n) for n in range(200) for channel in CHANNELS])
    kills = [closes_s - 7.0, closes_s - 1.0, closes_s + 7.0, opens_s + 2.0]

    async def harm() -> None:
        if kills and time.time() > kills[0]:
            kills.pop(0)
            stack.kill(0)
            stack.kills_of.update(CHANNELS)

    assert await stack.follow(stack.all_ended, deadline_s=120, meanwhile=harm), (
        f"{stack.ended()} of {len(stack.produced)}"
    )
    judgement = Judgement(stack)
    for channel in CHANNELS:
        margin_ms = SMS_MARGIN_MS if channel == "sms" else 0
        judgement.demand_window(channel, closes_s * 1000 - margin_ms, opens_s * 1000)
        judgement.demand_limit(channel, RATE, PER_MS)
    before = sum(arrival["at_ms"] < closes_s * 1000 for arrival in stack.arrivals("waha"))
    figures = report(
        f"Window closed for {CLOSED_S} s, limit {RATE} per {PER_MS} ms, lane owner killed (-9)",
        judgement,
        f"WhatsApp calls before the close {before}",
    ).figures
    assert not kills
    assert before > 0
    deferred = {
        stack.produced[touch_id]["channel"]
        for touch_id, story in stack.stories.items()
        if any(status["reason"] == "window" for status in story)
    }
    assert deferred == set(CHANNELS)
    assert all(f["sent"] == f["touches"] for f in figures.values())


def _clock(epoch_s: int) -> str:
    return datetime.fromtimestamp(epoch_s, UTC).strftime("%H:%M:%S")


async def test_clocks_that_move_within_the_allowance_harm_nothing(stack: Stack, report: Report, tmp_path: Path) -> None:
    """Two workers' clocks jump by up to 1 s to and fro, apart from each other by 2 s at most, which is the allowance.

    Both begin 30 s behind the provider's and are set right in the middle, at once: a clock set forward makes every open
    claim's lease look over. Clocks *ahead* of the provider's by more than 2 s are not promised to work: a look-up by
    text would pass over what the provider dates before the claim (docs/promise.md).
    """
    dice = random.Random(3)
    seconds, touches_per_s = (180 if LONG else 20), 60
    now_ms = time.time_ns() // 1_000_000
    set_right_ms = now_ms + (8 + seconds // 2) * 1000
    for number in range(2):
        moves = [
            (at_ms, dice.randint(-1_000, 1_000) - (30_000 if at_ms < set_right_ms else 0))
            for at_ms in range(now_ms - 1_500, now_ms + seconds * 5_000, 1_500)
        ]
        (tmp_path / f"clock-{number}.json").write_text(json.dumps(moves))
        stack.start(number, program="tests.harness.workers.jumping", CLOCK=str(tmp_path / f"clock-{number}.json"))
    await stack.wait_for_topics()
    await stack.wait_for_work(0, 1)
    stack.rule(provider="resend", drop="after", probability=0.2, seed=4)  # a hundred e-mails are one call
    stack.rule(drop="after", probability=0.03, seed=4)
    stack.rule(delay_ms=80, delay_after_ms=80)
    producing = asyncio.create_task(
        stack.produce(
            [touch(channel, n) for n in range(seconds * touches_per_s // 3) for channel in CHANNELS],
            per_s=touches_per_s,
        )
    )
    next_kill = time.monotonic() + 2

    async def harm() -> None:
        nonlocal next_kill
        stack.restart_the_dead()
        if not producing.done() and time.monotonic() > next_kill and await stack.kill_owner(dice.choice(CHANNELS)):
            next_kill = time.monotonic() + 4

    assert await stack.follow(
        lambda: producing.done() and stack.all_ended(), deadline_s=seconds + 120, meanwhile=harm
    ), f"{stack.ended()} of {len(stack.produced)}"
    await producing
    figures = report("Clocks that jump by 1 s, and once 30 s forward; kills, lost answers", stack).figures
    assert time.time_ns() // 1_000_000 > set_right_ms
    assert all(f["sent"] == f["touches"] for f in figures.values())
    assert all(f["looked up"] > 0 for f in figures.values())


async def test_a_clock_that_is_set_by_a_day_and_back_costs_no_day_and_no_call_too_many(
    make_stack: MakeStack, report: Report, tmp_path: Path
) -> None:
    """The worker's clock is a day ahead for 4 s, right for 4 s, a day behind for 4 s; retries and calls go on meanwhile."""
    rate, per_ms, day_ms = 2, 2_000, 86_400_000
    limit = f'{{ rate = {rate}, per = "{per_ms}ms" }}'
    stack = make_stack(limit=limit, email="batch = 1")
    now_ms = time.time_ns() // 1_000_000
    first_ms = now_ms + 15_000
    moves = [
        (now_ms - 1_500, 0),
        (first_ms, day_ms),
        (first_ms + 4_000, 0),
        (first_ms + 8_000, -day_ms),
        (first_ms + 12_000, 0),
    ]
    (tmp_path / "clock.json").write_text(json.dumps(moves))
    stack.start(0, program="tests.harness.workers.jumping", CLOCK=str(tmp_path / "clock.json"))
    await stack.wait_for_topics()
    await stack.wait_for_work(0)
    touches = [touch(channel, n) for n in range(24) for channel in CHANNELS]
    for each in touches[::5]:
        if each["channel"] != "email":  # there it is a 409, which the judge takes for a payload that has changed
            each["body"] += " #fail-once"
    await stack.produce(touches)
    assert await stack.follow(stack.all_ended, deadline_s=120), f"{stack.ended()} of {len(stack.produced)}"
    judgement = Judgement(stack)
    for channel in CHANNELS:
        judgement.demand_limit(channel, rate, per_ms)
    figures = report(f"Clock set by a day, back, and the other way; limit {rate} per {per_ms} ms", judgement).figures
    assert time.time_ns() // 1_000_000 > first_ms
    assert all(f["sent"] == f["touches"] for f in figures.values())
