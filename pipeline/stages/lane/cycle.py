"""One step in the making: the overlay, what goes out, and the small verbs the parts of a step share."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, fields, replace
from functools import partial
from typing import Protocol, TypeVar

from pipeline.domain.limit import PastCall
from pipeline.domain.policy import ChannelPolicy, SenderPolicy
from pipeline.domain.story import Reason, State, event_of
from pipeline.domain.unconfirmed import Unconfirmed
from pipeline.domain.work import Claim, Request, Scheduled, Work
from pipeline.flow import RESULTS, SCHEDULED, UNCONFIRMED
from pipeline.records import encode_event, encode_scheduled, encode_unconfirmed, encode_work
from pipeline.stage_io import Output, Overlay
from pipeline.stages.apart import STOPS
from pipeline.stages.lane import shelf
from pipeline.stages.lane.gate import NeverOpen, TooLate, Wait
from pipeline.stages.lane.step import Hold, LaneStep

CLOCK_ALLOWANCE_MS = 2_000
"""How far the clocks of two workers may differ, or one jump, without a claim being asked about too early."""
REPLAY_HORIZON_MS = 23 * 3_600_000
"""Resend keeps an Idempotency-Key for 24 h (resend.com/docs/dashboard/emails/idempotency-keys)."""


T = TypeVar("T")


class RequestBuilder(Protocol):
    """Builds the request of a call, byte for byte; the same arguments give the same bytes."""

    def __call__(
        self, works: tuple[Work, ...], claim_id: str, lease_until_ms: int, closes_ms: int | None, /
    ) -> Request:
        """Return the request for `works`."""


@dataclass(slots=True)
class LaneMind:
    """What a lane keeps in memory of its table, rebuilt when it opens."""

    policy: ChannelPolicy
    sender: SenderPolicy | None
    lane: int
    build: RequestBuilder
    replays: bool
    """Asking may send (Resend): it is a call like any other."""
    by_text: bool
    """Look-ups compare address and text (Twilio; WAHA without ids of ours): twins must be kept apart."""
    dedup_for_ms: int
    state: shelf.LaneState = field(default_factory=shelf.LaneState)
    claims: dict[str, Claim] = field(default_factory=dict)
    under_way: set[str] = field(default_factory=set)
    """Claims whose call or question is under way in this process."""
    calls: dict[int, tuple[PastCall, str]] = field(default_factory=dict)
    head: bytes = shelf.WAITING
    """Nothing waits below this key: scans start here, not among RocksDB's tombstones."""
    gathering_since_ms: int | None = None
    seen_ms: int | None = None
    """What the clock showed at the last step; None: not yet since the lane was opened."""
    steady_ms: int | None = None
    """What the clock that nobody sets showed then."""
    shut_until_ms: int = 0
    """The earliest opening of those that were turned away because their window is closed."""
    shut_out: int = 0
    """How many they are."""
    fresh_works: dict[bytes, Work] = field(default_factory=dict)
    """Decoded already, by waiting key; for this step only."""

    def copied(self) -> LaneMind:
        """Return the mind as it is now, to go back to."""
        return replace(
            self,
            state=replace(self.state, served=dict(self.state.served)),
            claims=dict(self.claims),
            under_way=set(self.under_way),
            calls=dict(self.calls),
            fresh_works=dict(self.fresh_works),
        )

    def go_back_to(self, kept: LaneMind) -> None:
        """Be as `kept` was. It is spent."""
        for each in fields(self):
            setattr(self, each.name, getattr(kept, each.name))


