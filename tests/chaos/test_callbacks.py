"""Callbacks repeated, shuffled, lost and early, while the web process and workers are killed: each fact is told once."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from tests.harness.called import KINDS, CalledStack
from tests.harness.judge import CHANNELS
from tests.harness.reporting import LONG
from tests.harness.stack import touch

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import Any

KILLS = 20 if LONG else 2
"""Of the web process, and of a lane's owner."""
PER_S = 15
"""Over all channels."""
GOOD = range(200, 300)
OUTCOMES = {
    "resend": ("clicked", "complained", "bounced", "delayed", "suppressed", "undelivered"),
    "twilio": ("read", "undelivered"),
    "waha": ("read", "undelivered"),
}


@pytest.fixture
def called(kafka: list[str], topic_prefix: str, tmp_path: Path) -> Iterator[CalledStack]:
    # Twilio's list has no key: what the sandbox accepts must be in it before it is asked, also on a busy machine.
    stack = CalledStack(kafka, topic_prefix, tmp_path, sms_resolve_after="6s")
    stack.start_sandbox()
    yield stack
    stack.stop_all()


def script(stack: CalledStack) -> None:
    """Let each event come five times, in any order, half of them before the answer of the send."""
    for provider, outcomes in OUTCOMES.items():
        for outcome in (*outcomes, "delivered"):
            how = {"what": "callback", "provider": provider, "outcome": outcome, "repeat": 5}
            share = 1.0 if outcome == "delivered" else 1 / (len(outcomes) + 1)
            stack.rule(**how, probability=share / 2, before_answer=True, within_ms=200)
            stack.rule(**how, probability=share, within_ms=2_000)


async def kill_both(stack: CalledStack, is_over: asyncio.Event, dice: random.Random) -> None:
    """Kill web process and workers in turn, each when it is at work again."""
    for turn in range(KILLS):
        await stack.wait_for_web()
        await asyncio.sleep(0.5 + dice.random())
        stack.kill_web()
        while not await stack.kill_owner(CHANNELS[turn % 3]):
            stack.restart_the_dead()
            await asyncio.sleep(0.5)
    await stack.wait_for_web()
    is_over.set()


async def all_called(stack: CalledStack, deadline_s: float) -> list[dict[str, Any]]:
    """Return every callback once none is to come."""
    async with asyncio.timeout(deadline_s):
        while True:
            calls, pending = await asyncio.to_thread(stack.called)
            if not pending:
                return calls
            stack.restart_the_dead()
            await asyncio.sleep(1)


async def test_each_fact_is_told_once_through_repeats_disorder_and_kills(called: CalledStack) -> None:
    dice = random.Random(17)
    script(called)
    called.settings(retry_most_ms=2_000)
    for number in range(2):
        called.start(number)
    await called.wait_for_topics()
    called.start_web()
    await called.wait_for_work(0, 1, deadline_s=120)
    await called.wait_for_web()
    is_over = asyncio.Event()
    touches = (touch(channel, n) for n in range(9_999) for channel in CHANNELS)
    producing = asyncio.create_task(called.produce(touches, per_s=PER_S, every=6, until=is_over.is_set))
    try:
        await kill_both(called, is_over, dice)
    finally:
        is_over.set()
        await producing

    async def supervise() -> None:
        called.restart_the_dead()

    assert await called.follow(called.all_ended, deadline_s=120, meanwhile=supervise)
    calls = await all_called(called, 120)
    taken = {_fact(each) for each in calls if each["status"] in GOOD and each["event"] in KINDS}
    made = {_fact(each) for each in calls if each["event"] in KINDS}
    sent = {story[-1]["provider_message_id"] for story in called.stories.values() if story[-1]["state"] == "sent"}
    due = {each for each in taken if each[0] in sent}
    async with asyncio.timeout(60):
        while not due <= set(called.facts()):
            await called.read_deliveries()
    _judge(called, due, made)
    early = _early(called, calls)
    print(
        f"{len(calls)} callbacks of {len(made)} facts, {called.web_kills} kills of the web process, {called.kills} of"
        f" workers; {len(taken)} facts taken, {len(early)} of them first before `sent`; {len(due)} to be told"
    )
    assert early
    counts = called.judge()
    assert all(found["sent"] == found["touches"] for found in counts.values()), counts
    assert called.stop_web() == 0


def _fact(call: dict[str, Any]) -> tuple[str, str]:
    return call["message_id"], KINDS[call["event"]]


def _judge(stack: CalledStack, due: set[tuple[str, str]], made: set[tuple[str, str]]) -> None:
    told = Counter(stack.facts())
    assert {each: count for each, count in told.items() if count > 1} == {}
    assert due - told.keys() == set()
    assert told.keys() - made == set()
    for touch_id, story in stack.deliveries.items():
        assert [each["sequence"] for each in story] == list(range(1, len(story) + 1)), (touch_id, story)
        assert {each["provider_message_id"] for each in story} == {stack.stories[touch_id][-1]["provider_message_id"]}


def _early(stack: CalledStack, calls: list[dict[str, Any]]) -> set[tuple[str, str]]:
    """Return the facts that were first taken before their touch was told to be sent."""
    at = {
        story[-1]["provider_message_id"]: story[-1]["occurred_at"]
        for story in stack.stories.values()
        if story[-1]["state"] == "sent"
    }
    return {
        _fact(each)
        for each in calls
        if each["status"] in GOOD and each["event"] in KINDS and each["at_ms"] < at.get(each["message_id"], 0)
    }
