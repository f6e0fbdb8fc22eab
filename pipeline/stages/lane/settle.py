"""What an answer means for its claim, for the touches in it and for the breaker: (claim, outcome, facts) → Settlement. Pure."""

from __future__ import annotations

from typing import Final, assert_never

from pipeline.domain.lifecycle import BreakerState
from pipeline.domain.policy import Unresolved
from pipeline.domain.retry import backoff_ms
from pipeline.domain.story import Reason, State
from pipeline.domain.value import replace
from pipeline.domain.verdict import (
    Absent,
    AskLater,
    Paused,
    Refused,
    Rejected,
    Sent,
    Split,
    Unanswerable,
    Unbegun,
    Unknown,
)
from pipeline.domain.work import Claim, Phase, Work
from pipeline.stages.lane.breaker import CLOSED, PROBE_MS, Breaker
from pipeline.stages.lane.fate import (
    Ended,
    Fate,
    LookedUp,
    OutageNotice,
    Requeued,
    RetryAt,
    exhausted,
    is_out_of_time,
    requeued,
)
from pipeline.stages.lane.gate import open_from
from pipeline.stages.lane.settlement import Facts, Settlement
from pipeline.stages.lane.step import Outcome

PROBES_EACH: Final = 20
"""Probes (a minute of them) by one touch before another has its turn: the provider may refuse that touch alone."""
LONGEST_LOOK_MS: Final = 60_000
LOST_IN_A_ROW: Final = 3
"""Lost answers in a row that open the breaker: the provider is away, not one connection."""


def settle(claim: Claim, outcome: Outcome, facts: Facts) -> Settlement:  # noqa: C901, PLR0911 - a closed set, matched in full
    """Return what follows from the answer to a call, a replay or a look-up of `claim`."""
    answer = outcome.answer
    match answer:
        case Sent():
            return _sent(claim, answer)
        case Rejected() | Split() if (over_ms := _lost_call_over_ms(claim, facts)) > outcome.started_ms:
            # The lost request may arrive after this one, and be accepted: only a later refusal proves that it was not.
            return Settlement(claim, _look_at(replace(claim, error=answer.error), over_ms), (), CLOSED)
        case Rejected():
            return _void(claim, tuple(_rejected(work, answer) for work in claim.works))
        case Split():
            return _split(claim, answer, facts)
        case Refused():
            return _refused(claim, answer, outcome.ended_ms, facts)
        case Paused():
            return _outage(claim, answer, outcome.ended_ms, facts)
        case Unbegun():
            return _unbegun(claim, facts)
        case Unknown():
            return _unknown(claim, answer, outcome, facts)
        case Absent():
            return _absent(claim, facts)
        case AskLater():
            return _ask_later(claim, answer.error, answer.retry_after_s, facts, facts.breaker)
        case Unanswerable():
            return unconfirmed(claim, answer.error, facts)
        case _:
            assert_never(answer)


def _lost_call_over_ms(claim: Claim, facts: Facts) -> int:
    """Return the instant from which the last call whose answer was lost can no longer arrive; 0: none can."""
    started_ms = claim.works[0].last_call_ms
    if claim.phase is not Phase.LOOKING_UP or not facts.config.replays or not claim.lost or started_ms is None:
        return 0
    return facts.config.call_over_ms(started_ms + facts.config.policy.lease_ms)


def found_open(claim: Claim, facts: Facts) -> Settlement:
    """Return what follows for a claim whose call may be under way in another process: it is looked up when that is over."""
    # The claim's own bound counts, too: the worker that made it may have had a longer request timeout.
    over_ms = max(claim.next_look_ms, facts.config.call_over_ms(claim.lease_until_ms))
    looked_up_ms = max(over_ms, facts.now_ms) + facts.config.policy.resolve_after_ms
    after = replace(claim, phase=Phase.LOOKING_UP, lost=True, next_look_ms=looked_up_ms)
    return Settlement(claim, after, tuple(LookedUp(work, looked_up_ms) for work in claim.works), facts.breaker)


