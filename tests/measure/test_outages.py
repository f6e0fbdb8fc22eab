"""Providers that are away: nothing fails, no attempt is burnt, nobody is pressed, and work goes on within 5 s of recovery."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING

from tests.harness.judge import CHANNELS, PROVIDER, most_within
from tests.harness.reporting import LONG, MakeStack, Report
from tests.harness.stack import Stack, touch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

AWAY_S = 60.0 if LONG else 6.0
BACK_MS = 5_000
PER_S = 15
"""Touches of all channels produced meanwhile."""
LEEWAY_MS = 250
"""Calls under way when an outage begins or ends."""
PROBE_MS = 900
"""A paused lane probes at most once a second; arrivals are a little off."""
FIRST_MS = 500
"""So long after the first refused call came, those that were under way beside it are over."""


@dataclass
class Outage:
    """All three providers away at once, each in its own way."""

    name: str
    ways: dict[str, str]
    """What is wrong, by channel."""
    begin: Callable[[Stack], None]
    end: Callable[[Stack], None]
    began_ms: int = 0
    ended_ms: int = 0
    back_ms: dict[str, int] = field(default_factory=dict)
    """By channel: from the end until the first message is accepted."""

    def told(self) -> str:
        """Return what it was and how soon it was over."""
        said = ", ".join(
            f"{channel} ({self.ways[channel]}) {self.back_ms[channel] / 1000:.1f} s" for channel in CHANNELS
        )
        return f"{self.name} for {(self.ended_ms - self.began_ms) / 1000:.0f} s: at work again after it: {said}"


def _begin_limits(stack: Stack) -> None:
    stack.session("SCAN_QR_CODE")
    stack.rule(
        provider="resend", status=429, code="rate_limit_exceeded", headers={"ratelimit-reset": "1", "retry-after": "1"}
    )
    stack.rule(provider="twilio", status=429, headers={"Retry-After": "2"})


def _begin_quotas(stack: Stack) -> None:
    stack.session("FAILED")
    stack.rule(provider="resend", status=429, code="daily_quota_exceeded")
    stack.rule(provider="twilio", status=429)


def _end(stack: Stack) -> None:
    stack.behave()
    stack.session("WORKING")


OUTAGES = (
    Outage(
        "Limits",
        {"whatsapp": "session SCAN_QR_CODE", "email": "429 rate_limit_exceeded", "sms": "429, Retry-After 2 s"},
        _begin_limits,
        _end,
    ),
    Outage(
        "Quotas",
        {"whatsapp": "session FAILED", "email": "429 daily_quota_exceeded", "sms": "429 without Retry-After"},
        _begin_quotas,
        _end,
    ),
)
AWAY = Outage("Connection refused", dict.fromkeys(CHANNELS, "process stopped"), Stack.stop_sandbox, Stack.start_sandbox)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


async def _live_through(stack: Stack, outage: Outage) -> None:
    """Let the outage be, and wait until every lane is at work again."""
    outage.begin(stack)
    outage.began_ms = _now_ms()
    await asyncio.sleep(AWAY_S)
    outage.ended_ms = _now_ms()
    outage.end(stack)
    async with asyncio.timeout(30):
        while len(outage.back_ms) < len(CHANNELS):
            await asyncio.sleep(0.1)
            outage.back_ms = _back_ms(stack, outage)


def _back_ms(stack: Stack, outage: Outage) -> dict[str, int]:
    """Return, for every channel at work again, how long after the end its first message was accepted."""
    found: dict[str, int] = {}
    channels = {provider: channel for channel, provider in PROVIDER.items()}
    for message in stack.accepted():
        if message["at_ms"] >= outage.ended_ms:
            found.setdefault(channels[message["provider"]], message["at_ms"] - outage.ended_ms)
    return found


def _wrongs(stack: Stack, outage: Outage) -> Iterator[str]:
    within = range(outage.began_ms + LEEWAY_MS, outage.ended_ms)
    accepted = [message for message in stack.accepted() if message["at_ms"] in within]
    if accepted:
        yield f"{outage.name}: {len(accepted)} accepted while away; was it an outage?"
    for channel in CHANNELS:
        probes = [each["at_ms"] for each in stack.arrivals(PROVIDER[channel]) if each["at_ms"] in within]
        if most_within([at for at in probes if at > probes[0] + FIRST_MS], PROBE_MS) > 1:
            yield f"{outage.name}: {channel} pressed its provider: {[at - outage.began_ms for at in probes]}"
        if outage.back_ms[channel] > BACK_MS:
            yield f"{outage.name}: {channel} was at work {outage.back_ms[channel]} ms after the end only"


def _burnt(stories: dict[str, list[dict[str, Any]]]) -> Iterator[str]:
    """Yield the touches that were counted an attempt, or told of one outage twice."""
    for touch_id, story in stories.items():
        reasons = [status["reason"] for status in story]
        if "backoff" in reasons or reasons.count("outage") > len(OUTAGES) + 1:
            yield f"{touch_id}: {reasons}"


async def test_outages_burn_no_attempt_and_the_lanes_are_at_work_within_five_seconds_of_their_end(
    make_stack: MakeStack, report: Report
) -> None:
    """Two attempts are allowed. Two outages under load; then the providers' process stops, idle, and touches come meanwhile."""
    stack = make_stack(**dict.fromkeys(CHANNELS, "attempts = 2"))
    stack.start(0)
    await stack.wait_for_topics()
    await stack.wait_for_work(0)
    numbers, is_over = count(), False
    touches = (touch(channel, n) for n in numbers for channel in CHANNELS)
    producing = asyncio.create_task(stack.produce(touches, per_s=PER_S, until=lambda: is_over))
    for outage in OUTAGES:
        await _live_through(stack, outage)
    is_over = True
    await producing
    assert await stack.follow(stack.all_ended, deadline_s=60)
    away = asyncio.create_task(_live_through(stack, AWAY))
    await asyncio.sleep(0.5)
    await stack.produce([touch(channel, n) for n in [next(numbers) for _ in range(20)] for channel in CHANNELS])
    await away
    assert await stack.follow(stack.all_ended, deadline_s=60), f"{stack.ended()} of {len(stack.produced)}"
    told = sum(status["reason"] == "outage" for story in stack.stories.values() for status in story)
    most = max(story[-1]["attempt"] for story in stack.stories.values())
    figures = report(
        "Outages of all providers; two attempts allowed",
        stack,
        *(each.told() for each in (*OUTAGES, AWAY)),
        f"{told} touches met one; the most claims made for one touch: {most}",
    ).figures
    assert [wrong for each in (*OUTAGES, AWAY) for wrong in _wrongs(stack, each)] == []
    assert list(_burnt(stack.stories)) == []
    assert all(f["sent"] == f["touches"] for f in figures.values())
    assert most > 2, "or nobody was claimed more often than attempts are allowed, and this proves nothing"
