"""Thousands deferred, and an opening at which many are due at once: nothing early, nothing lost, nothing twice."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from tests.harness.reporting import LONG, MakeStack, Report
from tests.harness.stack import Stack, touch

if TYPE_CHECKING:
    from typing import Any

TIMES = 5 if LONG else 1
ONE_BY_ONE, EVERY_MS = 400 * TIMES, 20
AT_ONCE = 2_600 * TIMES
TAKEN_IN_S = 14 * TIMES


async def test_an_opening_survives_a_kill_while_it_is_handed_back_and_one_while_it_is_sent(
    make_stack: MakeStack, report: Report
) -> None:
    stack = make_stack(timeout="2s", lease="1s", email="in_flight = 2")
    stack.rule(provider="resend", delay_ms=100, delay_after_ms=100)
    stack.start(0)
    await stack.wait_for_topics()
    await stack.wait_for_work(0)
    first_ms = time.time_ns() // 1_000_000 + TAKEN_IN_S * 1000
    opening_ms = first_ms + 3_000
    single = [touch("sms", n, not_before=first_ms + n * EVERY_MS) for n in range(ONE_BY_ONE)]
    crowd = [touch("email", n, not_before=opening_ms) for n in range(AT_ONCE)]
    await stack.produce([*single, *crowd])
    await stack.follow(lambda: _deferred(stack) == ONE_BY_ONE + AT_ONCE, deadline_s=TAKEN_IN_S)
    assert _deferred(stack) > AT_ONCE // 2, "not taken in when it was due"
    killing = asyncio.create_task(_kill_twice(stack, opening_ms))
    assert await stack.follow(lambda: killing.done() and stack.all_ended(), deadline_s=60 * TIMES), (
        f"{stack.ended()} of {len(stack.produced)}"
    )
    await killing
    late = _late_ms(stack, single, opening_ms)
    figures = report(
        f"{ONE_BY_ONE:,} SMS due one by one; {AT_ONCE:,} e-mails due at once, killed (-9) on the way",
        stack,
        f"wake-up error of {len(late)} SMS before the kills: median {late[len(late) // 2]} ms, "
        f"p99 {late[len(late) * 99 // 100]} ms",
    ).figures
    assert late[0] >= 0, "sent before its time"
    assert min(each["at_ms"] for each in stack.arrivals("resend")) >= opening_ms
    assert figures["email"]["sent"] == AT_ONCE
    assert figures["sms"]["sent"] == ONE_BY_ONE


def _deferred(stack: Stack) -> int:
    return sum(story[-1]["state"] == "deferred" for story in stack.stories.values())


async def _kill_twice(stack: Stack, opening_ms: int) -> None:
    """Kill the worker as the crowd comes due, and again when a part of it has been accepted."""
    await asyncio.sleep(opening_ms / 1000 - time.time() + 0.05)
    _kill(stack)
    async with asyncio.timeout(40):
        while sum(arrival["count"] for arrival in stack.arrivals("resend")) < AT_ONCE // 3:
            await asyncio.sleep(0.05)
    _kill(stack)


def _kill(stack: Stack) -> None:
    stack.kill(0)
    stack.kills_of.update(("email", "sms"))


def _late_ms(stack: Stack, touches: list[dict[str, Any]], until_ms: int) -> list[int]:
    """Return by how much each of those due a second before `until_ms` arrived after its `not_before`, in order."""
    at = {message["text"]: message["at_ms"] for message in stack.accepted()}
    return sorted(at[each["body"]] - each["not_before"] for each in touches if each["not_before"] < until_ms - 1_000)
