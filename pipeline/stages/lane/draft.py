"""One step in the making: the only part of a lane that writes to its table and to its index, and that produces records."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Final, TypeVar, assert_never

from pipeline.domain.lifecycle import BREAKER, CLAIM
from pipeline.domain.limit import PastCall, calls_to_remember
from pipeline.domain.policy import ChannelPolicy
from pipeline.domain.story import Reason, State, event_of
from pipeline.domain.work import Claim, Phase, Work
from pipeline.records import encode_event, encode_work
from pipeline.stage_io import Output, Overlay
from pipeline.stages.control import ControlView, Pause
from pipeline.stages.dead_letters import STOPS
from pipeline.stages.lane import calls, limits, outputs, queue, shelf, table
from pipeline.stages.lane.breaker import Breaker
from pipeline.stages.lane.fate import Deferred, Ended, Fate, LookedUp, Parked, Requeued, RetryAt
from pipeline.stages.lane.gate import Expired, GateDecision, decide, first_open_ms_of, is_expired
from pipeline.stages.lane.index import LaneConfig, LaneIndex
from pipeline.stages.lane.orders import LaneOrders
from pipeline.stages.lane.settlement import Facts, Settlement
from pipeline.stages.lane.step import Ask, Hold, LaneStep, Outcome
from pipeline.state_machine import check_transition

LEDGER_SLACK_MS: Final = 3_600_000
"""How much longer than look-ups go on a message id is remembered."""

T = TypeVar("T")


class StepDraft:
    """One step of one lane. `step` is its result."""

    def __init__(
        self,
        config: LaneConfig,
        index: LaneIndex,
        view: Overlay,
        now_ms: int,
        draw: Callable[[], float],
        *,
        control: ControlView,
        is_careful: bool = False,
    ) -> None:
        self.config = config
        self.index = index
        self.view = view
        self.now_ms = now_ms
        self.draw = draw
        self.orders = LaneOrders(control, config, now_ms)
        self.step = LaneStep()
        self.hold: Hold | None = None
        """What prevents the next call although a call slot is free."""
        self.is_careful = is_careful
        """The step has failed before: each part of it is tried on its own."""
        self.suspects: list[bytes] = []
        """Keys of the touches looked at last, or of the call that is being claimed."""
        self.is_one_by_one = False
        """Claim one touch per call: it is not known which of several causes an error."""

    @property
    def policy(self) -> ChannelPolicy:
        """The channel's rules."""
        return self.config.policy

    @property
    def state(self) -> table.LaneState:
        """The lane's counters and instants."""
        return self.index.state

    @property
    def facts(self) -> Facts:
        """What a settlement depends on, as it is now."""
        state = self.state
        return Facts(
            config=self.config,
            breaker=state.breaker,
            last_success_ms=state.last_success_ms,
            last_good_call_ms=state.last_good_call_ms,
            now_ms=self.now_ms,
            draw=self.draw,
            forbids_another_call=self.orders.forbids_another_call,
        )

    def gate(self, work: Work) -> GateDecision:
        """Decide whether `work` may go now: expiry, cancels, entries, pauses, and only then the rules of the gate."""
        if is_expired(work, self.now_ms):
            return Expired()
        if (said := self.orders.about(work)) is not None:
            return said
        return decide(self.policy, work, self.now_ms, self.state.breaker.until_ms)

    # --- trying ------------------------------------------------------------------------------------------------

    def each(self, items: Iterable[T], act: Callable[[T], object], refuse: Callable[[T, Exception], object]) -> None:
        """Do `act` with each item. In a careful step an item that raises leaves no trace and is given to `refuse`."""
        for item in items:
            if not self.is_careful:
                act(item)
            elif (error := self.attempt(partial(act, item))) is not None:
                refuse(item, error)

    def attempt(self, act: Callable[[], object]) -> Exception | None:
        """Do `act`; if it raises, undo all that it wrote and return the exception."""
        index, step, outer = self.index.copied(), self.step.copied(), self.view
        self.view = Overlay(outer)
        try:
            act()
        except STOPS:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, it must not stop its lane for ever
            self.index.go_back_to(index)
            self.step = step
            return error
        else:
            outer.changes.update(self.view.changes)
            return None
        finally:
            self.view = outer

    # --- settlements and fates ---------------------------------------------------------------------------------

    def apply(self, settlement: Settlement) -> None:
        """Write all that follows from one answer. Raises IllegalTransition."""
        before, state = settlement.before, self.state
        if settlement.is_unbegun:
            calls.delete_latest(self.view, self.index, before.claim_id)
        self._set_breaker(settlement.breaker)
        if settlement.is_sent:
            state.last_success_ms = self.now_ms
            state.last_good_call_ms = max(state.last_good_call_ms, before.claimed_ms)
        if settlement.is_void:
            self._give_back(before)
        if settlement.claim is None:
            self.close(before)
        else:
            self.put_claim(settlement.claim)
        for answered in settlement.fates:
            self._suppress_after(answered)
            fate = self.orders.obeyed(answered)
            self.write(fate)
            if isinstance(fate, Ended) and fate.state is State.UNCONFIRMED:
                left = outputs.unconfirmed(self.config, fate.work, before, fate.error or "", self.now_ms)
                self._produce([left])

    def _suppress_after(self, fate: Fate) -> None:
        auto = self.config.auto_suppression
        if auto is not None and (entry := auto.after(fate, self.now_ms)) is not None:
            self._produce([entry])

    def write(self, fate: Fate) -> None:
        """Write what becomes of one touch."""
        match fate:
            case Ended():
                self._end(fate)
            case Deferred(work, reason, at_ms):
                if reason is Reason.WINDOW:
                    self._note_closed_window(at_ms)
                event = event_of(work, State.DEFERRED, self.now_ms, reason=reason, next_attempt_at_ms=at_ms)
                self._produce(outputs.results(self.view, work, encode_event(event)))
                self._schedule(work, at_ms)
            case Parked(work, pause):
                self._park(work, pause)
            case RetryAt(work, reason, at_ms, error_code=code, error=error):
                self._retrying(work, reason, at_ms, code, error)
                self._schedule(work, at_ms)
            case Requeued():
                self._requeue(fate)
            case LookedUp(work, at_ms, error_code=look_code, error=look_error):
                self._retrying(work, Reason.LOOKING_UP, at_ms, look_code, look_error)
            case _:
                assert_never(fate)

    def _set_breaker(self, after: Breaker) -> None:
        before, now_ms = self.state.breaker, self.now_ms
        if after.outage is not before.outage:
            check_transition(BREAKER, before.state_at(now_ms), after.state_at(now_ms))
        self.state.breaker = after

    def _end(self, fate: Ended) -> None:
        """Report the terminal state, and remember it for the same touch under another key."""
        work = fate.work
        event = encode_event(
            event_of(
                work,
                fate.state,
                self.now_ms,
                reason=fate.reason,
                provider_message_id=fate.provider_message_id,
                error_code=fate.error_code,
                error=fate.error,
                order=fate.order,
            )
        )
        self._produce(outputs.results(self.view, work, event))
        table.put_end(self.view, work, event, self.now_ms + self.config.dedup_for_ms)
        if self.config.by_text and fate.provider_message_id is not None:
            forget_ms = self.now_ms + self.policy.resolve_for_ms + LEDGER_SLACK_MS
            table.put_message_id(self.view, work, fate.provider_message_id, forget_ms)

    def _park(self, work: Work, pause: Pause) -> None:
        """Put `work` on the shelf, and tell so: once, however many orders hold it and come to hold it."""
        at_ms = pause.until_ms
        if at_ms is not None:
            at_ms = first_open_ms_of(self.policy, work, max(at_ms, self.now_ms, work.not_before_ms or 0)) or at_ms
        event = event_of(
            work, State.DEFERRED, self.now_ms, reason=Reason.PAUSED, next_attempt_at_ms=at_ms, order=pause.order
        )
        self._produce(outputs.results(self.view, work, encode_event(event)))
        expiry = shelf.park(self.view, self.state, work, encode_work(work))
        if expiry is not None:
            self.index.expiry_from = min(self.index.expiry_from, expiry)
            self.wake_at(work.expires_at_ms)
        self.note_pause(pause)

    def note_pause(self, pause: Pause) -> None:
        """Note when a parked touch may be free again."""
        if pause.until_ms is not None:
            index = self.index
            index.unpark_ms = pause.until_ms if index.unpark_ms is None else min(index.unpark_ms, pause.until_ms)
            self.wake_at(pause.until_ms)

    def _retrying(self, work: Work, reason: Reason, at_ms: int, code: str | None, error: str | None) -> None:
        event = event_of(
            work, State.RETRYING, self.now_ms, reason=reason, next_attempt_at_ms=at_ms, error_code=code, error=error
        )
        self._produce(outputs.results(self.view, work, encode_event(event)))

    def repeat_end(self, work: Work, event: bytes) -> None:
        """Produce the terminal event of a touch that has ended for one more partition."""
        self._produce([outputs.result(work.origin, work, event)])

    def _schedule(self, work: Work, at_ms: int) -> None:
        self._produce([outputs.scheduled(self.config, work, at_ms)])

    def _produce(self, records: Iterable[Output]) -> None:
        self.step.outputs.extend(records)

    def _note_closed_window(self, opens_ms: int) -> None:
        index = self.index
        if self.now_ms >= index.window_opens_ms:
            index.window_opens_ms, index.deferred_by_window = opens_ms, 0
        index.window_opens_ms = min(index.window_opens_ms, opens_ms)
        index.deferred_by_window += 1

    # --- the queue ---------------------------------------------------------------------------------------------

    def cursor(self) -> queue.Cursor:
        """Return a cursor at the head of the queue."""
        cursor = queue.Cursor(self.view, self.index, self.suspects)
        if (first := cursor.peek()) is not None:
            self.index.head = first.key
        return cursor

    def enqueue(self, work: Work, value: bytes) -> None:
        """Put `work` (as record `value`) in the queue."""
        self._note_queued(queue.enqueue(self.view, self.state, work, value), work)
        if self.index.gathering_since_ms is None:
            self.index.gathering_since_ms = self.now_ms

    def _requeue(self, fate: Requeued) -> None:
        work = fate.work
        if (notice := fate.notice) is not None:
            self._retrying(work, Reason.OUTAGE, notice.next_attempt_at_ms, notice.error_code, notice.error)
        if fate.is_at_head:
            self._note_queued(queue.requeue(self.view, self.state, work, encode_work(work)), work)
        else:
            self.enqueue(work, encode_work(work))

    def _note_queued(self, key: bytes, work: Work) -> None:
        self.index.decoded[key] = work
        self.index.head = min(self.index.head, key)

    # --- claims and calls --------------------------------------------------------------------------------------

    def put_claim(self, claim: Claim) -> None:
        """Write a claim that is new, or has changed its phase. Raises IllegalTransition."""
        before = self.index.claims.get(claim.claim_id)
        if before is None:
            assert claim.phase is Phase.CALLING
        else:
            check_transition(CLAIM, before.phase, claim.phase)
        self.rewrite_claim(claim)

    def rewrite_claim(self, claim: Claim) -> None:
        """Write an open claim whose phase has not changed."""
        self.index.claims[claim.claim_id] = claim
        table.put_claim(self.view, claim)

    def close(self, claim: Claim) -> None:
        """Delete a claim: its outcome is known, or given up. Raises IllegalTransition if it is not open."""
        before = self.index.claims.pop(claim.claim_id, None)
        check_transition(CLAIM, Phase.CLOSED if before is None else before.phase, Phase.CLOSED)
        table.delete_claim(self.view, claim)

    def start_call(self, claim: Claim, messages: int) -> None:
        """Note a call of `claim` with `messages` new messages that starts when the step is committed."""
        state, policy = self.state, self.policy
        if state.first_send_ms is None:
            state.first_send_ms = self.now_ms
        self._count_messages(messages)
        if policy.gap is not None:
            state.gap_ms = policy.gap.drawn_ms(self.draw())
        self.index.under_way.add(claim.claim_id)
        if keep := calls_to_remember(policy.limit, policy.warm_up, policy.gap):
            call = PastCall(self.now_ms, self.config.call_over_ms(claim.lease_until_ms))
            calls.add(self.view, self.index, call, claim.claim_id, keep)

    def end_call(self, outcome: Outcome) -> None:
        """Note when the claim's latest call was answered or given up."""
        calls.end(self.view, self.index, outcome.claim_id, outcome.ended_ms)

    def put_call(self, number: int, call: PastCall, claim_id: str) -> None:
        """Write call `number`."""
        calls.put(self.view, self.index, number, call, claim_id)

    def _count_messages(self, messages: int) -> None:
        if limits.daily_cap(self.config) is None or messages == 0:
            return
        today = limits.today(self.config, self.now_ms)
        if today > self.state.day:
            self.state.day, self.state.messages = today, 0
        self.state.messages += messages

    def _give_back(self, claim: Claim) -> None:
        """Subtract the messages of `claim`, which the provider did not accept, from their day's count."""
        if limits.day_of(self.config, claim) == self.state.day:
            self.state.messages = max(self.state.messages - len(claim.works), 0)

    def ask(self, claim: Claim, known_ids: frozenset[str] = frozenset()) -> None:
        """Start a look-up or replay of `claim` when the step is committed."""
        self.index.under_way.add(claim.claim_id)
        self.step.asks.append(Ask(claim, known_ids))

    # --- the end -----------------------------------------------------------------------------------------------

    def wake_at(self, at_ms: int | None) -> None:
        """Ask for the next step at `at_ms` at the latest."""
        if at_ms is not None and (self.step.wake_ms is None or at_ms < self.step.wake_ms):
            self.step.wake_ms = at_ms
