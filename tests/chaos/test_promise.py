"""The promise, under harm: every touch one answer, no message twice. Seeded; every failure prints the touch's story."""

from __future__ import annotations

import asyncio
import random
import signal
import time
from itertools import count
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from pipeline.lab.local.kafka import LocalKafka
from tests.harness.judge import CHANNELS, PROVIDER
from tests.harness.reporting import LONG, MakeStack, Report
from tests.harness.stack import ROOT, Stack, touch

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.harness.secured import SecuredKafka

OPERATIONS = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")

KILLS = 100 if LONG else 5
LATENCY = {"delay_ms": 80, "delay_after_ms": 80}
"""Before and after the provider accepts: so that a kill meets calls under way, in both."""

LEFTOVERS = 20
"""Messages of which a killed worker's calls may still be accepted after it; more, and its successor is sending."""

SLOW = {"delay_ms": 300, "delay_after_ms": 300}
"""E-mails go a hundred at a time: few calls, so each must last for a kill to meet one."""


def endless(first: int = 0) -> Iterator[dict[str, Any]]:
    """Yield touches of all channels in turn."""
    return (touch(channel, n) for n in count(first) for channel in CHANNELS)


async def _kill_while_working(
    stack: Stack, kills: int, channels: tuple[str, ...], per_s: float, deadline_s: float
) -> None:
    """Produce, and kill the owner of each channel's lane so often, whoever it is; then wait for the end of every touch.

    A lane's owner is killed only when its lane has sent since the last kill: one that has just started has no call under way.
    """
    dice = random.Random(1)
    for number in range(2):
        stack.start(number)
    await stack.wait_for_topics()
    await stack.wait_for_work(0, 1)
    next_kill, sent = 0.0, dict.fromkeys(channels, 0)

    def enough() -> bool:
        return min(stack.kills_of[channel] for channel in channels) >= kills

    async def harm() -> None:
        nonlocal next_kill
        stack.restart_the_dead()
        channel = min(channels, key=lambda each: stack.kills_of[each])
        if (
            time.monotonic() < next_kill
            or enough()
            or stack.accepted_from(PROVIDER[channel]) < sent[channel] + LEFTOVERS
        ):
            return
        if await stack.kill_owner(channel):
            sent.update({each: stack.accepted_from(PROVIDER[each]) for each in channels})
            next_kill = time.monotonic() + dice.uniform(1, 3)

    touches = (each for each in endless() if each["channel"] in channels)
    producing = asyncio.create_task(stack.produce(touches, per_s=per_s, until=enough))
    ended = await stack.follow(lambda: producing.done() and stack.all_ended(), deadline_s=deadline_s, meanwhile=harm)
    await producing
    assert ended, f"{stack.ended()} of {len(stack.produced)} have ended, kills {dict(stack.kills_of)}"


async def test_the_owners_of_lanes_killed_again_and_again_lose_nothing_and_send_nothing_twice(
    stack: Stack, report: Report
) -> None:
    stack.rule(provider="resend", **SLOW)
    stack.rule(**LATENCY)
    await _kill_while_working(stack, KILLS, CHANNELS, per_s=90, deadline_s=90 + KILLS * 15)
    figures = report("Lane owners killed (-9) under load", stack).figures
    assert all(f["unconfirmed"] == 0 for f in figures.values())
    assert all(f["looked up"] >= f["kills"] for f in figures.values()), "kills that meet no call prove nothing"


async def _on_secured(kafka: SecuredKafka, make_stack: MakeStack, prefix: str, **config: str) -> Stack:
    """Return a stack whose workers come by SASL_SSL, with the permissions of docs/operations.md and no more."""
    await kafka.grant(OPERATIONS, prefix)
    way = kafka.by_password("pipeline", "SASL_SSL", "SCRAM-SHA-512")
    stack = make_stack(kafka.admin, kafka=way.toml, **config)
    stack.worker_servers = way.servers
    return stack


@pytest.mark.parametrize(
    ("engine", "kills", "is_secured"), [("GOWS", 100 if LONG else 2, False), ("WEBJS", 20 if LONG else 2, True)]
)
async def test_other_engines_of_waha_are_asked_by_their_ids_or_by_text(
    request: pytest.FixtureRequest,
    make_stack: MakeStack,
    report: Report,
    topic_prefix: str,
    *,
    engine: str,
    kills: int,
    is_secured: bool,
) -> None:
    stack = (
        await _on_secured(request.getfixturevalue("secured"), make_stack, topic_prefix, engine=engine)
        if is_secured
        else make_stack(engine=engine)
    )
    httpx.post(f"{stack.sandbox}/control/session", json={"session": "default", "engine": engine}).raise_for_status()
    stack.rule(**LATENCY)
    await _kill_while_working(stack, kills, ("whatsapp",), per_s=60, deadline_s=90 + kills * 15)
    where = " on a secured Kafka (SASL_SSL, ACLs)" if is_secured else ""
    figures = report(f"WhatsApp on {engine}, lane owner killed (-9) under load{where}", stack).figures["whatsapp"]
    assert figures["unconfirmed"] == 0
    assert figures["looked up"] >= figures["kills"], "kills that meet no call prove nothing"


