"""The lane agent: commits claims, makes their calls, brings the answers home."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from pipeline.domain.verdict import AskLater, Unknown
from pipeline.stages.lane import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pipeline.domain.sender import Sender
    from pipeline.domain.verdict import Resolution, Verdict
    from pipeline.domain.work import Claim
    from pipeline.log import Record, Table
    from pipeline.metrics import Metrics
    from pipeline.stages.lane import Ask, Lane, Step

log = logging.getLogger(__name__)


class LaneAgent:
    """One lane at work. Everything it knows is in the table; calls under way are its only state."""

    def __init__(
        self,
        lane: Lane,
        sender: Sender | None,
        *,
        now_ms: Callable[[], int],
        draw: Callable[[], float],
        drain_s: float,
        metrics: Metrics,
    ) -> None:
        self._lane = lane
        self._sender = sender
        self._now_ms = now_ms
        self._draw = draw
        self._drain_s = drain_s
        self._metrics = metrics
        self._outcomes: list[Outcome] = []
        self._under_way: set[asyncio.Task[None]] = set()
        self._holding = False
        self._wake: Callable[[], None] = lambda: None

    def open(self, table: Table, now_ms: int, wake: Callable[[], None]) -> None:
        """Take the lane over: claims found open are unknown outcomes."""
        self._wake = wake
        self._lane.open(table, now_ms)

    def step(self, records: Sequence[Record], table: Table, now_ms: int) -> Step:
        """Settle what came home, take in what arrived, claim what may go."""
        outcomes, self._outcomes = self._outcomes, []
        return self._lane.step(table, records, outcomes, now_ms, self._draw, hold=self._holding)

    def committed(self, step: Step) -> None:
        """Start the calls whose claims are committed, and the questions that are due."""
        self._metrics.lane_step(step)
        for claim in step.calls:
            self._start(self._call(claim))
        for ask in step.asks:
            self._start(self._ask(ask))

    async def drain(self) -> None:
        """Claim nothing more; wait for the calls under way, a bounded time."""
        self._holding = True
        if self._under_way:
            await asyncio.wait(self._under_way, timeout=self._drain_s)

    def resume(self) -> None:
        """Claim again."""
        self._holding = False

    async def close(self) -> None:
        """Give up the calls still under way: the lane's next owner asks what became of them."""
        for task in self._under_way:
            task.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)

    def _start(self, coroutine: object) -> None:
        task = asyncio.create_task(coroutine)  # type: ignore[arg-type]
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def _call(self, claim: Claim) -> None:
        assert self._sender is not None
        started_ms = self._now_ms()
        verdict: Verdict
        try:
            verdict = await self._sender.call(claim)
        except Exception as error:
            log.exception("the call of claim %s broke", claim.claim_id)
            verdict = Unknown("internal", repr(error))
        self._come_home(claim, verdict, started_ms)

    async def _ask(self, ask: Ask) -> None:
        assert self._sender is not None
        started_ms = self._now_ms()
        resolution: Resolution
        try:
            resolution = await self._sender.ask(ask.claim, ask.known_ids)
        except Exception as error:
            log.exception("the question about claim %s broke", ask.claim.claim_id)
            resolution = AskLater(repr(error))
        self._come_home(ask.claim, resolution, started_ms)

    def _come_home(self, claim: Claim, answer: Resolution, started_ms: int) -> None:
        ended_ms = self._now_ms()
        self._metrics.call(claim, answer, (ended_ms - started_ms) / 1000)
        self._outcomes.append(Outcome(claim.claim_id, answer, started_ms, ended_ms))
        self._wake()
