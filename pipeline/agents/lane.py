"""The lane agent: makes the calls of committed claims, and brings their answers to the next step."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from pipeline.agents.throttle_log import REPORT_MS, ThrottleLog
from pipeline.domain.verdict import AskLater, Unknown
from pipeline.metrics import LaneGauges
from pipeline.stages.lane import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from pipeline.agents.control import Forces
    from pipeline.domain.sender import LastLook, Sender
    from pipeline.domain.verdict import Resolution, Verdict
    from pipeline.domain.work import Claim
    from pipeline.metrics import Metrics
    from pipeline.stage_io import Record, Table
    from pipeline.stages.control import ControlView
    from pipeline.stages.lane import Ask, Lane, LaneStep

log = logging.getLogger(__name__)

ACCOUNT_S = 10.0
"""How often the metric of a lane that is held back for long grows."""


class LaneAgent:
    """Runs one lane. All it knows is in the table, except the calls under way."""

    def __init__(
        self,
        lane: Lane,
        sender: Sender | None,
        *,
        channel: str,
        name: str,
        now_ms: Callable[[], int],
        monotonic_ms: Callable[[], int],
        draw: Callable[[], float],
        drain_s: float,
        metrics: Metrics,
        control: ControlView,
        forces: Forces,
    ) -> None:
        self._lane = lane
        self._control = control
        self._forces = forces
        self._sender = sender
        self._labels = (channel, name)
        self._logged_outage: str | None = None
        """Error of the outage that the log has last shown; None: the breaker was closed."""
        self._logged_outage_ms = 0
        self._throttle_log = ThrottleLog()
        self._held_back = 0
        self._timer: asyncio.TimerHandle | None = None
        self._tell_timer: asyncio.TimerHandle | None = None
        """Brings the step in which the lane tells of itself."""
        self._tell_at_ms = 0
        self._now_ms = now_ms
        self._monotonic_ms = monotonic_ms
        self._draw = draw
        self._drain_s = drain_s
        self._metrics = metrics
        self._outcomes: list[Outcome] = []
        self._under_way: dict[asyncio.Task[None], None] = {}
        self._is_stopping = False
        self._wake: Callable[[], None] = lambda: None

    def open(self, table: Table, now_ms: int, wake: Callable[[], None]) -> None:
        """Take the lane over: the outcome of every claim found open is unknown."""
        self._wake = wake
        self._lane.open(table, now_ms, self._control)
        if self._sender is not None:
            self._metrics.watch_lane(*self._labels, lambda: self._glance(table))

    def step(self, records: Sequence[Record], table: Table, now_ms: int) -> LaneStep:
        """Settle the answers, take in the records, claim the next calls."""
        outcomes, self._outcomes = self._outcomes, []
        return self._lane.step(
            table,
            records,
            outcomes,
            now_ms,
            self._draw,
            control=self._control,
            is_stopping=self._is_stopping,
            monotonic_ms=self._monotonic_ms(),
        )

    def committed(self, step: LaneStep) -> None:
        """Start the calls whose claims are committed, and the look-ups that are due."""
        self._report(step)
        self._tell_again(step.tell_ms)
        if step.dead_letters:
            self._metrics.dead_lettered("undecodable", step.dead_letters)
        for claim in step.calls:
            self._start(self._call(claim))
        for ask in step.asks:
            self._start(self._ask(ask))

    async def drain(self) -> None:
        """Claim nothing more, and wait at most `drain_s` for the calls under way."""
        self._is_stopping = True
        if self._under_way:
            await asyncio.wait(self._under_way, timeout=self._drain_s)

    def resume(self) -> None:
        """Claim again."""
        self._is_stopping = False

    def _report(self, step: LaneStep) -> None:
        if self._sender is None:
            return
        self._metrics.backlog(*self._labels, step.waiting)
        self._metrics.open_claims(*self._labels, step.open_claims)
        self._metrics.held(*self._labels, step.held_by)
        self._metrics.parked(*self._labels, step.parked)
        self._metrics.suppressed_after_claim(step.replays_of_suppressed)
        self._forces.note(self._labels, step.control_in_force)
        self._held_back = step.held_back
        self._metrics.throttled(*self._labels, self._throttle_log.note(step.hold, self._now_ms()) / 1000)
        self._log_holds()
        if step.repeats:
            self._metrics.repeats_dropped(self._labels[0], step.repeats)
        self._log_breaker(step)

    def _log_breaker(self, step: LaneStep) -> None:
        """Log that the breaker opens, with the error, and that it closes; an error that changes, once a minute."""
        before, self._logged_outage = self._logged_outage, step.breaker_error
        if step.breaker_error is not None and step.breaker_error != before:
            if before is None or self._now_ms() >= self._logged_outage_ms + REPORT_MS:
                self._logged_outage_ms = self._now_ms()
                log.warning(
                    "%s lane of %s: the breaker is open, %d wait: %s", *self._labels, step.waiting, step.breaker_error
                )
        elif step.breaker_error is None and before is not None:
            log.warning("%s lane of %s: the breaker is closed again, %d wait", *self._labels, step.waiting)

    def _log_holds(self) -> None:
        """Log once a minute what has held the lane back, and how many touches wait; look again while it is held back."""
        report = self._throttle_log.report(self._now_ms())
        if report is not None:
            log.info("%s lane of %s was %s; %d wait", *self._labels, report, self._held_back)
        if self._throttle_log.is_open and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(ACCOUNT_S, self._account_again)

    def _account_again(self) -> None:
        self._timer = None
        self._metrics.throttled(*self._labels, self._throttle_log.limited_ms(self._now_ms()) / 1000)
        self._log_holds()

    def _glance(self, table: Table) -> LaneGauges:
        """Return what the gauges of the lane show now."""
        now_ms = self._now_ms()
        seen = self._lane.glance(table, now_ms)
        return LaneGauges(
            oldest_due_s=0.0 if seen.oldest_due_ms is None else (now_ms - seen.oldest_due_ms) / 1000,
            last_sent_s=(seen.last_sent_ms or 0) / 1000,
            is_open=seen.is_open,
        )

    def _tell_again(self, at_ms: int | None) -> None:
        """Ask for a step at `at_ms`, unless one is asked for that comes sooner."""
        if at_ms is None or (self._tell_timer is not None and self._tell_at_ms <= at_ms):
            return
        if self._tell_timer is not None:
            self._tell_timer.cancel()
        self._tell_at_ms = at_ms
        wait_s = max(at_ms - self._now_ms(), 0) / 1000
        self._tell_timer = asyncio.get_running_loop().call_later(wait_s, self._tell_now)

    def _tell_now(self) -> None:
        self._tell_timer = None
        self._wake()

    async def close(self) -> None:
        """Cancel the calls still under way: the lane's next owner looks their outcomes up."""
        for timer in (self._timer, self._tell_timer):
            if timer is not None:
                timer.cancel()
        for task in self._under_way:
            task.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)
        if self._sender is not None:
            self._metrics.forget_lane(*self._labels)
            self._forces.forget(self._labels)

    def _start(self, coroutine: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(coroutine)
        self._under_way[task] = None
        task.add_done_callback(self._under_way.pop)

    async def _call(self, claim: Claim) -> None:
        assert self._sender is not None
        started_ms = self._now_ms()
        verdict: Verdict
        try:
            verdict = await self._sender.call(claim, self._last_look(claim))
        except Exception as error:
            log.exception("the call of claim %s broke", claim.claim_id)
            verdict = Unknown("internal", repr(error))
        self._metrics.called(*self._labels, type(verdict).__name__.lower(), (self._now_ms() - started_ms) / 1000)
        self._note_outcome(claim, verdict, started_ms)

    async def _ask(self, ask: Ask) -> None:
        assert self._sender is not None
        started_ms = self._now_ms()
        resolution: Resolution
        try:
            resolution = await self._sender.ask(ask.claim, ask.known_ids, self._last_look(ask.claim))
        except Exception as error:
            log.exception("the question about claim %s broke", ask.claim.claim_id)
            resolution = AskLater(repr(error))
        self._metrics.looked_up(*self._labels, type(resolution).__name__.lower())
        self._note_outcome(ask.claim, resolution, started_ms)

    def _last_look(self, claim: Claim) -> LastLook:
        """Return what looks at orders and entries once more, directly before the request is written."""
        return lambda: self._lane.may_begin(claim, self._control, self._now_ms())

    def _note_outcome(self, claim: Claim, answer: Resolution, started_ms: int) -> None:
        """Keep an answer for the next step, and ask for that step."""
        self._outcomes.append(Outcome(claim.claim_id, answer, started_ms, self._now_ms()))
        self._wake()
