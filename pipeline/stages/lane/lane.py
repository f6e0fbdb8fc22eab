"""A lane: one sender, one partition, one step at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import islice

from pipeline.domain.policy import ChannelPolicy
from pipeline.domain.sender_choice import choose_sender
from pipeline.domain.story import Reason, State
from pipeline.domain.work import Phase, Work
from pipeline.flow import channel_topic
from pipeline.log import Output, Overlay, Record, Table
from pipeline.records import decode_work, encode_work
from pipeline.stages.expiry import ENTRY, forget
from pipeline.stages.foreign import own_record
from pipeline.stages.lane import claims, settle, shelf
from pipeline.stages.lane.cycle import Cycle, LaneMind, RequestBuilder
from pipeline.stages.lane.gate import Go, judge
from pipeline.stages.lane.step import Hold, LaneStep, Outcome

READDRESSED = 500


class Lane:
    """The stage over one partition of a channel topic; its table is `lanes-<channel>`."""

    def __init__(
        self, policy: ChannelPolicy, lane: int, build: RequestBuilder, *,
        replays: bool, by_text: bool, dedup_for_ms: int,
    ) -> None:  # fmt: skip
        self._mind = LaneMind(policy, policy.sender_on(lane), lane, build, replays, by_text, dedup_for_ms)
        self._found_open = False

    def open(self, table: Table, now_ms: int) -> None:
        """Take the lane over: what was under way elsewhere is an open question now."""
        del now_ms
        mind = self._mind
        mind.state = shelf.LaneState.unpack(table.get(shelf.STATE))
        mind.claims = shelf.open_claims(table)
        mind.calls = shelf.last_calls(table)
        mind.under_way.clear()
        mind.fresh_works.clear()
        mind.head = shelf.WAITING
        mind.shut_until_ms = mind.shut_out = 0
        self._found_open = any(claim.phase is Phase.CALLING for claim in mind.claims.values())

    def step(
        self, table: Table, batch: Sequence[Record], outcomes: Sequence[Outcome], now_ms: int,
        draw: Callable[[], float], *, hold: bool = False,
    ) -> LaneStep:  # fmt: skip
        """Settle, take in, sweep, claim, ask. With `hold` nothing new is begun."""
        cycle = Cycle(self._mind, Overlay(table), now_ms, draw)
        before = self._mind.state.pack()
        if self._found_open:
            settle.found_open(cycle)
            self._found_open = False
        for outcome in outcomes:
            settle.settle(cycle, outcome)
        for record in batch:
            work = own_record(decode_work, record)
            if work is not None:
                self._take_in(cycle, work, record.value or b"")
        if self._mind.sender is None:
            self._readdress(cycle)
        self._begin(cycle, hold=hold)
        return self._finish(cycle, before)

    def _begin(self, cycle: Cycle, *, hold: bool) -> None:
        """Claim and ask; turn away those in line who cannot go."""
        # A paused lane probes with a fresh touch first: a batch that the provider chokes on must not block the others.
        probing = self._mind.state.pause is not None
        if not probing:
            claims.ask_what_is_open(cycle, hold=hold)
        if self._mind.sender is not None and not hold:
            claims.claim_what_may_go(cycle)
            if self._mind.state.waiting:
                claims.sweep(cycle)
        if probing:
            claims.ask_what_is_open(cycle, hold=hold)

    def _finish(self, cycle: Cycle, before: bytes) -> LaneStep:
        mind, step = self._mind, cycle.step
        cycle.wake_at(forget(cycle.view, cycle.now_ms))
        mind.fresh_works.clear()
        after = mind.state.pack()
        if after != before:
            cycle.view.put(shelf.STATE, after)
        step.changes = cycle.view.changes
        step.waiting = mind.state.waiting
        step.open_claims = len(mind.claims)
        self._say_what_holds(cycle)
        if mind.state.pause is not None:
            step.paused_until_ms, step.pause_error = mind.state.pause.until_ms, mind.state.pause.error
        return step

    def _say_what_holds(self, cycle: Cycle) -> None:
        mind, step = self._mind, cycle.step
        if cycle.hold is not None and mind.state.waiting:
            step.hold, step.held_back = cycle.hold, mind.state.waiting
        elif not mind.state.waiting and cycle.now_ms < mind.shut_until_ms:
            step.hold, step.held_back = Hold("closed window", mind.shut_until_ms, is_limit=False), mind.shut_out

    def _take_in(self, cycle: Cycle, work: Work, value: bytes) -> None:
        if self._mind.sender is None or work.sender != self._mind.sender.name:
            self._forward(cycle, work)
            return
        if work.returns == 0 and not self._is_new(cycle, work):
            return
        pause = self._mind.state.pause
        verdict = judge(self._mind.policy, work, cycle.now_ms, 0 if pause is None else pause.until_ms)
        if isinstance(verdict, Go):
            cycle.enqueue(work, value)
        else:
            cycle.turn_away(work, verdict)

    def _is_new(self, cycle: Cycle, work: Work) -> bool:
        """Whether nobody has had this touch with this content; the same under another key is told, not sent, again."""
        key = shelf.memory_key(work)
        memory = shelf.recall(cycle.view, key)
        if memory is None:
            cycle.view.put(ENTRY + key, shelf.active([work.origin]))
            return True
        cycle.step.repeats += 1
        if memory[:1] == b"z":
            cycle.answer_again(work, memory[1:])
        else:
            origins = shelf.origins_of(memory, work)
            if work.origin not in origins:
                cycle.view.put(ENTRY + key, shelf.active([*origins, work.origin]))
        return False

    def _forward(self, cycle: Cycle, work: Work) -> None:
        """Hand on what is not this lane's: the configuration has changed since it was addressed."""
        policy = self._mind.policy
        sender = policy.sender_named(work.sender)
        if not policy.senders:
            cycle.end(work, State.FAILED, reason=Reason.CHANNEL_OFF, error=f"{policy.channel} has no sender")
        elif sender is None and work.pinned:
            cycle.end(work, State.FAILED, reason=Reason.UNKNOWN_SENDER, error=f"no sender is called {work.sender!r}")
        else:
            chosen = sender or choose_sender(policy.senders, work.to)
            value = encode_work(replace(work, sender=chosen.name))
            cycle.step.outputs.append(Output(channel_topic(work.channel), chosen.lane, work.touch_id.encode(), value))

    def _readdress(self, cycle: Cycle) -> None:
        """Empty a lane whose sender has gone."""
        for count, (key, value) in enumerate(list(islice(shelf.line(cycle.view, shelf.WAITING), READDRESSED + 1))):
            if count == READDRESSED:
                cycle.wake_at(cycle.now_ms)
                return
            work = decode_work(value)
            shelf.take(cycle.view, self._mind.state, key, work)
            self._forward(cycle, work)
