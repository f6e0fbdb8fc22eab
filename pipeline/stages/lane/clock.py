"""The clock was set: what a lane remembers stays as long ago, or as far ahead, as it was, within what is possible."""

from __future__ import annotations

from pipeline.domain.limit import PastCall
from pipeline.domain.value import replace
from pipeline.domain.work import Claim, Phase, Work
from pipeline.domain.zone import local_day
from pipeline.stages.lane.breaker import LONGEST_RETRY_AFTER_MS
from pipeline.stages.lane.draft import StepDraft
from pipeline.stages.lane.index import CLOCK_ALLOWANCE_MS
from pipeline.stages.lane.step import Outcome


def follow(draft: StepDraft, monotonic_ms: int | None) -> bool:
    """Correct what is remembered if the clock was set since the last step, or the lane has just been opened.

    Returns whether the clock was set. `monotonic_ms` is a clock that is never set, in milliseconds from any origin;
    without it only a clock that was set back is noticed.
    """
    index = draft.index
    jump_ms, is_first = _jump_ms(draft, monotonic_ms), index.stepped_ms is None
    index.stepped_ms, index.stepped_monotonic_ms = draft.now_ms, monotonic_ms
    is_set = abs(jump_ms) > CLOCK_ALLOWANCE_MS
    if is_first or is_set:
        _correct_calls(draft, jump_ms)
        _correct_state(draft, jump_ms)
        index.at_large = {claim_id: over_ms + jump_ms for claim_id, over_ms in index.at_large.items()}
        for claim in list(index.claims.values()):
            if (corrected := _corrected_claim(draft, claim, jump_ms)) != claim:
                draft.rewrite_claim(corrected)
    return is_set


def corrected_outcome(outcome: Outcome, now_ms: int) -> Outcome:
    """Return an answer that arrived around the moment at which the clock was set: it ended now at the latest."""
    return outcome._replace(started_ms=min(outcome.started_ms, now_ms), ended_ms=now_ms)


def _jump_ms(draft: StepDraft, monotonic_ms: int | None) -> int:
    """Return by how much the clock was set since the last step; negative: back."""
    index = draft.index
    if index.stepped_ms is None:
        return 0
    passed_ms, before_ms = draft.now_ms - index.stepped_ms, index.stepped_monotonic_ms
    if monotonic_ms is None or before_ms is None or monotonic_ms < before_ms:
        return min(passed_ms, 0)
    return passed_ms - (monotonic_ms - before_ms)


def _correct_calls(draft: StepDraft, jump_ms: int) -> None:
    """Move the calls of the limits: none begins in the future, none ends later than one that is claimed now can."""
    last_end_ms = draft.config.call_over_ms(draft.now_ms + draft.policy.lease_ms)
    for number, (call, claim_id) in list(draft.index.calls.items()):
        start_ms, end_ms = min(call.start_ms + jump_ms, draft.now_ms), min(call.end_ms + jump_ms, last_end_ms)
        corrected = PastCall(max(start_ms, 0), max(start_ms, end_ms, 0))
        if corrected != call:
            draft.put_call(number, corrected, claim_id)


def _correct_state(draft: StepDraft, jump_ms: int) -> None:
    state, now_ms = draft.state, draft.now_ms
    if state.first_send_ms is not None:
        state.first_send_ms = min(state.first_send_ms + jump_ms, now_ms)
    state.last_success_ms = min(state.last_success_ms + jump_ms, now_ms)
    state.last_good_call_ms = min(state.last_good_call_ms + jump_ms, now_ms)
    # What was counted for a day in the future counts for today.
    state.day = min(state.day, local_day(draft.policy.day_zone, now_ms + CLOCK_ALLOWANCE_MS))
    state.breaker = state.breaker.shifted(jump_ms, now_ms)
    if draft.index.gathering_since_ms is not None:
        draft.index.gathering_since_ms = min(draft.index.gathering_since_ms + jump_ms, now_ms)


def _corrected_claim(draft: StepDraft, claim: Claim, jump_ms: int) -> Claim:
    """Return `claim` as the present clock would have written it, or as early as that can be."""
    now_ms, policy = draft.now_ms, draft.policy
    # The worker that made the claim may have had a longer lease and request timeout.
    lease_ms = max(policy.lease_ms, claim.lease_until_ms - claim.claimed_ms)
    longest_ms = max(draft.config.call_over_ms(lease_ms), claim.next_look_ms - claim.claimed_ms)
    if claim.phase is Phase.LOOKING_UP:
        longest_ms = LONGEST_RETRY_AFTER_MS + policy.resolve_after_ms
    return replace(
        claim,
        works=tuple(_corrected_work(work, jump_ms, now_ms) for work in claim.works),
        claimed_ms=_claimed_ms(draft, claim, jump_ms),
        lease_until_ms=min(claim.lease_until_ms + jump_ms, now_ms + lease_ms),
        next_look_ms=min(claim.next_look_ms + jump_ms, now_ms + longest_ms),
        resolve_until_ms=min(claim.resolve_until_ms + jump_ms, now_ms + draft.config.resolve_for_ms),
    )


def _claimed_ms(draft: StepDraft, claim: Claim, jump_ms: int) -> int:
    """Return when the claim was made, too early rather than too late: look-ups start there, and idempotency keys age from there.

    A claim from the future is taken to be as old as look-ups go back, if the clock was not seen to be set.
    """
    if claim.claimed_ms <= draft.now_ms + CLOCK_ALLOWANCE_MS:
        return claim.claimed_ms
    moved_ms = claim.claimed_ms + min(jump_ms, 0)
    return moved_ms if moved_ms <= draft.now_ms else draft.now_ms - draft.policy.resolve_for_ms


def _corrected_work(work: Work, jump_ms: int, now_ms: int) -> Work:
    def moved(at_ms: int | None) -> int | None:
        return None if at_ms is None else min(at_ms + jump_ms, now_ms)

    return replace(work, first_call_ms=moved(work.first_call_ms), last_call_ms=moved(work.last_call_ms))
