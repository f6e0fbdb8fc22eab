"""A lane: one sender, one partition, one step at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from pipeline.domain.policy import ChannelPolicy, SenderPolicy
from pipeline.domain.sender_choice import NoSender, find_sender
from pipeline.domain.story import Reason, State
from pipeline.domain.work import Phase, Work
from pipeline.flow import channel_topic
from pipeline.records import UnknownVersion, decode_work, encode_work
from pipeline.stage_io import Output, Overlay, Record, Table
from pipeline.stages.apart import PLAIN, STOPS, Aside, bytes_of, where
from pipeline.stages.expiry import ENTRY, Forgetting
from pipeline.stages.lane import claims, clock, settle, shelf
from pipeline.stages.lane.cycle import Cycle, LaneMind, RequestBuilder
from pipeline.stages.lane.gate import Go, judge
from pipeline.stages.lane.refuse import Refusal, rows
from pipeline.stages.lane.step import Hold, LaneStep, Outcome


class Lane:
    """The stage over one partition of a channel topic; its table is `lanes-<channel>`."""

    def __init__(
        self,
        policy: ChannelPolicy,
        lane: int,
        build: RequestBuilder,
        *,
        replays: bool,
        by_text: bool,
        dedup_for_ms: int,
        aside: Aside = PLAIN,
    ) -> None:
        self._refusal = Refusal(aside)
        self._broken: list[tuple[bytes, bytes, Exception]] = []
        """Claims found open that cannot be read."""
        self._mind = LaneMind(policy, policy.sender_on(lane), lane, build, replays, by_text, dedup_for_ms)
        self._found_open = False
        self._forgetting = Forgetting()

    def open(self, table: Table, now_ms: int) -> None:
        """Take the lane over: what was under way elsewhere is an open question now."""
        del now_ms
        mind = self._mind
        mind.state = shelf.LaneState.unpack(table.get(shelf.STATE))
        mind.claims, self._broken = shelf.open_claims(table)
        mind.calls = shelf.last_calls(table)
        mind.under_way.clear()
        mind.fresh_works.clear()
        mind.head = shelf.WAITING
        mind.seen_ms = mind.steady_ms = None
        self._forgetting = Forgetting()
        mind.shut_until_ms = mind.shut_out = 0
        self._found_open = any(claim.phase is Phase.CALLING for claim in mind.claims.values())

    def step(
        self,
        table: Table,
        batch: Sequence[Record],
        outcomes: Sequence[Outcome],
        now_ms: int,
        draw: Callable[[], float],
        *,
        hold: bool = False,
        steady_ms: int | None = None,
    ) -> LaneStep:
        """Settle, take in, sweep, claim, ask. With `hold` nothing new is begun.

        `steady_ms` is a clock that nobody sets: by it a step sees that the other one was set.
        """
        kept, found_open = self._mind.copied(), self._found_open
        cycle = Cycle(self._mind, Overlay(table), now_ms, draw)
        try:
            return self._decide(cycle, batch, outcomes, steady_ms, hold=hold)
        except STOPS:
            raise
        except Exception:  # noqa: BLE001 - which part of the step it was is found out by trying each on its own
            self._mind.go_back_to(kept)
            self._found_open = found_open
            self._forgetting = Forgetting()
        careful = Cycle(self._mind, Overlay(table), now_ms, draw, is_careful=True)
        return self._decide(careful, batch, outcomes, steady_ms, hold=hold)

    def _decide(
        self, cycle: Cycle, batch: Sequence[Record], outcomes: Sequence[Outcome], steady_ms: int | None, *, hold: bool
    ) -> LaneStep:
        before = self._mind.state.pack()
        if clock.follow(cycle, steady_ms):
            outcomes = [clock.right_outcome(outcome, cycle.now_ms) for outcome in outcomes]
        refusal = self._refusal
        for key, value, error in self._broken:
            refusal.broken(cycle, key, value, error)
        if self._found_open:
            found = [claim for claim in self._mind.claims.values() if claim.phase is Phase.CALLING]
            cycle.each(found, partial(settle.found_open, cycle), partial(refusal.claim, cycle))
            self._found_open = False
        cycle.each(outcomes, partial(settle.settle, cycle), partial(refusal.outcome, cycle))
        cycle.each(batch, partial(self._take_in, cycle), partial(refusal.record, cycle))
        if self._is_draining:
            rows(cycle, self._readdress, refusal)
        self._begin(cycle, hold=hold)
        self._broken = []
        return self._finish(cycle, before)

    def _begin(self, cycle: Cycle, *, hold: bool) -> None:
        """Claim and ask; turn away those in line who cannot go."""
        # A paused lane probes with a fresh touch first: a batch that the provider chokes on must not block the others.
        probing = self._mind.state.pause is not None
        if not probing:
            claims.ask_what_is_open(cycle, partial(self._refusal.claim, cycle), hold=hold)
        if not self._is_draining and not hold:
            rows(cycle, claims.claim_what_may_go, self._refusal)
            if self._mind.state.waiting:
                rows(cycle, claims.sweep, self._refusal)
        if probing:
            claims.ask_what_is_open(cycle, partial(self._refusal.claim, cycle), hold=hold)

    def _finish(self, cycle: Cycle, before: bytes) -> LaneStep:
        mind, step = self._mind, cycle.step
        cycle.wake_at(self._forgetting.forget(cycle.view, cycle.now_ms))
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

    @property
    def _is_draining(self) -> bool:
        """Whether the lane only finishes what is claimed: its sender has gone, or is disabled."""
        return self._mind.sender is None or not self._mind.sender.is_enabled

    def _take_in(self, cycle: Cycle, record: Record) -> None:
        value = bytes_of(record)
        try:
            work = decode_work(value)
        except UnknownVersion as newer:
            raise UnknownVersion(newer.what, where(record)) from None
        memory = shelf.recall(cycle.view, shelf.memory_key(work))
        if memory is not None and shelf.is_known(memory, work):
            self._repeat(cycle, work, memory)
        elif self._mind.sender is None or work.sender != self._mind.sender.name:
            self._forward(cycle, work)
        else:
            origins = shelf.origins_of(memory, work)
            cycle.view.put(ENTRY + shelf.memory_key(work), shelf.active(origins, work.returns))
            self._line_up(cycle, work, value)

    def _line_up(self, cycle: Cycle, work: Work, value: bytes) -> None:
        """Put `work` in line, or turn it away; behind a backlog that is handed on, to be handed on in its turn."""
        if self._is_draining:
            cycle.enqueue(work, value)
            return
        pause = self._mind.state.pause
        verdict = judge(self._mind.policy, work, cycle.now_ms, 0 if pause is None else pause.until_ms)
        if isinstance(verdict, Go):
            cycle.enqueue(work, value)
        else:
            cycle.turn_away(work, verdict)

    def _repeat(self, cycle: Cycle, work: Work, memory: bytes) -> None:
        """Tell, and do not send again, what somebody has had with this content, under another key."""
        cycle.step.repeats += 1
        if work.returns:
            return  # read again: who asked for its results is known
        if memory[:1] == b"z":
            cycle.answer_again(work, memory[1:])
            return
        origins = shelf.origins_of(memory, work)
        if work.origin not in origins:
            cycle.view.put(
                ENTRY + shelf.memory_key(work), shelf.active([*origins, work.origin], shelf.returns_of(memory))
            )

    def _forward(self, cycle: Cycle, work: Work) -> None:
        """Hand on what is not this lane's: the configuration has changed since it was addressed."""
        policy = self._mind.policy
        addressed = policy.sender_named(work.sender)
        stays = addressed is not None and addressed.is_enabled
        chosen = find_sender(policy, work.sender if work.pinned or stays else None, work.to)
        from_ = work.content.from_
        if isinstance(chosen, NoSender):
            cycle.end(work, State.FAILED, reason=chosen.reason, error=chosen.error)
        elif from_ is not None and from_ not in chosen.addresses:
            error = f"from is {from_!r}, which sender {chosen.name!r}, who has it now, does not have"
            cycle.end(work, State.FAILED, reason=Reason.INVALID, error=error)
        else:
            self._send_on(cycle, work, chosen)

    def _send_on(self, cycle: Cycle, work: Work, chosen: SenderPolicy) -> None:
        """Write `work` to the lane of `chosen` and forget it here: once for each partition that asked for its results."""
        key = shelf.memory_key(work)
        origins = shelf.origins_of(shelf.recall(cycle.view, key), work)
        cycle.view.delete(ENTRY + key)
        for origin in origins:
            # As if fresh from the router: the new lane must learn that it has it.
            value = encode_work(replace(work, sender=chosen.name, origin=origin, returns=0))
            cycle.step.outputs.append(Output(channel_topic(work.channel), chosen.lane, work.touch_id.encode(), value))

    def _readdress(self, cycle: Cycle) -> None:
        """Hand on the backlog of a lane whose sender has gone or is disabled, in the order of service."""
        line = claims.Line(cycle)
        while (waiting := line.peek()) is not None:
            line.take()
            self._forward(cycle, waiting.work)
        if line.is_cut:
            cycle.wake_at(cycle.now_ms)
