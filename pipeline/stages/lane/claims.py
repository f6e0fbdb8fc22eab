"""Who goes next: sweeping the line, claiming, and asking about claims whose outcome is unknown."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from hashlib import blake2b
from typing import NamedTuple

from pipeline.domain.story import Reason, State
from pipeline.domain.work import Claim, Phase, Work
from pipeline.flow import CLAIM_BYTES
from pipeline.stages.lane import shelf
from pipeline.stages.lane.cycle import REPLAY_HORIZON_MS, Cycle
from pipeline.stages.lane.gate import Go, judge
from pipeline.stages.lane.limits import day_bound_ms, hold, messages_left, new_messages, note_call
from pipeline.stages.lane.settle import unconfirmed
from pipeline.stages.lane.step import Ask, Hold
from pipeline.stages.step import STEP_BYTES

LOOKED_AT = 500
"""Touches of the line looked at per step."""
BODY_BYTES = 1_500_000
"""Work in one call at most: the claim carries it twice (as work and as request) in a record of 4 MiB."""
CLAIM_ROOM = CLAIM_BYTES - 64 * 1024
"""Work and request of one claim at most."""
BLOCKED_MS = 1_000
ASKED_AT_ONCE = 4
"""Look-ups under way side by side in one lane."""


@dataclass(slots=True)
class Pick:
    """The touches of the next call."""

    works: list[Work] = field(default_factory=list)
    keys: list[bytes] = field(default_factory=list)
    size: int = 0
    cap: int = 0
    until_ms: int | None = None
    closes_ms: int | None = None


class Line:
    """The touches in line, in the order of service; one can be looked at before it is taken."""

    def __init__(self, cycle: Cycle) -> None:
        self._cycle = cycle
        self._rows = shelf.line(cycle.view, cycle.mind.head)
        self._next: Waiting | None = None
        self._looked_at = 0
        self._room = STEP_BYTES
        self.taken = 0
        first = self.peek()
        if first is not None:
            cycle.mind.head = first.key

    def peek(self) -> Waiting | None:
        """Return the next touch, or None at the end of the line (or of what one step looks at)."""
        if self._next is None and not self.is_cut:
            for key, value in self._rows:
                self._cycle.suspects = [key]
                self._room -= len(value)
                known = self._cycle.mind.fresh_works.get(key)
                self._next = Waiting(key, shelf.decode_waiting(value) if known is None else known, len(value))
                break
        return self._next

    def skip(self) -> None:
        """Leave the touch just looked at in line, and go on behind it."""
        self._next = None
        self._looked_at += 1

    def take(self) -> None:
        """Take the touch just looked at out of the line, and go on behind it."""
        assert self._next is not None
        shelf.take(self._cycle.view, self._cycle.state, self._next.key, self._next.work)
        self.taken += 1
        self.skip()

    @property
    def is_cut(self) -> bool:
        """Whether this step has looked at as many, or as much, as one step does."""
        return self._looked_at >= LOOKED_AT or self._room < 0


class Waiting(NamedTuple):
    """One touch in line."""

    key: bytes
    work: Work
    size: int
    """Bytes of its record."""


def claim_what_may_go(cycle: Cycle) -> None:
    """Claim calls while slots, limit, pause and line allow; say when to look again."""
    if cycle.state.waiting == 0:
        return
    line = Line(cycle)
    twins = _open_twins(cycle) if cycle.mind.by_text else set()
    while line.peek() is not None and _may_call(cycle):
        pick = _pick(cycle, line, twins)
        if pick.works:
            _claim(cycle, pick)
    if line.is_cut:
        # Nobody of so many may go (twins of open claims): an answer wakes the lane sooner.
        cycle.wake_at(cycle.now_ms if line.taken else cycle.now_ms + BLOCKED_MS)


def _may_call(cycle: Cycle) -> bool:
    """Whether one more call may start now; if not, wake up when it may."""
    state = cycle.state
    if len(_calling(cycle)) >= _slots(cycle) or _gathers(cycle):
        return False
    if state.pause is not None and state.pause.until_ms > cycle.now_ms:
        if state.pause.is_said:
            cycle.hold = Hold(f"Retry-After of the provider ({state.pause.code})", state.pause.until_ms, is_limit=False)
        cycle.wake_at(state.pause.until_ms)
        return False
    if (held := hold(cycle, 1)) is not None:
        cycle.hold = held
        cycle.wake_at(held.until_ms)
        return False
    return True


def _slots(cycle: Cycle) -> int:
    """Calls side by side: as configured; a paused lane probes with one."""
    return 1 if cycle.state.pause is not None else cycle.policy.in_flight


def sweep(cycle: Cycle) -> None:
    """Turn away those at the head of the line that cannot go now, whether or not a call may start."""
    line = Line(cycle)
    while (waiting := line.peek()) is not None:
        cycle.suspects = [waiting.key]
        verdict = judge(cycle.policy, waiting.work, cycle.now_ms, _paused_until(cycle))
        if isinstance(verdict, Go):
            cycle.wake_at(verdict.until_ms)
            return
        line.take()
        cycle.turn_away(waiting.work, verdict)
    if line.is_cut:
        cycle.wake_at(cycle.now_ms)


def ask_what_is_open(cycle: Cycle, refuse: Callable[[Claim, Exception], object], *, hold: bool) -> None:
    """Ask about claims whose time has come; end those that were asked about long enough."""
    cycle.each(sorted(_looking_up(cycle), key=lambda c: c.next_look_ms), partial(_ask_about, cycle, hold=hold), refuse)


def _ask_about(cycle: Cycle, claim: Claim, *, hold: bool) -> None:
    if cycle.now_ms >= claim.resolve_until_ms:
        unconfirmed(cycle, claim, claim.error or "the provider could not be asked in time")
        return
    if claim.next_look_ms > cycle.now_ms:
        cycle.wake_at(min(claim.resolve_until_ms, claim.next_look_ms))
        return
    cycle.wake_at(claim.resolve_until_ms)
    if cycle.mind.sender is None or hold:
        return
    if cycle.mind.replays:
        _replay(cycle, claim)
    elif len(cycle.mind.under_way) < ASKED_AT_ONCE + len(_calling(cycle)):
        known = shelf.known_ids(cycle.view, claim.works[0]) if cycle.mind.by_text else frozenset()
        cycle.mind.under_way.add(claim.claim_id)
        cycle.step.asks.append(Ask(claim, known))


def _replay(cycle: Cycle, claim: Claim) -> None:
    """Ask by sending the same request again: a call like any other, so limit, pause, window and lease apply."""
    if len(_calling(cycle)) >= _slots(cycle):
        return
    if _paused_until(cycle) > cycle.now_ms:
        cycle.wake_at(_paused_until(cycle))
        return
    verdicts = [
        judge(cycle.policy, replace(work, expires_at_ms=None, not_before_ms=None), cycle.now_ms) for work in claim.works
    ]
    closed = [verdict for verdict in verdicts if not isinstance(verdict, Go)]
    if closed:
        opens_ms = max(getattr(verdict, "at_ms", claim.resolve_until_ms) for verdict in closed)
        cycle.keep(replace(claim, next_look_ms=opens_ms))
        cycle.wake_at(min(opens_ms, claim.resolve_until_ms))
        return
    messages = new_messages(cycle, claim)
    if (held := hold(cycle, messages)) is not None:
        cycle.wake_at(held.until_ms)
        return
    bounds = [verdict.until_ms for verdict in verdicts if isinstance(verdict, Go)] + [day_bound_ms(cycle)]
    until_ms = min(
        cycle.now_ms + cycle.policy.lease_ms, claim.resolve_until_ms, *(each for each in bounds if each is not None)
    )
    renewed = replace(claim, lease_until_ms=until_ms, next_look_ms=cycle.call_over_ms(until_ms))
    note_call(cycle, claim.claim_id, until_ms, messages)
    cycle.keep(renewed)
    cycle.mind.under_way.add(claim.claim_id)
    cycle.step.asks.append(Ask(renewed, frozenset()))


def _pick(cycle: Cycle, line: Line, twins: set[bytes]) -> Pick:
    """Take the next call's touches out of the line; turn away those that cannot go."""
    left = messages_left(cycle)
    most = 1 if cycle.is_one_by_one else cycle.policy.batch
    pick = Pick(cap=most if left is None else min(most, left))
    while len(pick.works) < pick.cap and (waiting := line.peek()) is not None:
        work = waiting.work
        cycle.suspects = [waiting.key]
        verdict = judge(cycle.policy, work, cycle.now_ms, _paused_until(cycle))
        if not isinstance(verdict, Go):
            line.take()
            cycle.turn_away(work, verdict)
        elif cycle.mind.by_text and shelf.twin_key(work) in twins:
            line.skip()
        elif _add(pick, waiting, verdict):
            line.take()
            if cycle.mind.by_text:
                twins.add(shelf.twin_key(work))
        else:
            break
    if line.peek() is None:
        cycle.mind.gathering_since_ms = None
    return pick


