"""What an answer means, as a value: nothing is written before the draft applies it."""

from __future__ import annotations

import pytest

from pipeline.domain.story import Reason, State
from pipeline.domain.value import replace
from pipeline.domain.verdict import Absent, Paused, Refused, Rejected, Sent, Split, Unanswerable, Unbegun, Unknown
from pipeline.domain.work import Claim, Phase
from pipeline.stages.lane.breaker import CLOSED
from pipeline.stages.lane.fate import Ended, LookedUp, Requeued, RetryAt
from pipeline.stages.lane.index import LaneConfig
from pipeline.stages.lane.settle import settle
from pipeline.stages.lane.settlement import Facts
from pipeline.stages.lane.step import Outcome
from tests.harness.lane_rig import T0, build, policy, work

TWO = tuple(replace(work(each), attempt=1, first_call_ms=T0) for each in ("a", "b"))
CLAIM = Claim("k", TWO, build(TWO, "k", T0, None), T0, T0 + 5_000, resolve_until_ms=T0 + 10**7)
LOOKED_UP = replace(CLAIM, phase=Phase.LOOKING_UP)


def facts(**more) -> Facts:
    config = LaneConfig(policy(), 0, build, replays=False, by_text=True, dedup_for_ms=10**9)
    return Facts(config, CLOSED, 0, 0, T0 + 50, lambda: 0.5)._replace(**more)


def outcome(answer) -> Outcome:
    return Outcome("k", answer, T0, T0 + 50)


CASES = [
    (CLAIM, Sent(("m", "n")), [Ended, Ended], [State.SENT] * 2),
    (CLAIM, Rejected("400", "no"), [Ended, Ended], [State.FAILED] * 2),
    (CLAIM, Split("422", "one"), [Requeued, Requeued], []),
    (CLAIM, Refused("409", "later"), [RetryAt, RetryAt], []),
    (CLAIM, Paused("429", "slow"), [Requeued, Requeued], []),
    (CLAIM, Unbegun(), [Requeued, Requeued], []),
    (CLAIM, Unknown("timeout", "no answer"), [LookedUp, LookedUp], []),
    (LOOKED_UP, Absent(), [Requeued, Requeued], []),
    (LOOKED_UP, Unanswerable("gone"), [Ended, Ended], [State.UNCONFIRMED] * 2),
]


@pytest.mark.parametrize(("claim", "answer", "fates", "states"), CASES, ids=[type(case[1]).__name__ for case in CASES])
def test_every_touch_of_a_claim_has_one_fate(claim, answer, fates, states):
    settlement = settle(claim, outcome(answer), facts())
    assert [type(fate) for fate in settlement.fates] == fates
    assert [fate.work.touch_id for fate in settlement.fates] == ["a", "b"]
    assert [fate.state for fate in settlement.fates if isinstance(fate, Ended)] == states
    assert settlement == settle(claim, outcome(answer), facts()), "the same facts, the same settlement"


@pytest.mark.parametrize(
    ("answer", "is_void"),
    [(Sent(("m", "n")), False), (Rejected("400", "no"), True), (Unbegun(), True), (Unknown("timeout", "?"), False)],
)
def test_only_what_was_surely_not_accepted_is_void(answer, is_void):
    assert settle(CLAIM, outcome(answer), facts()).is_void is is_void


def test_an_answer_about_the_touches_closes_the_breaker_and_none_about_them_leaves_it():
    opened = CLOSED.opened(T0, code="503", error="down")
    assert settle(CLAIM, outcome(Refused("409", "later")), facts(breaker=opened)).breaker == CLOSED
    assert settle(LOOKED_UP, outcome(Absent()), facts(breaker=opened)).breaker == opened
    again = settle(CLAIM, outcome(Paused("503", "still down")), facts(breaker=opened)).breaker
    assert (again.outage.tries, again.outage.since_ms) == (2, opened.outage.since_ms)


def test_an_outage_is_reported_once_per_touch_and_outage():
    first = settle(CLAIM, outcome(Paused("429", "slow")), facts())
    assert all(fate.notice is not None for fate in first.fates)
    again = replace(CLAIM, works=tuple(fate.work for fate in first.fates))
    second = settle(again, outcome(Paused("429", "slow")), facts(breaker=first.breaker, now_ms=T0 + 1_100))
    assert all(fate.notice is None for fate in second.fates)


def test_a_touch_that_is_out_of_time_fails_instead_of_going_back():
    late = facts(now_ms=T0 + policy().retry_for_ms)
    for answer in (Split("422", "one"), Paused("429", "slow"), Unbegun()):
        fates = settle(CLAIM, outcome(answer), late).fates
        assert [(fate.state, fate.reason) for fate in fates] == [(State.FAILED, Reason.ATTEMPTS_EXHAUSTED)] * 2


@pytest.mark.parametrize("answer", [Rejected("400", "no"), Split("422", "one")])
def test_a_rejected_replay_decides_nothing_while_the_lost_call_may_still_arrive(answer):
    replays = LaneConfig(policy(), 0, build, replays=True, by_text=False, dedup_for_ms=10**9)
    works = tuple(replace(each, last_call_ms=T0) for each in TWO)
    lost = replace(LOOKED_UP, works=works, lost=True)
    over_ms = replays.call_over_ms(T0 + replays.policy.lease_ms)
    early = settle(lost, Outcome("k", answer, over_ms - 1, over_ms + 50), facts(config=replays))
    assert (early.claim.phase, early.claim.next_look_ms, early.fates) == (Phase.LOOKING_UP, over_ms, ())
    later = settle(lost, Outcome("k", answer, over_ms, over_ms + 50), facts(config=replays))
    assert later.claim is None
    assert later.is_void
    known = settle(replace(lost, lost=False), Outcome("k", answer, T0 + 1, T0 + 50), facts(config=replays))
    assert known.claim is None, "a 5xx was an answer: nothing of that call is on its way"
