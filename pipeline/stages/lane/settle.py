"""What an answer does to the touches of its claim, to the claim, and to the lane."""

from __future__ import annotations

from dataclasses import replace
from typing import assert_never

from pipeline.domain.limit import PastCall
from pipeline.domain.retry import backoff_ms
from pipeline.domain.story import Reason, State
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
from pipeline.stages.lane import shelf
from pipeline.stages.lane.cycle import Cycle
from pipeline.stages.lane.gate import open_from
from pipeline.stages.lane.limits import give_back
from pipeline.stages.lane.step import Outcome

PROBE_MS = 1_000
LONGEST_PROBE_MS = 3_000
"""A paused lane must be at work within 5 s of recovery."""
PROBES_EACH = 20
"""Probes (a minute of them) by one touch before another has its turn: it may be that touch alone which is refused."""
LONGEST_LOOK_MS = 60_000
LOST_IN_A_ROW = 3
"""So many answers lost, none given: the provider is away, not one connection."""
LEDGER_SLACK_MS = 3_600_000


def settle(cycle: Cycle, outcome: Outcome) -> None:  # noqa: C901, PLR0912 - a closed set, matched in full
    """Apply one answer that came home."""
    mind = cycle.mind
    mind.under_way.discard(outcome.claim_id)
    claim = mind.claims.get(outcome.claim_id)
    if claim is None:
        return  # given up meanwhile
    if claim.phase is Phase.CALLING or mind.replays:
        _end_calls(cycle, outcome)
    answer = outcome.answer
    match answer:
        case Sent():
            _sent(cycle, claim, answer)
        case Rejected():
            _recovered(cycle)
            _void(cycle, claim)
            for work in claim.works:
                cycle.end(work, State.FAILED, reason=Reason.REJECTED, error_code=answer.code, error=answer.error)
        case Split():
            _split(cycle, claim, answer)
        case Refused():
            _refused(cycle, claim, answer, outcome.ended_ms)
        case Paused():
            _paused(cycle, claim, answer, outcome.ended_ms)
        case Unbegun():
            _unbegun(cycle, claim)
        case Unknown():
            _unknown(cycle, claim, answer, outcome)
        case Absent():
            _absent(cycle, claim)
        case AskLater():
            _ask_later(cycle, claim, answer.error, answer.retry_after_s)
        case Unanswerable():
            unconfirmed(cycle, claim, answer.error)
        case _:
            assert_never(answer)


def unconfirmed(cycle: Cycle, claim: Claim, error: str) -> None:
    """End what nobody can tell the outcome of; or send it again, where the configuration says so."""
    cycle.close(claim)
    for work in claim.works:
        if cycle.policy.unresolved == "send":
            cycle.line_up_again(_called(work, claim))
        else:
            cycle.end(work, State.UNCONFIRMED, reason=Reason.NO_ANSWER, error_code=claim.error_code, error=error)
            cycle.leave_open(work, claim, error)


def pause(cycle: Cycle, code: str, error: str, retry_after_s: float | None) -> int:
    """Stop the lane for a while and return until when: what the provider said, or 1, 2, 3, 3 … s."""
    state, now_ms = cycle.state, cycle.now_ms
    tries = 1 if state.pause is None else state.pause.tries + 1
    said_ms = None if retry_after_s is None else max(1, round(retry_after_s * 1000))
    until_ms = now_ms + (said_ms or min(PROBE_MS * tries, LONGEST_PROBE_MS))
    since_ms = now_ms if state.pause is None else state.pause.since_ms
    state.pause = shelf.Pause(since_ms, until_ms, tries, code, error, is_said=said_ms is not None)
    return until_ms


