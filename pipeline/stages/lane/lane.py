"""A lane: one sender, one partition, one step at a time.

claim:  CALLING ── Sent, Rejected, Split, Refused, Paused, Unbegun ─────────────────────→ CLOSED
CALLING ── Unknown; found by a successor ───────────────────→ LOOKING_UP
LOOKING_UP ── Paused, Unbegun, AskLater, Unknown; Refused replay → LOOKING_UP
LOOKING_UP ── Sent, Absent, Rejected, Split, Unanswerable; the end of `resolve_for` → CLOSED
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from pipeline.domain.held_by import HeldBy
from pipeline.domain.policy import ChannelPolicy
from pipeline.domain.work import Claim, Phase
from pipeline.stage_io import Overlay, Record, Table
from pipeline.stages.control import NOTHING_ORDERED, ControlView
from pipeline.stages.dead_letters import PLAIN, STOPS, DeadLetterWriter
from pipeline.stages.lane import claim, clock, force, intake, resolve, settle, sweep, table, told
from pipeline.stages.lane.draft import StepDraft
from pipeline.stages.lane.glance import Glance, glance
from pipeline.stages.lane.index import LaneConfig, LaneIndex, RequestBuilder
from pipeline.stages.lane.opt_outs import AutoSuppression
from pipeline.stages.lane.orders import LaneOrders
from pipeline.stages.lane.quarantine import Quarantine, rows
from pipeline.stages.lane.step import Hold, LaneStep, Outcome
from pipeline.stages.ttl import TtlSweep

NEVER_MS: Final = 2**53
"""The end of what has no known end."""
REST_MS: Final = 100
"""Touches that arrive while no call can start are taken in this often: a transaction costs the same for one and for a hundred."""


class Lane:
    """The stage over one partition of a channel's topic; its table is `lanes-<channel>`."""

    def __init__(
        self,
        policy: ChannelPolicy,
        lane: int,
        build: RequestBuilder,
        *,
        replays: bool,
        by_text: bool,
        dedup_for_ms: int,
        dead_letters: DeadLetterWriter = PLAIN,
        auto_suppression: AutoSuppression | None = None,
    ) -> None:
        self._config = LaneConfig(
            policy,
            lane,
            build,
            replays=replays,
            by_text=by_text,
            dedup_for_ms=dedup_for_ms,
            auto_suppression=auto_suppression,
        )
        self._index = LaneIndex()
        self._quarantine = Quarantine(dead_letters)
        self._broken: list[tuple[bytes, bytes, Exception]] = []
        """Claims that cannot be decoded, as (key, value, error)."""
        self._has_inherited = False
        """There are claims whose calls another process may be making."""
        self._ttl = TtlSweep()

    def open(self, committed: Table, now_ms: int, control: ControlView = NOTHING_ORDERED) -> None:
        """Take the lane over: the outcome of every call that was under way is unknown. Raises ViewTooShort."""
        self._index, self._broken = LaneIndex.of(committed)
        force.check_view(control, self._index.state)
        self._index.at_large = force.calls_at_large(self._config, self._index.claims)
        if self._index.state.parked:
            self._index.unpark_ms = now_ms  # who parked them knew when time would free one
        self._has_inherited = any(each.phase is Phase.CALLING for each in self._index.claims.values())
        self._ttl = TtlSweep()

    def step(
        self,
        committed: Table,
        batch: Sequence[Record],
        outcomes: Sequence[Outcome],
        now_ms: int,
        draw: Callable[[], float],
        *,
        control: ControlView = NOTHING_ORDERED,
        is_stopping: bool = False,
        monotonic_ms: int | None = None,
    ) -> LaneStep:
        """Settle, take in, claim, ask; with `is_stopping` neither claim nor ask.

        `control` is what is known of orders and suppressions. `monotonic_ms` is a clock that is never set, by which the lane
        notices that the other one was. If any part of the step raises, the step is done again with each part on its own.
        """
        kept, has_inherited = self._index.copied(), self._has_inherited
        draft = StepDraft(self._config, self._index, Overlay(committed), now_ms, draw, control=control)
        try:
            return self._decide(draft, batch, outcomes, monotonic_ms, is_stopping=is_stopping)
        except STOPS:
            raise
        except Exception:  # noqa: BLE001 - which part of the step raised is found out by trying each on its own
            self._index.go_back_to(kept)
            self._has_inherited = has_inherited
            self._ttl = TtlSweep()
        careful = StepDraft(
            self._config, self._index, Overlay(committed), now_ms, draw, control=control, is_careful=True
        )
        return self._decide(careful, batch, outcomes, monotonic_ms, is_stopping=is_stopping)

    def glance(self, committed: Table, now_ms: int) -> Glance:
        """Return what the lane shows to somebody who looks now."""
        return glance(self._config, self._index, committed, now_ms)

    def may_begin(self, claim: Claim, control: ControlView, now_ms: int) -> bool:
        """Return whether the body of the claim's request may be written now: the last look at orders and entries."""
        return LaneOrders(control, self._config, now_ms).may_begin(claim)

    def _decide(
        self,
        draft: StepDraft,
        batch: Sequence[Record],
        outcomes: Sequence[Outcome],
        monotonic_ms: int | None,
        *,
        is_stopping: bool,
    ) -> LaneStep:
        before = draft.state.pack()
        if clock.follow(draft, monotonic_ms):
            outcomes = [clock.corrected_outcome(outcome, draft.now_ms) for outcome in outcomes]
        force.follow(draft)
        self._take_over(draft)
        draft.each(outcomes, partial(_settle, draft), partial(self._quarantine.outcome, draft))
        if not self._config.is_retired:
            rows(draft, sweep.expire, self._quarantine)
            rows(draft, sweep.go_on, self._quarantine)
        draft.each(batch, partial(intake.take_in, draft), partial(self._quarantine.record, draft))
        if self._config.is_retired:
            rows(draft, intake.hand_on_queue, self._quarantine)
            rows(draft, intake.hand_on_shelf, self._quarantine)
        # While the breaker is not closed, a new touch is the probe: a batch that the provider cannot process must not
        # block the others.
        is_asked_first = draft.state.breaker.outage is None
        if is_asked_first:
            self._ask(draft, is_stopping=is_stopping)
        if not self._config.is_retired and not is_stopping:
            rows(draft, claim.claim_calls, self._quarantine)
            if draft.state.waiting:
                rows(draft, claim.sweep, self._quarantine)
        if not is_asked_first:
            self._ask(draft, is_stopping=is_stopping)
        return self._finish(draft, before)

    def _take_over(self, draft: StepDraft) -> None:
        """In the first step: quarantine broken claims, and look up those whose calls another process may be making."""
        for key, value, error in self._broken:
            self._quarantine.broken_claim(draft, key, value, error)
        if self._has_inherited:
            inherited = [each for each in draft.index.claims.values() if each.phase is Phase.CALLING]
            draft.each(inherited, partial(resolve.take_over, draft), partial(self._quarantine.claim, draft))
            self._has_inherited = False

    def _ask(self, draft: StepDraft, *, is_stopping: bool) -> None:
        resolve.ask(draft, partial(self._quarantine.claim, draft), is_stopping=is_stopping)

    def _finish(self, draft: StepDraft, before: bytes) -> LaneStep:
        index, step = draft.index, draft.step
        self._broken = []
        force.note(draft)
        draft.wake_at(self._ttl.forget(draft.view, draft.now_ms))
        index.decoded.clear()
        after = index.state.pack()
        if after != before:
            draft.view.put(table.STATE, after)
        step.changes = draft.view.changes
        step.waiting, step.parked = index.state.waiting, index.state.parked
        step.open_claims = len(index.claims)
        if draft.hold is not None or claim.is_full(draft):
            step.rest_ms = REST_MS
        _report_hold(draft)
        if (outage := index.state.breaker.outage) is not None:
            step.breaker_until_ms, step.breaker_error = outage.until_ms, outage.error
        told.tell(draft)
        return step


