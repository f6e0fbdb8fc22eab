"""Which touches go into the next calls: pick them from the queue, build the request, write the claim."""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Final, NamedTuple

from pipeline.domain.held_by import HeldBy
from pipeline.domain.story import Reason, State
from pipeline.domain.value import replace
from pipeline.domain.work import Claim, Phase, Request, Work
from pipeline.flow import CLAIM_BYTES
from pipeline.stages.lane import limits, table
from pipeline.stages.lane.draft import StepDraft
from pipeline.stages.lane.fate import Ended, requeued, turned_away
from pipeline.stages.lane.gate import Held, Pass
from pipeline.stages.lane.queue import Cursor, QueuedTouch
from pipeline.stages.lane.step import Hold

BODY_BYTES: Final = 1_500_000
"""Work in one call at most: the claim has it twice (as work and as request) in a record of 4 MiB."""
CLAIM_ROOM: Final = CLAIM_BYTES - 64 * 1024
"""Work and request of one claim at most."""
BLOCKED_MS: Final = 1_000


@dataclass(slots=True)
class Pick:
    """The touches of the next call."""

    works: list[Work] = field(default_factory=list)
    keys: list[bytes] = field(default_factory=list)
    size: int = 0
    """Bytes of their records."""
    cap: int = 0
    """Touches that the call may have."""
    until_ms: int | None = None
    """The call must begin before this instant."""
    closes_ms: int | None = None
    """The earliest end of their windows."""

    def add(self, waiting: QueuedTouch, decision: Pass) -> bool:
        """Add a touch; return False if the call is full without it."""
        work = waiting.work
        cap = 1 if work.content.attachments else min(self.cap, work.batch_cap or self.cap)
        if self.works and (len(self.works) >= cap or self.size + waiting.size > BODY_BYTES):
            return False
        self.works.append(work)
        self.keys.append(waiting.key)
        self.size += waiting.size
        self.cap = cap
        self.until_ms = _earlier(self.until_ms, decision.until_ms)
        self.closes_ms = _earlier(self.closes_ms, decision.closes_ms)
        return True


class _Blocked(NamedTuple):
    """Why and until when no call may start although a call slot is free."""

    until_ms: int
    hold: Hold | None = None
    """What the lane reports; None: nothing."""


def claim_calls(draft: StepDraft) -> None:
    """Claim calls while orders, call slots, breaker, limits and the queue allow."""
    if draft.state.waiting == 0 or draft.orders.holds:
        return
    cursor = draft.cursor()
    twins = _twins_of_open_claims(draft) if draft.config.by_text else set()
    free = call_slots(draft) - calls_under_way(draft)
    while free > 0 and cursor.peek() is not None:
        _begin_gathering(draft)
        if (blocked := _blocked(draft)) is not None:
            draft.hold = blocked.hold
            draft.wake_at(blocked.until_ms)
            break
        pick = _pick(draft, cursor, twins)
        if pick.works and _claim(draft, pick):
            free -= 1
    if cursor.is_cut:
        # All touches looked at may be twins of open claims, whose answers wake the lane sooner.
        draft.wake_at(draft.now_ms if cursor.taken else draft.now_ms + BLOCKED_MS)


def sweep(draft: StepDraft) -> None:
    """Turn away the touches at the head of the queue that cannot go now, whether or not a call may start."""
    cursor = draft.cursor()
    while (waiting := cursor.peek()) is not None:
        decision = draft.gate(waiting.work)
        if isinstance(decision, Pass | Held):
            draft.wake_at(decision.until_ms if isinstance(decision, Pass) else waiting.work.expires_at_ms)
            return
        cursor.take()
        draft.write(turned_away(waiting.work, decision))
    if cursor.is_cut:
        draft.wake_at(draft.now_ms)


def calls_under_way(draft: StepDraft) -> int:
    """Return how many calls, replays included, are under way in this process."""
    claims, replays = draft.index.claims, draft.config.replays
    return sum(
        1 for each in draft.index.under_way if each in claims and (claims[each].phase is Phase.CALLING or replays)
    )


def is_full(draft: StepDraft) -> bool:
    """Return whether as many calls are under way as may be: the next one begins after an answer."""
    return calls_under_way(draft) >= call_slots(draft)


def call_slots(draft: StepDraft) -> int:
    """Return how many calls may run at a time: as configured, or one while the breaker is not closed."""
    return 1 if draft.state.breaker.outage is not None else draft.policy.in_flight


def _blocked(draft: StepDraft) -> _Blocked | None:
    """Return what prevents a call now; None: it may start."""
    ready_ms = _gathered_ms(draft)
    if ready_ms is not None and ready_ms > draft.now_ms:
        return _Blocked(ready_ms)
    outage = draft.state.breaker.outage
    if outage is not None and outage.until_ms > draft.now_ms:
        # Other outages are reported as the open breaker that they are.
        why = f"Retry-After of the provider ({outage.code})"
        return _Blocked(
            outage.until_ms,
            Hold(why, outage.until_ms, is_limit=False, by=HeldBy.OUTAGE) if outage.is_retry_after else None,
        )
    if (held := limits.hold(draft.config, draft.index, draft.now_ms, 1)) is not None:
        return _Blocked(held.until_ms, held)
    return None