def _add(pick: Pick, waiting: Waiting, go: Go) -> bool:
    """Add a touch to the call; False when the call is full without it."""
    work = waiting.work
    cap = 1 if work.content.attachments else min(pick.cap, work.batch_cap or pick.cap)
    if pick.works and (len(pick.works) >= cap or pick.size + waiting.size > BODY_BYTES):
        return False
    pick.works.append(work)
    pick.keys.append(waiting.key)
    pick.size += waiting.size
    pick.cap = cap
    pick.until_ms = _sooner(pick.until_ms, go.until_ms)
    pick.closes_ms = _sooner(pick.closes_ms, go.closes_ms)
    return True


def _claim(cycle: Cycle, pick: Pick) -> None:
    now_ms, policy = cycle.now_ms, cycle.policy
    cycle.suspects = pick.keys
    until_ms = _sooner(_sooner(now_ms + policy.lease_ms, pick.until_ms), day_bound_ms(cycle))
    assert until_ms is not None
    works = tuple(
        replace(work, attempt=work.attempt + 1, first_call_ms=min(now_ms, work.first_call_ms or now_ms))
        for work in pick.works
    )
    claim_id = _claim_id(works[0], cycle)
    horizon_ms = min(policy.resolve_for_ms, REPLAY_HORIZON_MS) if cycle.mind.replays else policy.resolve_for_ms
    try:
        request = cycle.mind.build(works, claim_id, until_ms, pick.closes_ms)
    except Exception as error:  # noqa: BLE001 - one touch nobody can put into a request must not end its lane for ever
        _unclaimed(cycle, pick, Reason.REJECTED, f"no request can be made of it: {error!r}"[:500])
        return
    if (size := pick.size + len(request.body)) > CLAIM_ROOM:
        _unclaimed(
            cycle, pick, Reason.INVALID, f"it and its request take {size} bytes; at most {CLAIM_ROOM} are allowed"
        )
        return
    claim = Claim(
        claim_id,
        works,
        request,
        now_ms,
        until_ms,
        next_look_ms=cycle.call_over_ms(until_ms),
        resolve_until_ms=now_ms + horizon_ms,
    )
    note_call(cycle, claim_id, until_ms, len(works))
    cycle.keep(claim)
    cycle.mind.under_way.add(claim_id)
    cycle.step.calls.append(claim)