class Cycle:
    """One step of one lane."""

    def __init__(
        self, mind: LaneMind, view: Overlay, now_ms: int, draw: Callable[[], float], *, is_careful: bool = False
    ) -> None:
        self.mind = mind
        self.view = view
        self.now_ms = now_ms
        self.draw = draw
        self.step = LaneStep()
        self.hold: Hold | None = None
        """What the touches in line wait for, though a call could be made."""
        self.is_careful = is_careful
        """Something tripped in this step before: each part of it is tried on its own now."""
        self.suspects: list[bytes] = []
        """Keys of the touches in line that were looked at last, or of the call that is being claimed."""
        self.is_one_by_one = False
        """Claim no two touches at once: it is not known which of them trips."""

    def each(self, items: Iterable[T], act: Callable[[T], object], refuse: Callable[[T, Exception], object]) -> None:
        """Do `act` with each item. What trips leaves no trace, and is refused; the rest goes on."""
        for item in items:
            if not self.is_careful:
                act(item)
            elif (error := self.attempt(partial(act, item))) is not None:
                refuse(item, error)

    def attempt(self, act: Callable[[], object]) -> Exception | None:
        """Do it; or leave no trace of it, and return what it tripped over."""
        mind, step, outer = self.mind.copied(), self.step.copied(), self.view
        self.view = Overlay(outer)
        try:
            act()
        except STOPS:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, it must not stop its lane for ever
            self.mind.go_back_to(mind)
            self.step = step
            return error
        else:
            outer.changes.update(self.view.changes)
            return None
        finally:
            self.view = outer

    @property
    def state(self) -> shelf.LaneState:
        """The lane's figures."""
        return self.mind.state

    @property
    def policy(self) -> ChannelPolicy:
        """The channel's rules."""
        return self.mind.policy

    def call_over_ms(self, lease_until_ms: int) -> int:
        """Return the instant from which a call claimed here until `lease_until_ms` can no longer run."""
        return lease_until_ms + self.policy.request_timeout_ms + CLOCK_ALLOWANCE_MS

    def tell(self, work: Work, state: State, **more: object) -> None:
        """Send an event of `work` home, to every partition that asked for it."""
        key = shelf.memory_key(work)
        for origin in shelf.origins_of(shelf.recall(self.view, key), work):
            self._result(origin, work.touch_id, encode_event(event_of(work, state, self.now_ms, **more)))

    def end(self, work: Work, state: State, **more: object) -> None:
        """Send the terminal event of `work` home, and remember it for those who ask again."""
        event = encode_event(event_of(work, state, self.now_ms, **more))
        key = shelf.memory_key(work)
        for origin in shelf.origins_of(shelf.recall(self.view, key), work):
            self._result(origin, work.touch_id, event)
        shelf.remember(self.view, key, shelf.ended(event), self.now_ms + self.mind.dedup_for_ms)

    def _result(self, origin: int, touch_id: str, event: bytes) -> None:
        self.step.outputs.append(Output(RESULTS, origin, touch_id.encode(), event))

    def answer_again(self, work: Work, event: bytes) -> None:
        """Tell an ended story to one more partition."""
        self._result(work.origin, work.touch_id, event)

    def enqueue(self, work: Work, value: bytes) -> None:
        """Put `work` in line."""
        key = shelf.enqueue(self.view, self.state, work, value)
        self.mind.fresh_works[key] = work
        self.mind.head = min(self.mind.head, key)
        if self.mind.gathering_since_ms is None:
            self.mind.gathering_since_ms = self.now_ms

    def put_back(self, work: Work, code: str | None = None, error: str = "retry_for is over") -> None:
        """Put `work`, claimed for nothing, back at the head of the line; or end it, its time for trying being over."""
        if self.is_spent(work, self.now_ms):
            self.give_up(work, code, error)
            return
        key = shelf.put_back(self.view, self.state, work, encode_work(work))
        self.mind.fresh_works[key] = work
        self.mind.head = min(self.mind.head, key)

    def line_up_again(self, work: Work, code: str | None = None, error: str = "retry_for is over") -> None:
        """Put `work`, whose call had its turn, in line for another; or end it, its time for trying being over."""
        if self.is_spent(work, self.now_ms):
            self.give_up(work, code, error)
        else:
            self.enqueue(work, encode_work(work))

    def schedule(self, work: Work, at_ms: int) -> None:
        """Hand `work` to the scheduler until `at_ms`."""
        again = replace(work, returns=work.returns + 1)
        scheduled = Scheduled(at_ms, work.channel, self.mind.lane, work.touch_id, encode_work(again))
        self.step.outputs.append(Output(SCHEDULED, work.origin, work.touch_id.encode(), encode_scheduled(scheduled)))

    def leave_open(self, work: Work, claim: Claim, error: str) -> None:
        """Write down the question that `work` of `claim` ends with, for whoever finds out later."""
        # Asking by a replay may send, so nobody will: the bytes of a whole batch need not stand in each touch's record.
        request = replace(claim.request, body=b"") if self.mind.replays else claim.request
        left = Unconfirmed(replace(claim, works=(work,), request=request), self.now_ms, error)
        self.step.outputs.append(Output(UNCONFIRMED, work.origin, work.touch_id.encode(), encode_unconfirmed(left)))

    def turn_away(self, work: Work, verdict: Wait | TooLate | NeverOpen) -> None:
        """Defer, expire or refuse `work`, which is not (or no longer) in line."""
        if isinstance(verdict, TooLate):
            self.end(work, State.EXPIRED, reason=Reason.EXPIRES_AT)
        elif isinstance(verdict, NeverOpen):
            error = f"the window of {work.channel} and the calendar of its place are never open together"
            self.end(work, State.FAILED, reason=Reason.INVALID, error=error)
        else:
            if verdict.reason is Reason.WINDOW:
                self._shut_out(verdict.at_ms)
            self.tell(work, State.DEFERRED, reason=verdict.reason, next_attempt_at_ms=verdict.at_ms)
            self.schedule(work, verdict.at_ms)

    def _shut_out(self, until_ms: int) -> None:
        mind = self.mind
        if self.now_ms >= mind.shut_until_ms:
            mind.shut_until_ms, mind.shut_out = until_ms, 0
        mind.shut_until_ms = min(mind.shut_until_ms, until_ms)
        mind.shut_out += 1

    def give_up(self, work: Work, code: str | None, error: str) -> None:
        """End `work` as failed after all its attempts, or all its time."""
        self.end(work, State.FAILED, reason=Reason.ATTEMPTS_EXHAUSTED, error_code=code, error=error)

    def is_spent(self, work: Work, at_ms: int) -> bool:
        """Whether `retry_for` has run out by `at_ms`."""
        return work.first_call_ms is not None and at_ms >= work.first_call_ms + self.policy.retry_for_ms

    def keep(self, claim: Claim) -> None:
        """Write an open claim, new or changed."""
        self.mind.claims[claim.claim_id] = claim
        shelf.keep_claim(self.view, claim)

    def close(self, claim: Claim) -> None:
        """Close a claim: its outcome is known, or given up."""
        self.mind.claims.pop(claim.claim_id, None)
        shelf.drop_claim(self.view, claim)

    def wake_at(self, at_ms: int | None) -> None:
        """Ask for the next step at `at_ms` at the latest."""
        if at_ms is not None and (self.step.wake_ms is None or at_ms < self.step.wake_ms):
            self.step.wake_ms = at_ms