def _begin_gathering(draft: StepDraft) -> None:
    """Let a queue that does not fill a call wait for more touches, from now on unless it waits already."""
    policy, index = draft.policy, draft.index
    is_short = policy.gather_ms > 0 and draft.state.waiting < policy.batch and policy.batch > 1
    if is_short and index.gathering_since_ms is None:
        index.gathering_since_ms = draft.now_ms


def _gathered_ms(draft: StepDraft) -> int | None:
    """Return until when the queue waits for more touches; None: it does not."""
    policy, since_ms = draft.policy, draft.index.gathering_since_ms
    if since_ms is None or policy.gather_ms == 0 or policy.batch == 1 or draft.state.waiting >= policy.batch:
        return None
    return since_ms + policy.gather_ms


def _pick(draft: StepDraft, cursor: Cursor, twins: set[bytes]) -> Pick:
    """Take the touches of the next call from the queue; turn away those that cannot go."""
    left = limits.messages_left(draft.config, draft.index, draft.now_ms)
    most = 1 if draft.is_one_by_one else draft.policy.batch
    pick = Pick(cap=most if left is None else min(most, left))
    while len(pick.works) < pick.cap and (waiting := cursor.peek()) is not None:
        work = waiting.work
        draft.suspects[:] = [waiting.key]
        decision = draft.gate(work)
        assert not isinstance(decision, Held), "a lane that an order holds claims nothing"
        if not isinstance(decision, Pass):
            cursor.take()
            draft.write(turned_away(work, decision))
            continue
        twin_key = table.twin_key(work) if draft.config.by_text else None
        if twin_key in twins:
            cursor.skip()
            continue
        if not pick.add(waiting, decision):
            break
        cursor.take()
        if twin_key is not None:
            twins.add(twin_key)
    if cursor.peek() is None:
        draft.index.gathering_since_ms = None
    return pick


def _claim(draft: StepDraft, pick: Pick) -> bool:
    """Claim a call for `pick`, and return True; or end its touch, or put its touches back, if no call can be made for them."""
    draft.suspects[:] = pick.keys
    works, until_ms = _attempts(draft, pick), _lease_until_ms(draft, pick)
    claim_id = _claim_id(works[0], draft)
    try:
        request = draft.config.build(works, claim_id, until_ms, pick.closes_ms)
    except Exception as error:  # noqa: BLE001 - one touch that cannot be put into a request must not stop its lane
        _drop(draft, pick, Reason.REJECTED, f"no request can be made of it: {error!r}"[:500])
        return False
    if (size := pick.size + len(request.body)) > CLAIM_ROOM:
        _drop(draft, pick, Reason.INVALID, f"it and its request take {size} bytes; at most {CLAIM_ROOM} are allowed")
        return False
    claim = _new_claim(draft, claim_id, works, request, until_ms)
    draft.start_call(claim, len(works))
    draft.put_claim(claim)
    draft.step.calls.append(claim)
    return True


def _attempts(draft: StepDraft, pick: Pick) -> tuple[Work, ...]:
    now_ms = draft.now_ms
    return tuple(
        replace(work, attempt=work.attempt + 1, first_call_ms=min(now_ms, work.first_call_ms or now_ms))
        for work in pick.works
    )


def _lease_until_ms(draft: StepDraft, pick: Pick) -> int:
    """Return the instant before which the call must begin: lease, window, expiry and the day of its count."""
    bounds = (pick.until_ms, limits.day_bound_ms(draft.config, draft.now_ms))
    return min([draft.now_ms + draft.policy.lease_ms, *(bound for bound in bounds if bound is not None)])


def _new_claim(draft: StepDraft, claim_id: str, works: tuple[Work, ...], request: Request, until_ms: int) -> Claim:
    return Claim(
        claim_id,
        works,
        request,
        claimed_ms=draft.now_ms,
        lease_until_ms=until_ms,
        next_look_ms=draft.config.call_over_ms(until_ms),
        resolve_until_ms=draft.now_ms + draft.config.resolve_for_ms,
        control_seen=draft.state.control.seen,
        suppressions_seen=draft.state.suppressions.seen,
    )


def _drop(draft: StepDraft, pick: Pick, reason: Reason, error: str) -> None:
    """Fail the touch for which no call can be made; of several, return each to the queue to be called alone."""
    for work in pick.works:
        if len(pick.works) > 1:
            draft.write(requeued(draft.policy, replace(work, batch_cap=1), draft.now_ms, is_at_head=True))
        else:
            draft.write(Ended(work, State.FAILED, reason, error=error))


def _claim_id(work: Work, draft: StepDraft) -> str:
    """Return an id that no other claim ever has: 32 hexadecimal digits."""
    seed = f"{work.channel}|{draft.config.lane}|{work.touch_id}|{work.attempt}|{draft.now_ms}|{draft.draw()!r}"
    return blake2b(seed.encode(), digest_size=16).hexdigest()


def _twins_of_open_claims(draft: StepDraft) -> set[bytes]:
    """Return the hash of address and text of every touch in an open claim: a look-up could not tell its twin apart."""
    return {table.twin_key(work) for claim in draft.index.claims.values() for work in claim.works}


def _earlier(left: int | None, right: int | None) -> int | None:
    return min((bound for bound in (left, right) if bound is not None), default=None)