def _unclaimed(cycle: Cycle, pick: Pick, reason: Reason, error: str) -> None:
    """End the touch that no call can be made for; of several, each is to go alone."""
    for work in pick.works:
        if len(pick.works) > 1:
            cycle.put_back(replace(work, batch_cap=1))
        else:
            cycle.end(work, State.FAILED, reason=reason, error=error)


def _claim_id(work: Work, cycle: Cycle) -> str:
    """Return an id that no other claim ever has: 32 hexadecimal digits."""
    said = f"{work.channel}|{cycle.mind.lane}|{work.touch_id}|{work.attempt}|{cycle.now_ms}|{cycle.draw()!r}"
    return blake2b(said.encode(), digest_size=16).hexdigest()


def _gathers(cycle: Cycle) -> bool:
    """An idle e-mail lane waits a moment for company."""
    mind = cycle.mind
    if cycle.policy.gather_ms == 0 or cycle.policy.batch == 1 or cycle.state.waiting >= cycle.policy.batch:
        return False
    if mind.gathering_since_ms is None:
        mind.gathering_since_ms = cycle.now_ms
    ready_ms = mind.gathering_since_ms + cycle.policy.gather_ms
    if ready_ms <= cycle.now_ms:
        return False
    cycle.wake_at(ready_ms)
    return True


def _calling(cycle: Cycle) -> list[str]:
    """Return the claims whose *sending* call is under way here."""
    claims = cycle.mind.claims
    return [
        each
        for each in cycle.mind.under_way
        if each in claims and (claims[each].phase is Phase.CALLING or cycle.mind.replays)
    ]


def _looking_up(cycle: Cycle) -> list[Claim]:
    return [
        claim
        for claim in cycle.mind.claims.values()
        if claim.phase is Phase.LOOKING_UP and claim.claim_id not in cycle.mind.under_way
    ]


def _open_twins(cycle: Cycle) -> set[bytes]:
    """Address and text of every open claim: their twins wait, or a look-up could not tell them apart."""
    return {shelf.twin_key(work) for claim in cycle.mind.claims.values() for work in claim.works}


def _paused_until(cycle: Cycle) -> int:
    return 0 if cycle.state.pause is None else cycle.state.pause.until_ms


def _sooner(left: int | None, right: int | None) -> int | None:
    return min((bound for bound in (left, right) if bound is not None), default=None)