def _settle(draft: StepDraft, outcome: Outcome) -> None:
    """Apply one answer; the claim may have been given up meanwhile."""
    index = draft.index
    index.under_way.discard(outcome.claim_id)
    if (open_claim := index.claims.get(outcome.claim_id)) is None:
        return
    if open_claim.phase is Phase.CALLING or draft.config.replays:
        draft.end_call(outcome)
    draft.apply(settle.settle(open_claim, outcome, draft.facts))


def _report_hold(draft: StepDraft) -> None:
    index, step, holds = draft.index, draft.step, draft.orders.holds
    draft.wake_at(min((order.until_ms for order in holds if order.until_ms is not None), default=None))
    if holds and index.state.waiting:
        step.hold = Hold(holds[0].key, holds[0].until_ms or NEVER_MS, is_limit=False, by=HeldBy.ORDER)
        step.held_back = index.state.waiting
    elif draft.hold is not None and index.state.waiting:
        step.hold, step.held_back = draft.hold, index.state.waiting
    elif not index.state.waiting and draft.now_ms < index.window_opens_ms:
        step.hold = Hold("closed window", index.window_opens_ms, is_limit=False, by=HeldBy.WINDOW)
        step.held_back = index.deferred_by_window
    by = [None if step.hold is None else step.hold.by, HeldBy.ORDER if holds else None]
    by.append(None if index.state.breaker.outage is None else HeldBy.OUTAGE)
    step.held_by = frozenset(each for each in by if each is not None)
