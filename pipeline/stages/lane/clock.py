"""A clock that was set: what a lane remembers stays as long ago, or as far ahead, as it is, and never farther than it can honestly be."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from pipeline.domain.limit import PastCall
from pipeline.domain.work import Claim, Phase, Work
from pipeline.domain.zone import local_day
from pipeline.stages.lane import shelf
from pipeline.stages.lane.cycle import CLOCK_ALLOWANCE_MS, REPLAY_HORIZON_MS, Cycle
from pipeline.stages.lane.step import Outcome

LONGEST_WAIT_MS: Final = 3_600_000
"""The longest a provider's Retry-After is believed (`channels.http`); no look-up is put off for longer."""


def follow(cycle: Cycle, steady_ms: int | None) -> bool:
    """Set right what is remembered if the clock was set since the last step, or the lane has just been opened.

    Returns whether the clock was set. `steady_ms` is a clock that nobody sets, in milliseconds from anywhere; without it
    only a clock set back is seen.
    """
    mind = cycle.mind
    jump_ms, is_new = _jump_ms(cycle, steady_ms), mind.seen_ms is None
    mind.seen_ms, mind.steady_ms = cycle.now_ms, steady_ms
    is_set = abs(jump_ms) > CLOCK_ALLOWANCE_MS
    if is_new or is_set:
        _set_calls(cycle, jump_ms)
        _set_state(cycle, jump_ms)
        for claim in list(mind.claims.values()):
            if (right := _right_claim(cycle, claim, jump_ms)) != claim:
                cycle.keep(right)
    return is_set


def right_outcome(outcome: Outcome, now_ms: int) -> Outcome:
    """Return an answer that came home around the moment at which the clock was set: it ended now at the latest."""
    return outcome._replace(started_ms=min(outcome.started_ms, now_ms), ended_ms=now_ms)


def _jump_ms(cycle: Cycle, steady_ms: int | None) -> int:
    """Return by how much the clock was set since the last step; negative: back."""
    mind = cycle.mind
    if mind.seen_ms is None:
        return 0
    passed_ms = cycle.now_ms - mind.seen_ms
    if steady_ms is None or mind.steady_ms is None or steady_ms < mind.steady_ms:
        return min(passed_ms, 0)
    return passed_ms - (steady_ms - mind.steady_ms)


def _set_calls(cycle: Cycle, jump_ms: int) -> None:
    """Of the limit's calls: none begins in the future, none ends later than one that is claimed now can."""
    last_end_ms = cycle.call_over_ms(cycle.now_ms + cycle.policy.lease_ms)
    for number, (call, claim_id) in cycle.mind.calls.items():
        start_ms, end_ms = min(call.start_ms + jump_ms, cycle.now_ms), min(call.end_ms + jump_ms, last_end_ms)
        right = PastCall(max(start_ms, 0), max(start_ms, end_ms, 0))
        if right != call:
            cycle.mind.calls[number] = (right, claim_id)
            shelf.keep_call(cycle.view, number, right, claim_id)


def _set_state(cycle: Cycle, jump_ms: int) -> None:
    state, now_ms = cycle.state, cycle.now_ms
    if state.first_send_ms is not None:
        state.first_send_ms = min(state.first_send_ms + jump_ms, now_ms)
    state.last_success_ms = min(state.last_success_ms + jump_ms, now_ms)
    state.last_good_call_ms = min(state.last_good_call_ms + jump_ms, now_ms)
    # What was counted for a day that is not yet counts for today.
    state.day = min(state.day, local_day(cycle.policy.day_zone, now_ms + CLOCK_ALLOWANCE_MS))
    if state.pause is not None:
        pause = state.pause
        pause.since_ms = min(pause.since_ms + jump_ms, now_ms)
        pause.until_ms = min(pause.until_ms + jump_ms, now_ms + LONGEST_WAIT_MS)
    if cycle.mind.gathering_since_ms is not None:
        cycle.mind.gathering_since_ms = min(cycle.mind.gathering_since_ms + jump_ms, now_ms)


def _right_claim(cycle: Cycle, claim: Claim, jump_ms: int) -> Claim:
    """Return `claim` as the clock of now would have written it, or as early as that can be."""
    now_ms, policy = cycle.now_ms, cycle.policy
    horizon_ms = min(policy.resolve_for_ms, REPLAY_HORIZON_MS) if cycle.mind.replays else policy.resolve_for_ms
    # Whoever made the claim may have had a longer lease and request timeout.
    lease_ms = max(policy.lease_ms, claim.lease_until_ms - claim.claimed_ms)
    longest_ms = max(cycle.call_over_ms(lease_ms), claim.next_look_ms - claim.claimed_ms)
    if claim.phase is Phase.LOOKING_UP:
        longest_ms = LONGEST_WAIT_MS + policy.resolve_after_ms
    return replace(
        claim,
        works=tuple(_right_work(work, jump_ms, now_ms) for work in claim.works),
        claimed_ms=_claimed_ms(cycle, claim, jump_ms),
        lease_until_ms=min(claim.lease_until_ms + jump_ms, now_ms + lease_ms),
        next_look_ms=min(claim.next_look_ms + jump_ms, now_ms + longest_ms),
        resolve_until_ms=min(claim.resolve_until_ms + jump_ms, now_ms + horizon_ms),
    )


def _claimed_ms(cycle: Cycle, claim: Claim, jump_ms: int) -> int:
    """Return when the claim was made, too early rather than too late: the provider is asked from there on, and keys age from there.

    One from the future whose clock nobody saw set is no older than look-ups go back.
    """
    if claim.claimed_ms <= cycle.now_ms + CLOCK_ALLOWANCE_MS:
        return claim.claimed_ms
    moved_ms = claim.claimed_ms + min(jump_ms, 0)
    return moved_ms if moved_ms <= cycle.now_ms else cycle.now_ms - cycle.policy.resolve_for_ms


def _right_work(work: Work, jump_ms: int, now_ms: int) -> Work:
    def moved(at_ms: int | None) -> int | None:
        return None if at_ms is None else min(at_ms + jump_ms, now_ms)

    return replace(work, first_call_ms=moved(work.first_call_ms), last_call_ms=moved(work.last_call_ms))