async def _broker_dies(stack: Stack, cluster: LocalKafka, away_s: float, deadline_s: float) -> float:
    """Kill broker 0 while calls are under way, bring it back; return seconds from its return to the first answer to a touch produced then."""
    for number in range(2):
        stack.start(number)
    await stack.wait_for_topics()
    await stack.wait_for_work(0, 1)
    stack.rule(delay_ms=500)
    touches = [touch(channel, n) for n in range(150) for channel in CHANNELS]
    await stack.produce(touches[:300])
    assert await stack.follow(lambda: stack.ended() >= 100, deadline_s=60)
    cluster.kill(0)
    gone = time.monotonic()
    assert stack.ended() < len(stack.produced), "nothing was under way"

    async def supervise() -> None:
        stack.restart_the_dead()

    while time.monotonic() - gone < away_s:
        await supervise()
        await asyncio.sleep(0.2)
    cluster.start_broker(0)
    back = time.monotonic()
    late = [each["touch_id"] for each in touches[300:]]
    await stack.produce(touches[300:])
    assert await stack.follow(
        lambda: any(touch_id in stack.stories for touch_id in late), deadline_s=60, meanwhile=supervise
    ), "not at work 60 s after Kafka's return"
    resumed = time.monotonic() - back
    stack.behave()
    assert await stack.follow(stack.all_ended, deadline_s=deadline_s, meanwhile=supervise), (
        f"{stack.ended()} of {len(stack.produced)}"
    )
    return resumed


@pytest.mark.parametrize(("brokers", "away_s"), [(1, 12.0 if LONG else 7.0), (3, 7.0)])
async def test_a_broker_that_dies_under_load_and_returns(
    brokers: int, away_s: float, make_stack: MakeStack, report: Report, tmp_path: Path
) -> None:
    with LocalKafka(tmp_path / "kafka", brokers=brokers) as cluster:
        stack = make_stack(cluster.bootstrap_servers, replication=min(3, brokers))
        try:
            resumed = await _broker_dies(stack, cluster, away_s, 120)
            report(
                f"One of {brokers} brokers killed for {away_s:.0f} s",
                stack,
                f"first answer {resumed:.1f} s after its return",
            )
        finally:
            stack.stop_all()


@pytest.mark.skipif(not LONG, reason="LONG=1 only: the same freezes are among those of all together")
async def test_workers_frozen_past_the_session_timeout_and_woken_send_nothing_twice(
    stack: Stack, report: Report
) -> None:
    for number in range(2):
        stack.start(number)
    await stack.wait_for_topics()
    stack.rule(delay_ms=150)
    producing = asyncio.create_task(
        stack.produce([touch(channel, n) for n in range(400) for channel in CHANNELS], per_s=40)
    )
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
    figures = report("Workers frozen for 10 s, with a session of 6 s", stack).figures
    assert all(f["unconfirmed"] == 0 for f in figures.values())


FREEZE_S = 60.0 if LONG else 12.0


async def _freeze_and_take_over(stack: Stack, frozen: int) -> None:
    """Let another worker take the frozen one's lanes over and end everything; then wake it and look again."""
    began = time.monotonic()

    async def others() -> None:
        for number, process in list(stack.workers.items()):
            if number != frozen and process.poll() is not None:
                stack.start(number)

    stack.start(frozen + 1)
    assert await stack.follow(stack.all_ended, deadline_s=90, meanwhile=others), (
        f"{stack.ended()} of {len(stack.produced)}"
    )
    while time.monotonic() - began < FREEZE_S:
        await asyncio.sleep(0.2)
    stack.send(frozen, signal.SIGCONT)
    await stack.follow(lambda: stack.workers[frozen].poll() is not None, deadline_s=8)


@pytest.mark.parametrize("channels", [(c,) for c in CHANNELS] if LONG else [CHANNELS])
async def test_a_worker_frozen_between_claim_and_call_sends_nothing_when_it_wakes(
    stack: Stack, report: Report, channels: tuple[str, ...], tmp_path: Path
) -> None:
    mark = tmp_path / "frozen"
    stack.start(0, program="tests.harness.workers.freezing", FREEZE_MARK=str(mark))
    await stack.wait_for_topics()
    await stack.produce([touch(channel, n) for n in range(20) for channel in channels])
    async with asyncio.timeout(30):
        while not mark.exists():
            await asyncio.sleep(0.05)
    await _freeze_and_take_over(stack, 0)
    figures = report(f"Worker frozen {FREEZE_S:.0f} s between claim and call", stack).figures
    assert all(figures[channel]["sent"] == 20 for channel in channels)
    assert any(figures[channel]["looked up"] for channel in channels), "nothing was claimed when it froze"


@pytest.mark.parametrize("channels", [(c,) for c in CHANNELS] if LONG else [CHANNELS])
async def test_a_worker_frozen_inside_a_call_sends_nothing_twice(
    stack: Stack, report: Report, channels: tuple[str, ...]
) -> None:
    stack.start(0)
    await stack.wait_for_topics()
    for provider in PROVIDER.values():
        stack.rule(provider=provider, delay_ms=1_000, times=10)
    await stack.produce([touch(channel, n) for n in range(20) for channel in channels])
    async with asyncio.timeout(30):
        while not all(stack.arrivals(PROVIDER[channel]) for channel in channels):
            await asyncio.sleep(0.05)
    stack.send(0, signal.SIGSTOP)
    await _freeze_and_take_over(stack, 0)
    figures = report(f"Worker frozen {FREEZE_S:.0f} s inside a call", stack).figures
    assert all(figures[channel]["sent"] == 20 for channel in channels)
    assert all(figures[channel]["looked up"] for channel in channels)