def unconfirmed(claim: Claim, error: str, facts: Facts) -> Settlement:
    """Return what follows for a claim whose outcome cannot be found out: `unconfirmed`, or another call if configured."""
    policy = facts.config.policy

    def fate(work: Work) -> Fate:
        if policy.unresolved == Unresolved.SEND and not facts.forbids_another_call(claim, work):
            return requeued(policy, _attempted(work, claim), facts.now_ms, is_at_head=False)
        return Ended(work, State.UNCONFIRMED, Reason.NO_ANSWER, error_code=claim.error_code, error=error)

    return Settlement(claim, None, tuple(map(fate, claim.works)), facts.breaker)


def _sent(claim: Claim, answer: Sent) -> Settlement:
    fates = tuple(
        Ended(work, State.SENT, provider_message_id=message_id)
        for work, message_id in zip(claim.works, answer.message_ids, strict=True)
    )
    return Settlement(claim, None, fates, CLOSED, is_sent=True)


def _rejected(work: Work, answer: Rejected | Split) -> Ended:
    return Ended(work, State.FAILED, Reason.REJECTED, error_code=answer.code, error=answer.error)


def _split(claim: Claim, answer: Split, facts: Facts) -> Settlement:
    """Halve a batch that was refused because of one of its touches: nothing was accepted, so new keys are safe."""
    if len(claim.works) == 1:
        return _void(claim, (_rejected(claim.works[0], answer),))
    halves = (replace(_attempted(work, claim), batch_cap=len(claim.works) // 2) for work in claim.works)
    policy = facts.config.policy
    return _void(claim, tuple(requeued(policy, work, facts.now_ms, is_at_head=True) for work in halves))


def _refused(claim: Claim, answer: Refused, ended_ms: int, facts: Facts) -> Settlement:
    if facts.config.replays and claim.phase is Phase.LOOKING_UP:
        # An earlier call under this key may have been accepted: the key, and so the batch, must stay.
        return _ask_later(claim, answer.error, answer.retry_after_s, facts, CLOSED)
    return _void(claim, tuple(_backed_off(_attempted(work, claim), answer, ended_ms, facts) for work in claim.works))


def _backed_off(work: Work, answer: Refused, at_ms: int, facts: Facts) -> Fate:
    """Count a refusal against `work`: try again after a back-off, or fail."""
    policy = facts.config.policy
    work = replace(work, refusals=work.refusals + 1)
    if work.refusals >= policy.attempts:
        return exhausted(work, error_code=answer.code, error=answer.error)
    retry_after_ms = 0 if answer.retry_after_s is None else round(answer.retry_after_s * 1000)
    wait_ms = max(backoff_ms(policy.retry, work.refusals, facts.draw()), retry_after_ms)
    return _retry_at(work, answer, Reason.BACKOFF, max(at_ms, facts.now_ms) + wait_ms, facts)


def _retry_at(work: Work, answer: Refused | Paused, reason: Reason, at_ms: int, facts: Facts) -> Fate:
    """Try `work` again at the first open instant from `at_ms` on, unless that is too late."""
    policy = facts.config.policy
    again_ms = open_from(policy, work, at_ms)
    if again_ms is None:
        return Ended(work, State.EXPIRED, Reason.EXPIRES_AT, error_code=answer.code, error=answer.error)
    if is_out_of_time(policy, work, again_ms):
        return exhausted(work, error_code=answer.code, error=answer.error)
    return RetryAt(work, reason, again_ms, error_code=answer.code, error=answer.error)


def _outage(claim: Claim, answer: Paused, ended_ms: int, facts: Facts) -> Settlement:
    """Open the breaker; or, where the touch is to blame, count the answer against it."""
    is_call = claim.phase is Phase.CALLING
    if answer.may_be_the_touch and is_call and all(_is_to_blame(work, facts) for work in claim.works):
        return _isolated(claim, answer, ended_ms, facts)
    breaker = facts.breaker.opened(
        facts.now_ms, code=answer.code, error=answer.error, retry_after_s=answer.retry_after_s
    )
    if not is_call:
        return Settlement(claim, _look_at(claim, breaker.until_ms), (), breaker)
    fates = tuple(_fate_in_outage(work, claim, answer, breaker, facts) for work in claim.works)
    return Settlement(claim, None, fates, breaker, is_void=True)


def _isolated(claim: Claim, answer: Paused, ended_ms: int, facts: Facts) -> Settlement:
    """Others are sent: halve a batch until the refused touch is alone, and count the answer against that one."""
    if len(claim.works) > 1:
        return _split(claim, Split(answer.code, answer.error), facts)
    return _refused(claim, Refused(answer.code, answer.error, answer.retry_after_s), ended_ms, facts)


def _is_to_blame(work: Work, facts: Facts) -> bool:
    """Return whether others are sent, now or when `work` was last counted, with the breaker closed since."""
    is_closed = facts.breaker.state_at(facts.now_ms) is BreakerState.CLOSED
    return _others_are_sent(work, facts) or (work.refusals > 0 and is_closed)


def _others_are_sent(work: Work, facts: Facts) -> bool:
    """Return whether a call that began with or after the last attempt of `work` succeeded: `work` alone may be refused."""
    return work.last_call_ms is not None and facts.last_good_call_ms >= work.last_call_ms


def _fate_in_outage(before: Work, claim: Claim, answer: Paused, breaker: Breaker, facts: Facts) -> Fate:
    policy, work = facts.config.policy, _attempted(before, claim)
    if _others_are_sent(before, facts):
        # The others go first, for longer each time: at the head of the queue `work` would stop them again at once.
        wait_ms = backoff_ms(policy.retry, work.returns + 1, facts.draw())
        return _retry_at(work, answer, Reason.OUTAGE, max(breaker.until_ms, facts.now_ms + wait_ms), facts)
    assert breaker.outage is not None
    is_anothers_turn = breaker.outage.tries % PROBES_EACH == 0
    is_at_head = not (is_anothers_turn or answer.may_be_the_touch)
    fate = requeued(policy, work, facts.now_ms, is_at_head=is_at_head, error_code=answer.code, error=answer.error)
    if isinstance(fate, Ended) or work.outage_noted_ms == breaker.outage.since_ms:
        return fate
    next_ms = open_from(policy, work, breaker.until_ms) or breaker.until_ms
    noted = replace(work, outage_noted_ms=breaker.outage.since_ms)
    return Requeued(
        noted,
        is_at_head=is_at_head,
        notice=OutageNotice(next_attempt_at_ms=next_ms, error_code=answer.code, error=answer.error),
    )


def _unbegun(claim: Claim, facts: Facts) -> Settlement:
    if claim.phase is Phase.LOOKING_UP:
        return Settlement(claim, _look_at(claim, facts.now_ms), (), facts.breaker, is_unbegun=True)
    policy = facts.config.policy
    fates = tuple(requeued(policy, _attempted(work, claim), facts.now_ms, is_at_head=True) for work in claim.works)
    return Settlement(claim, None, fates, facts.breaker, is_void=True, is_unbegun=True)


def _unknown(claim: Claim, answer: Unknown, outcome: Outcome, facts: Facts) -> Settlement:
    counts = answer.refused and any(_has_succeeded_since(work, facts) for work in claim.works)
    breaker = _breaker_after(answer, facts, counts=counts)
    after = _to_look_up(claim, answer, outcome, facts, counts=counts)
    if facts.config.replays and counts and not after.lost:
        # The batch keeps its key, so a 5xx counts against all of it.
        works = tuple(replace(work, refusals=work.refusals + 1) for work in after.works)
        if works[0].refusals >= facts.config.policy.attempts:
            return Settlement(
                claim,
                None,
                tuple(exhausted(work, error_code=answer.code, error=answer.error) for work in works),
                breaker,
            )
        after = replace(after, works=works)
    fates: tuple[Fate, ...] = ()
    if claim.phase is Phase.CALLING:
        fates = tuple(
            LookedUp(work, after.next_look_ms, error_code=answer.code, error=answer.error) for work in after.works
        )
    return Settlement(claim, after, fates, breaker)


def _has_succeeded_since(work: Work, facts: Facts) -> bool:
    """Return whether a success has arrived since the last attempt of `work`: the provider is not down for all."""
    return work.last_call_ms is not None and facts.last_success_ms > work.last_call_ms


def _breaker_after(answer: Unknown, facts: Facts, *, counts: bool) -> Breaker:
    """Open the breaker after a 5xx that counts against no touch, or after too many lost answers in a row."""
    breaker = facts.breaker if answer.refused else facts.breaker.lost()
    if (answer.refused and not counts) or breaker.lost_in_a_row >= LOST_IN_A_ROW:
        return breaker.opened(facts.now_ms, code=answer.code, error=answer.error)
    return breaker


def _to_look_up(claim: Claim, answer: Unknown, outcome: Outcome, facts: Facts, *, counts: bool) -> Claim:
    is_call = claim.phase is Phase.CALLING
    wait_ms = facts.config.policy.resolve_after_ms if is_call else _look_delay_ms(claim.looks)
    return replace(
        claim,
        works=tuple(replace(work, last_call_ms=outcome.started_ms) for work in claim.works),
        phase=Phase.LOOKING_UP,
        refused=claim.refused or counts,
        lost=claim.lost or not answer.refused,
        looks=claim.looks if is_call else claim.looks + 1,
        next_look_ms=max(outcome.ended_ms, facts.now_ms) + wait_ms,
        error_code=answer.code,
        error=answer.error,
    )


def _absent(claim: Claim, facts: Facts) -> Settlement:
    """The provider does not have it, so another call is safe. After a 5xx that counted, it was a refusal."""
    policy = facts.config.policy
    works = [_attempted(work, claim) for work in claim.works]
    if claim.refused:
        answer = Refused(claim.error_code or "", claim.error or "")
        fates: tuple[Fate, ...] = tuple(_backed_off(work, answer, facts.now_ms, facts) for work in works)
    else:
        # In its turn: at the head of the queue, touches on which the provider hangs would be called for ever.
        fates = tuple(requeued(policy, work, facts.now_ms, is_at_head=False) for work in works)
    return Settlement(claim, None, fates, facts.breaker, is_void=True)


def _ask_later(claim: Claim, error: str, retry_after_s: float | None, facts: Facts, breaker: Breaker) -> Settlement:
    wait_ms = _look_delay_ms(claim.looks) if retry_after_s is None else max(1, round(retry_after_s * 1000))
    after = replace(claim, looks=claim.looks + 1, error=error)
    return Settlement(claim, _look_at(after, facts.now_ms + wait_ms), (), breaker)


def _look_at(claim: Claim, at_ms: int) -> Claim:
    return replace(claim, phase=Phase.LOOKING_UP, next_look_ms=at_ms)


def _look_delay_ms(looks: int) -> int:
    return int(min(PROBE_MS * 2 ** min(looks, 20), LONGEST_LOOK_MS))


def _attempted(work: Work, claim: Claim) -> Work:
    """Return `work` with its last attempt noted."""
    return replace(work, last_call_ms=claim.claimed_ms)


def _void(claim: Claim, fates: tuple[Fate, ...]) -> Settlement:
    """Close a claim of which the provider accepted nothing, after an answer about its touches."""
    return Settlement(claim, None, fates, CLOSED, is_void=True)
