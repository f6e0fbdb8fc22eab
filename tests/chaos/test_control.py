"""Orders and suppressions through kills, freezes and restarts: what was answered `done` holds (contract, 1.9)."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import Any

import pytest

from tests.harness.judge import CHANNELS
from tests.harness.reporting import LONG
from tests.harness.stack import ROOT, Stack, touch

ROUNDS = 40 if LONG else 6
SMS = "+15005550006"


@dataclass
class Done:
    """What a command said, and when it returned by the clock of the stand-in provider's machine."""

    code: int
    said: dict[str, Any]
    at_ms: int
    took_s: float
    error: str


async def command(stack: Stack, *words: str) -> Done:
    """Run a command of `faust -A pipeline` as an operator does."""
    began = time.monotonic()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "faust", "-A", "pipeline", "--json", *words),
        cwd=ROOT,
        env={**os.environ, "PIPELINE_CONFIG": str(stack.folder / "worker-0.toml")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    out, err = await process.communicate()
    lines = [line for line in out.decode().splitlines() if line.startswith("{")]
    said = json.loads(lines[-1]) if lines else {}
    return Done(process.returncode or 0, said, time.time_ns() // 1_000_000, time.monotonic() - began, err.decode())


async def order(stack: Stack, *words: str) -> Done:
    done = await command(stack, *words, "--note", "test")
    assert done.code == 0, (words, done.said, done.error)
    return done


def arrived_after(stack: Stack, at_ms: int) -> list[dict[str, Any]]:
    return [
        each for provider in ("waha", "resend", "twilio") for each in stack.arrivals(provider) if each["at_ms"] > at_ms
    ]


def ends(stack: Stack, *touch_ids: str) -> list[tuple[str, str | None]]:
    return [(stack.stories[each][-1]["state"], stack.stories[each][-1]["reason"]) for each in touch_ids]


async def test_what_is_ordered_is_obeyed_told_and_taken_back(stack: Stack) -> None:
    stack.start(0)
    await stack.wait_for_topics()
    await stack.wait_for_work(0)
    held = await order(stack, "pause", "--channel", "sms")
    parked = await order(stack, "pause", "--campaign", "c1")
    print(f"in force after {held.took_s:.1f} s and {parked.took_s:.1f} s, the start of the command included")
    await stack.produce([touch(channel, n) for n in range(3) for channel in CHANNELS])
    assert await stack.follow(lambda: stack.ended() == 4, deadline_s=40)
    assert ends(stack, "email-0", "email-2", "whatsapp-0", "whatsapp-2") == [("sent", None)] * 4
    assert ends(stack, "email-1", "whatsapp-1", "sms-1") == [("deferred", "paused")] * 3
    assert stack.stories["email-1"][-1]["order"] == "pause:campaign=c1"
    cancelled = await order(stack, "cancel", "--touch", "email-1")
    await order(stack, "resume", "--campaign", "c1")
    await order(stack, "resume", "--channel", "sms")
    assert await stack.follow(stack.all_ended, deadline_s=60)
    assert (
        ends(stack, "email-1", "whatsapp-1", "sms-0", "sms-1", "sms-2")
        == [("cancelled", "touch")] + [("sent", None)] * 4
    )
    assert stack.stories["email-1"][-1]["order"] == cancelled.said["key"]
    assert not stack.exits


async def test_an_entry_and_a_providers_refusal_suppress_the_next_touch(stack: Stack) -> None:
    stack.start(0)
    await stack.wait_for_topics()
    await stack.wait_for_work(0)
    done = await command(stack, "suppressions", "add", "--address", "p7@example.com", "--reason", "unsubscribed")
    assert done.code == 0, done.error
    stack.rule(provider="twilio", status=400, code="21610", times=1)
    await stack.produce(
        [touch("sms", 1), touch("email", 7), touch("email", 7, touch_id="email-t", purpose="transactional")]
    )
    assert await stack.follow(stack.all_ended, deadline_s=40)
    assert ends(stack, "sms-1", "email-7", "email-t") == [
        ("failed", "rejected"),
        ("suppressed", "unsubscribed"),
        ("sent", None),
    ]
    await asyncio.sleep(2)  # an entry is obeyed within a second of its commit
    stack.behave()
    await stack.produce([touch("sms", 1, touch_id="sms-again"), touch("whatsapp", 1)])
    assert await stack.follow(stack.all_ended, deadline_s=40)
    assert ends(stack, "sms-again", "whatsapp-1") == [("suppressed", "opt_out")] * 2
    assert not arrived_after(stack, done.at_ms + 60_000)


async def test_no_call_begins_after_a_pause_was_answered_through_kills_freezes_and_restarts(stack: Stack) -> None:
    dice = random.Random(16)
    stack.rule(delay_ms=100, delay_after_ms=100)
    for number in range(2):
        stack.start(number)
    await stack.wait_for_topics()
    await stack.wait_for_work(0, 1)
    touches = (touch(channel, number) for number in range(10**6) for channel in CHANNELS)
    is_over = asyncio.Event()
    producing = asyncio.create_task(stack.produce(touches, per_s=40, until=is_over.is_set))
    faults: list[str] = []
    took: list[float] = []
    try:
        for _ in range(ROUNDS):
            await asyncio.sleep(1)
            harm = asyncio.create_task(_harm(stack, dice))
            done = await order(stack, "pause", "--all", "--timeout", "120s")
            took.append(done.took_s)
            await asyncio.sleep(3)
            faults += [f"{each} after {done.at_ms}" for each in arrived_after(stack, done.at_ms)]
            await harm
            await asyncio.sleep(2)
            faults += [f"{each} after {done.at_ms}" for each in arrived_after(stack, done.at_ms)]
            await order(stack, "resume", "--all", "--timeout", "120s")
    finally:
        is_over.set()
        await producing

    async def supervise() -> None:
        stack.restart_the_dead()

    print(f"{ROUNDS} pauses of all, in force after {min(took):.1f} to {max(took):.1f} s; {stack.kills} kills")
    assert faults == []
    stack.behave()
    assert await stack.follow(stack.all_ended, deadline_s=180, meanwhile=supervise)
    counts = stack.judge()
    assert all(found["sent"] == found["touches"] for found in counts.values()), counts


async def _harm(stack: Stack, dice: random.Random) -> None:
    """Kill, freeze or restart one worker, or all."""
    await asyncio.sleep(2 * dice.random())
    number = dice.randrange(2)
    match dice.randrange(4):
        case 0:
            stack.kill(number)
        case 1:
            stack.send(number, signal.SIGSTOP)
            await asyncio.sleep(15)
            stack.send(number, signal.SIGCONT)
            await asyncio.sleep(3)
            stack.restart_the_dead()
        case 2:
            await stack.stop_gently(number)
            stack.start(number)
        case _:
            stack.kill(0)
            stack.kill(1)


@pytest.mark.parametrize("channel", CHANNELS)
async def test_a_pause_survives_the_restart_of_everything(stack: Stack, channel: str) -> None:
    stack.start(0)
    await stack.wait_for_topics()
    await stack.wait_for_work(0)
    done = await order(stack, "pause", "--campaign", "c1", "--channel", channel)
    await stack.produce([touch(channel, n) for n in range(30)])
    assert await stack.follow(lambda: stack.ended() == 20, deadline_s=60)
    stack.kill(0)
    await stack.wait_for_work(0)
    await stack.produce([touch(channel, n) for n in range(30, 60)])
    assert await stack.follow(lambda: stack.ended() == 40, deadline_s=60)
    await asyncio.sleep(2)
    assert stack.ended() == 40
    await order(stack, "resume", "--campaign", "c1", "--channel", channel)
    assert await stack.follow(stack.all_ended, deadline_s=60)
    counts = stack.judge()[channel]
    assert counts["sent"] == counts["touches"] == 60
    assert len(stack.accepted()) == 60
    assert done.said["in_force"] is True