def _sent(cycle: Cycle, claim: Claim, answer: Sent) -> None:
    _recovered(cycle)
    cycle.state.last_success_ms = cycle.now_ms
    cycle.state.last_good_call_ms = max(cycle.state.last_good_call_ms, claim.claimed_ms)
    cycle.close(claim)
    forget_ms = cycle.now_ms + cycle.policy.resolve_for_ms + LEDGER_SLACK_MS
    for work, message_id in zip(claim.works, answer.message_ids, strict=True):
        cycle.end(work, State.SENT, provider_message_id=message_id)
        if cycle.mind.by_text and message_id is not None:
            shelf.enter(cycle.view, work, message_id, forget_ms)


def _split(cycle: Cycle, claim: Claim, answer: Split) -> None:
    """Halve a batch that was refused whole for one of its touches: nothing was accepted, so new keys are safe."""
    _recovered(cycle)
    _void(cycle, claim)
    if len(claim.works) == 1:
        work = claim.works[0]
        cycle.end(work, State.FAILED, reason=Reason.REJECTED, error_code=answer.code, error=answer.error)
        return
    for work in claim.works:
        cycle.put_back(replace(_called(work, claim), batch_cap=len(claim.works) // 2))


def _refused(cycle: Cycle, claim: Claim, answer: Refused, ended_ms: int) -> None:
    _recovered(cycle)
    if cycle.mind.replays and claim.phase is Phase.LOOKING_UP:
        # An earlier call under this key may have been accepted: the key, and so the batch, must stay.
        _ask_later(cycle, claim, answer.error, answer.retry_after_s)
        return
    _void(cycle, claim)
    for work in claim.works:
        refuse(cycle, _called(work, claim), answer, ended_ms)


def refuse(cycle: Cycle, work: Work, answer: Refused, at_ms: int) -> None:
    """Count a refusal against `work`: back off, or give up."""
    work = replace(work, refusals=work.refusals + 1)
    if work.refusals >= cycle.policy.attempts:
        cycle.give_up(work, answer.code, answer.error)
        return
    said_ms = 0 if answer.retry_after_s is None else round(answer.retry_after_s * 1000)
    wait_ms = max(backoff_ms(cycle.policy.retry, work.refusals, cycle.draw()), said_ms)
    _later(cycle, work, answer, Reason.BACKOFF, max(at_ms, cycle.now_ms) + wait_ms)


def _later(cycle: Cycle, work: Work, answer: Refused | Paused, reason: Reason, at_ms: int) -> None:
    """Let `work` come again at `at_ms`, in its window; end it if that is too late."""
    again_ms = open_from(cycle.policy, work, at_ms)
    if again_ms is None:
        cycle.end(work, State.EXPIRED, reason=Reason.EXPIRES_AT, error_code=answer.code, error=answer.error)
    elif cycle.is_spent(work, again_ms):
        cycle.give_up(work, answer.code, answer.error)
    else:
        cycle.tell(
            work, State.RETRYING, reason=reason, next_attempt_at_ms=again_ms, error_code=answer.code, error=answer.error
        )
        cycle.schedule(work, again_ms)


def _paused(cycle: Cycle, claim: Claim, answer: Paused, ended_ms: int) -> None:
    if (
        answer.may_be_the_touch
        and claim.phase is Phase.CALLING
        and all(_is_to_blame(cycle, work) for work in claim.works)
    ):
        _isolate(cycle, claim, answer, ended_ms)
        return
    until_ms = pause(cycle, answer.code, answer.error, answer.retry_after_s)
    if claim.phase is Phase.LOOKING_UP:
        _look_again(cycle, claim, until_ms)
        return
    _void(cycle, claim)
    for work in claim.works:
        if _is_alone(cycle, work):
            _step_aside(cycle, _called(work, claim), answer, until_ms)
            continue
        noted = _outage_noted(cycle, _called(work, claim), answer.code, answer.error, until_ms)
        is_anothers_turn = cycle.state.pause is not None and cycle.state.pause.tries % PROBES_EACH == 0
        if is_anothers_turn or answer.may_be_the_touch:
            cycle.line_up_again(noted, answer.code, answer.error)
        else:
            cycle.put_back(noted, answer.code, answer.error)


def _isolate(cycle: Cycle, claim: Claim, answer: Paused, ended_ms: int) -> None:
    """Others are sent: halve a batch until the touch that is refused stands alone, and count it against that one."""
    if len(claim.works) > 1:
        _split(cycle, claim, Split(answer.code, answer.error))
    else:
        _refused(cycle, claim, Refused(answer.code, answer.error, answer.retry_after_s), ended_ms)


def _is_to_blame(cycle: Cycle, work: Work) -> bool:
    """Whether others are sent, now or when `work` was last counted, and nothing has stopped the lane since."""
    return _is_alone(cycle, work) or (work.refusals > 0 and cycle.state.pause is None)


def _is_alone(cycle: Cycle, work: Work) -> bool:
    """Whether a call that began with or after the last attempt of `work` succeeded: it may be `work` alone that is refused."""
    return work.last_call_ms is not None and cycle.state.last_good_call_ms >= work.last_call_ms


def _step_aside(cycle: Cycle, work: Work, answer: Paused, until_ms: int) -> None:
    """Let the others go first, longer each time: at the head of the line `work` would stop them again at once."""
    wait_ms = backoff_ms(cycle.policy.retry, work.returns + 1, cycle.draw())
    _later(cycle, work, answer, Reason.OUTAGE, max(until_ms, cycle.now_ms + wait_ms))


def _outage_noted(cycle: Cycle, work: Work, code: str, error: str, until_ms: int) -> Work:
    """Tell `retrying`/`outage` for a touch whose call was refused; once per outage."""
    assert cycle.state.pause is not None
    since_ms = cycle.state.pause.since_ms
    if work.outage_noted_ms == since_ms or cycle.is_spent(work, cycle.now_ms):
        return work
    next_ms = open_from(cycle.policy, work, until_ms) or until_ms
    cycle.tell(work, State.RETRYING, reason=Reason.OUTAGE, next_attempt_at_ms=next_ms, error_code=code, error=error)
    return replace(work, outage_noted_ms=since_ms)


def _unbegun(cycle: Cycle, claim: Claim) -> None:
    """Nothing was written: the call is void, the limit has it back."""
    _drop_call(cycle, claim.claim_id)
    if claim.phase is Phase.LOOKING_UP:
        _look_again(cycle, claim, cycle.now_ms)
        return
    _void(cycle, claim)
    for work in claim.works:
        cycle.put_back(_called(work, claim))


def _unknown(cycle: Cycle, claim: Claim, answer: Unknown, outcome: Outcome) -> None:
    counts = answer.refused and any(
        work.last_call_ms is not None and cycle.state.last_success_ms > work.last_call_ms for work in claim.works
    )
    cycle.state.lost_in_a_row += not answer.refused
    if (answer.refused and not counts) or cycle.state.lost_in_a_row >= LOST_IN_A_ROW:
        pause(cycle, answer.code, answer.error, None)
    first = claim.phase is Phase.CALLING
    wait_ms = cycle.policy.resolve_after_ms if first else _look_delay_ms(claim.looks)
    works = tuple(replace(work, last_call_ms=outcome.started_ms) for work in claim.works)
    claim = replace(
        claim,
        works=works,
        phase=Phase.LOOKING_UP,
        refused=claim.refused or counts,
        lost=claim.lost or not answer.refused,
        looks=claim.looks + (not first),
        next_look_ms=max(outcome.ended_ms, cycle.now_ms) + wait_ms,
        error_code=answer.code,
        error=answer.error,
    )
    if cycle.mind.replays and counts and not claim.lost:
        claim = _count_replay(cycle, claim)
        if claim.works == ():
            return
    cycle.keep(claim)
    if first:
        for work in claim.works:
            cycle.tell(
                work,
                State.RETRYING,
                reason=Reason.LOOKING_UP,
                next_attempt_at_ms=claim.next_look_ms,
                error_code=answer.code,
                error=answer.error,
            )


def _count_replay(cycle: Cycle, claim: Claim) -> Claim:
    """Count a 5xx against a batch that keeps its key; after the last attempt it has failed."""
    works = tuple(replace(work, refusals=work.refusals + 1) for work in claim.works)
    if works[0].refusals < cycle.policy.attempts:
        return replace(claim, works=works)
    cycle.close(claim)
    for work in works:
        cycle.give_up(work, claim.error_code, claim.error or "")
    return replace(claim, works=())


def _absent(cycle: Cycle, claim: Claim) -> None:
    """The provider does not have it: a send is safe. After a 5xx that counted, it was a refusal."""
    _void(cycle, claim)
    for work in claim.works:
        if claim.refused:
            refuse(cycle, _called(work, claim), Refused(claim.error_code or "", claim.error or ""), cycle.now_ms)
        else:
            # In its turn: at the head, touches on which the provider hangs would fill the line among themselves.
            cycle.line_up_again(_called(work, claim))


def _ask_later(cycle: Cycle, claim: Claim, error: str, retry_after_s: float | None) -> None:
    wait_ms = _look_delay_ms(claim.looks) if retry_after_s is None else max(1, round(retry_after_s * 1000))
    _look_again(cycle, replace(claim, looks=claim.looks + 1, error=error), cycle.now_ms + wait_ms)


def _look_again(cycle: Cycle, claim: Claim, at_ms: int) -> None:
    cycle.keep(replace(claim, phase=Phase.LOOKING_UP, next_look_ms=at_ms))


def _look_delay_ms(looks: int) -> int:
    return int(min(PROBE_MS * 2 ** min(looks, 20), LONGEST_LOOK_MS))


def _called(work: Work, claim: Claim) -> Work:
    """Return `work` with its last attempt noted."""
    return replace(work, last_call_ms=claim.claimed_ms)


def _recovered(cycle: Cycle) -> None:
    """The provider judged a call: the lane is at work again."""
    cycle.state.pause = None
    cycle.state.lost_in_a_row = 0


def _void(cycle: Cycle, claim: Claim) -> None:
    """Close a claim of which the provider took nothing."""
    give_back(cycle, claim)
    cycle.close(claim)


def _end_calls(cycle: Cycle, outcome: Outcome) -> None:
    """Note when the claim's latest call was answered or given up."""
    number = _latest_call(cycle, outcome.claim_id)
    if number is not None:
        start_ms = cycle.mind.calls[number][0].start_ms
        ended = PastCall(start_ms, max(start_ms, outcome.ended_ms))
        cycle.mind.calls[number] = (ended, outcome.claim_id)
        shelf.keep_call(cycle.view, number, ended, outcome.claim_id)


def _drop_call(cycle: Cycle, claim_id: str) -> None:
    number = _latest_call(cycle, claim_id)
    if number is not None:
        del cycle.mind.calls[number]
        shelf.drop_call(cycle.view, number)


def _latest_call(cycle: Cycle, claim_id: str) -> int | None:
    return max((number for number, (_, each) in cycle.mind.calls.items() if each == claim_id), default=None)


def found_open(cycle: Cycle, claim: Claim) -> None:
    """Make a claim whose call may have been under way in another process an open question."""
    # The claim's own word counts, too: whoever made it may have had a longer request timeout.
    over_ms = max(claim.next_look_ms, cycle.call_over_ms(claim.lease_until_ms))
    asked_ms = max(over_ms, cycle.now_ms) + cycle.policy.resolve_after_ms
    cycle.keep(replace(claim, phase=Phase.LOOKING_UP, lost=True, next_look_ms=asked_ms))
    for work in claim.works:
        cycle.tell(work, State.RETRYING, reason=Reason.LOOKING_UP, next_attempt_at_ms=asked_ms)
