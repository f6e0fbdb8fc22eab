"""Every harm at once, drawn from a seed: kills, freezes, lost answers, workers that come and go, and a broker that dies."""

from __future__ import annotations

import asyncio
import random
import signal
import time
from typing import TYPE_CHECKING

import pytest

from pipeline.lab.local.kafka import LocalKafka
from tests.harness.judge import CHANNELS
from tests.harness.reporting import LONG, MakeStack, Report
from tests.harness.stack import Stack, touch

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path

SECONDS = 180 if LONG else 24
WORKERS = 3
FROZEN_S = 9.0
"""Longer than the session of 6 s."""


class Harm:
    """Does one thing after the other to the workers of a stack."""

    def __init__(self, stack: Stack, seed: int) -> None:
        self.codes: list[int] = []
        self.freezes = 0
        self._stack = stack
        self._dice = random.Random(seed)
        self._frozen: tuple[int, float] | None = None
        self._woken: subprocess.Popen[bytes] | None = None

    async def run(self, seconds: float) -> None:
        """Do so for `seconds`, and until each kind was done: what is drawn is not done to a worker that is just starting."""
        ends = time.monotonic() + seconds
        while time.monotonic() < ends or not (self.freezes and self._stack.kills and self.codes):
            await asyncio.sleep(self._dice.uniform(0.5, 2))
            self._thaw(time.monotonic())
            self._stack.restart_the_dead()
            await self._dice.choices([self._kill, self._freeze, self._stop], [5, 3, 2])[0]()
        self._thaw(float("inf"))

    async def _kill(self) -> None:
        await self._stack.kill_owner(self._dice.choice(CHANNELS))

    async def _freeze(self) -> None:
        owner = (await self._stack.owners()).get(self._dice.choice(CHANNELS))
        if self._frozen is None and owner is not None and self._stack.is_at_work(owner):
            self._stack.send(owner, signal.SIGSTOP)
            self._frozen = owner, time.monotonic() + FROZEN_S
            self.freezes += 1

    async def _stop(self) -> None:
        number = self._dice.randrange(WORKERS)
        process, is_frozen = self._stack.workers[number], self._frozen is not None and self._frozen[0] == number
        # One that was frozen past its session finds itself fenced or expelled when it wakes, and ends with 1.
        if self._stack.is_at_work(number) and not is_frozen and process is not self._woken:
            self.codes.append(await self._stack.stop_gently(number))
            self._stack.start_again(number)

    def _thaw(self, now: float) -> None:
        if self._frozen is not None and now >= self._frozen[1]:
            self._woken = self._stack.workers[self._frozen[0]]
            self._stack.send(self._frozen[0], signal.SIGCONT)
            self._frozen = None


async def _harm(stack: Stack, harm: Harm) -> None:
    for number in range(WORKERS):
        stack.start(number)
    await stack.wait_for_topics(60)
    await stack.wait_for_work(*range(WORKERS))
    stack.rule(drop="after", probability=0.02, seed=5)
    stack.rule(drop="before", probability=0.01)
    stack.rule(delay_ms=60, delay_after_ms=60)
    touches = [touch(channel, n) for n in range(SECONDS * 20) for channel in CHANNELS]
    producing = asyncio.create_task(stack.produce(touches, per_s=60))
    harming = asyncio.create_task(harm.run(SECONDS))

    async def supervise() -> None:
        if harming.done():
            stack.restart_the_dead()

    ended = await stack.follow(
        lambda: harming.done() and producing.done() and stack.all_ended(), deadline_s=SECONDS + 150, meanwhile=supervise
    )
    await harming
    await producing
    assert ended, f"{stack.ended()} of {len(stack.produced)} have ended"


async def test_kills_freezes_lost_answers_and_moves_together(stack: Stack, report: Report) -> None:
    harm = Harm(stack, seed=7)
    await _harm(stack, harm)
    figures = report(
        "All together", stack, f"freezes of {FROZEN_S:.0f} s {harm.freezes}, stopped with exit codes {harm.codes}"
    ).figures
    assert set(harm.codes) <= {0}
    assert harm.freezes
    assert stack.kills
    assert all(f["sent"] == f["touches"] for f in figures.values())


@pytest.mark.skipif(not LONG, reason="LONG=1 only: minutes")
async def test_all_of_it_on_three_brokers_of_which_one_dies(
    make_stack: MakeStack, report: Report, tmp_path: Path
) -> None:
    with LocalKafka(tmp_path / "kafka", brokers=3) as cluster:
        stack = make_stack(cluster.bootstrap_servers, replication=3)
        harm = Harm(stack, seed=8)

        async def lose_a_broker() -> None:
            await asyncio.sleep(SECONDS / 3)
            cluster.kill(1)
            await asyncio.sleep(15)
            await asyncio.to_thread(cluster.start_broker, 1)

        losing = asyncio.create_task(lose_a_broker())
        try:
            await _harm(stack, harm)
            await losing
            figures = report(
                "All together on three brokers, one of them killed for 15 s",
                stack,
                f"freezes of {FROZEN_S:.0f} s {harm.freezes}, stopped with exit codes {harm.codes}",
            ).figures
            assert harm.freezes
            assert stack.kills
            assert all(f["sent"] == f["touches"] for f in figures.values())
        finally:
            losing.cancel()
            stack.stop_all()
