"""A clock that is set: the limit still holds at the provider, and nothing waits longer than it honestly can."""

from __future__ import annotations

import random

import pytest

from pipeline.domain.limit import Gap, Limit, WarmUp, WarmUpStep
from pipeline.domain.sender_policy import SenderPolicy
from pipeline.domain.verdict import Absent, AskLater, Paused, Sent, Unknown
from pipeline.domain.work import Channel
from pipeline.stages.lane import table
from tests.harness.lane_rig import T0, Rig, policy, work

SECOND, MINUTE, HOUR, DAY = 1_000, 60_000, 3_600_000, 86_400_000
LONGEST_CALL_MS = 5_000 + 10_000 + 2_000
"""Lease, request timeout, allowance."""
LOST = Unknown("timeout", "no answer")


class Clocked:
    """A rig with true time beside its clock, `ahead_ms` apart; `has_monotonic`: the lane has a clock that nobody sets."""

    def __init__(self, *, has_monotonic: bool = True, **more: object) -> None:
        self.ahead_ms, self.true_ms, self.has_monotonic = 0, T0, has_monotonic
        channel = more.pop("channel", Channel.SMS)
        self.rig = Rig(policy(channel, **more), replays=channel is Channel.EMAIL, by_text=channel is not Channel.EMAIL)  # type: ignore[arg-type]
        self.sent_ms: list[int] = []

    def step(self, *works: object) -> None:
        self.rig.now_ms = self.true_ms + self.ahead_ms
        self.rig.monotonic_ms = self.true_ms if self.has_monotonic else None
        self.rig.step(*works)

    def send_all(self, took_ms: int = 50) -> int:
        """Let every call succeed, at the provider at once; return how many were made."""
        count = 0
        while self.rig.calls:
            claim = self.rig.calls[0]
            self.sent_ms.append(self.true_ms)
            self.rig.answer(Sent(tuple(each.touch_id for each in claim.works)), took_ms=took_ms)
            self.true_ms += took_ms
            self.step()
            count += 1
        return count

    def pass_time(self, most_ms: int) -> int:
        """Let time go by until the next call is made; return how long it took, `most_ms` at most."""
        begun = self.true_ms
        while not self.rig.calls and self.true_ms < begun + most_ms:
            self.true_ms += SECOND
            self.step(*self.rig.due())
        return self.true_ms - begun

    def take_over(self) -> None:
        self.rig.now_ms = self.true_ms + self.ahead_ms
        self.rig.takeover()


def busiest(sent_ms: list[int], per_ms: int) -> int:
    return max((sum(at <= other < at + per_ms for other in sent_ms) for at in sent_ms), default=0)


@pytest.mark.parametrize("ahead_ms", [DAY, 30 * DAY, HOUR, 10_000])
@pytest.mark.parametrize("way", ["a clock that nobody sets", "none", "a successor"])
def test_a_clock_that_was_ahead_for_one_call_and_is_set_right_costs_no_more_than_a_call_can_run(
    ahead_ms: int, way: str
) -> None:
    lane = Clocked(has_monotonic=way != "none", limit=Limit(1, 10 * MINUTE))
    lane.step()
    lane.ahead_ms = ahead_ms
    lane.step(work("a"), work("b"))
    assert lane.send_all() == 1
    lane.ahead_ms = 0
    if way == "a successor":
        lane.take_over()
    lane.step()
    waited_ms = lane.pass_time(2 * DAY)
    assert lane.send_all() == 1
    assert (
        10 * MINUTE - 100
        <= waited_ms
        <= 10 * MINUTE + (LONGEST_CALL_MS + SECOND if way != "a clock that nobody sets" else SECOND)
    )


@pytest.mark.parametrize("behind_ms", [DAY, 30 * DAY, HOUR, 10_000])
def test_a_clock_that_was_behind_for_one_call_and_is_set_right_gives_no_second_call(behind_ms: int) -> None:
    lane = Clocked(limit=Limit(1, 10 * MINUTE))
    lane.step()
    lane.ahead_ms = -behind_ms
    lane.step(work("a"), work("b"))
    assert lane.send_all() == 1
    lane.ahead_ms = 0
    lane.step()
    assert lane.rig.calls == []
    assert 10 * MINUTE - 100 <= lane.pass_time(2 * DAY) <= 10 * MINUTE + SECOND


@pytest.mark.parametrize("moves", [(DAY, 0), (-DAY, 0), (DAY, -DAY, 0), (-DAY, DAY, 0), (HOUR, DAY, -DAY, 0)])
def test_a_pause_a_rest_between_calls_and_a_backoff_are_as_long_as_they_were(moves: tuple[int, ...]) -> None:
    lane = Clocked(in_flight=1, gap=Gap(5 * MINUTE, 5 * MINUTE))
    lane.step(work("a"), work("b"), work("c"))
    lane.send_all()
    for ahead_ms in moves:
        lane.ahead_ms = ahead_ms
        lane.step()
        assert lane.rig.calls == []
    assert 5 * MINUTE - 100 <= lane.pass_time(2 * DAY) <= 5 * MINUTE + SECOND
    lane.rig.answer(Paused("429", "slow down", retry_after_s=600.0), took_ms=0)
    lane.step()
    for ahead_ms in moves:
        lane.ahead_ms = ahead_ms
        lane.step()
        assert lane.rig.calls == []
    assert 10 * MINUTE - 100 <= lane.pass_time(2 * DAY) <= 10 * MINUTE + SECOND


def test_without_another_clock_or_for_a_successor_a_pause_from_the_future_lasts_an_hour_at_most() -> None:
    for is_successor in (False, True):
        lane = Clocked(has_monotonic=False)
        lane.ahead_ms = DAY
        lane.step(work("a"))
        lane.rig.answer(Paused("429", "slow down", retry_after_s=600.0), took_ms=0)
        lane.step()
        lane.ahead_ms = 0
        if is_successor:
            lane.take_over()
        lane.step()
        assert lane.pass_time(2 * DAY) <= HOUR + SECOND


@pytest.mark.parametrize("way", ["a clock that nobody sets", "none", "a successor"])
def test_a_lost_answer_is_asked_about_in_time_and_from_early_enough(way: str) -> None:
    lane = Clocked(has_monotonic=way != "none")
    lane.step()
    lane.ahead_ms = DAY
    lane.step(work("a"))
    claimed_ms = lane.true_ms
    lane.rig.answer(LOST, took_ms=0)
    lane.step()
    lane.ahead_ms = 0
    if way == "a successor":
        lane.take_over()
    lane.step()
    begun = lane.true_ms
    while not lane.rig.asks:
        lane.true_ms += SECOND
        lane.step()
    assert lane.true_ms - begun <= (6 * SECOND if way == "a clock that nobody sets" else HOUR + 10 * SECOND)
    [ask] = lane.rig.asks
    assert ask.claim.claimed_ms <= claimed_ms + 2 * SECOND, "the provider is asked from the claim on"
    assert ask.claim.resolve_until_ms <= lane.true_ms + 12 * HOUR


def test_a_clock_set_forward_lets_nobody_ask_too_early_and_gives_no_question_up() -> None:
    lane = Clocked()
    lane.step(work("a"))
    claimed_ms = lane.true_ms
    lane.rig.answer(LOST, took_ms=0)
    lane.step()
    lane.ahead_ms = DAY
    lane.step()
    assert (lane.rig.asks, lane.rig.terminals()) == ([], {}), "the list of messages lags"
    lane.true_ms += 6 * SECOND
    lane.step()
    [ask] = lane.rig.asks
    assert ask.claim.claimed_ms == claimed_ms
    lane.rig.answer(AskLater("away"), lane.rig.asks.pop().claim, took_ms=0)
    lane.step()
    lane.true_ms += HOUR
    lane.step()
    lane.rig.answer(Absent(), lane.rig.asks.pop().claim, took_ms=0)
    lane.step()
    assert len(lane.rig.calls) == 1


def test_an_answer_that_comes_home_as_the_clock_is_set_ends_now() -> None:
    for ahead_ms in (DAY, -DAY):
        lane = Clocked(limit=Limit(1, 10 * MINUTE))
        lane.step(work("a"), work("b"))
        lane.sent_ms.append(lane.true_ms)
        lane.rig.answer(Sent(("i",)), took_ms=50)
        lane.true_ms += 50
        lane.ahead_ms = ahead_ms
        lane.step()
        lane.ahead_ms = 0
        lane.step()
        assert 10 * MINUTE - 100 <= lane.pass_time(2 * DAY) <= 10 * MINUTE + SECOND


def test_a_day_that_was_not_yet_does_not_eat_the_next_days_cap() -> None:
    sender = SenderPolicy("default", 0, daily_cap=2)
    lane = Clocked(senders=(sender,))
    lane.step()
    lane.ahead_ms = 10 * DAY
    lane.step(*[work(f"t{n}") for n in range(9)])
    assert lane.send_all() == 2
    lane.ahead_ms = 0
    lane.step()
    assert lane.pass_time(2 * DAY) <= DAY
    assert lane.send_all() == 2


@pytest.mark.parametrize("has_monotonic", [True, False])
def test_a_first_send_in_the_future_makes_no_sender_young_for_longer(has_monotonic: bool) -> None:
    warm_up = WarmUp((WarmUpStep(Limit(1, HOUR), 3 * HOUR),))
    lane = Clocked(has_monotonic=has_monotonic, warm_up=warm_up)
    lane.step()
    lane.ahead_ms = 100 * DAY
    lane.step(*[work(f"t{n}") for n in range(50)])
    assert lane.send_all() == 1
    lane.ahead_ms = 0
    lane.step()
    lane.true_ms += 3 * HOUR + MINUTE
    lane.step()
    assert lane.send_all() == 49


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize(
    "limit",
    [Limit(1, MINUTE), Limit(4, 2 * MINUTE), Limit(3, MINUTE, burst=3), Limit(10, 5 * MINUTE, burst=2)],
    ids=str,
)
def test_the_limit_holds_at_the_provider_however_the_clock_is_set_and_calls_go_on(seed: int, limit: Limit) -> None:
    dice = random.Random(seed)
    lane = Clocked(limit=limit, in_flight=dice.choice([1, 3]))
    lane.step(*[work(f"t{n}") for n in range(200)])
    idle_ms = 0
    for _ in range(600):
        if dice.random() < 0.1:
            lane.ahead_ms = dice.choice([0, DAY, -DAY, 2 * HOUR, -7 * DAY, 400 * DAY, -5_000, 5_000])
        elif dice.random() < 0.02:
            lane.ahead_ms = min(lane.ahead_ms, 0)  # a successor cannot know that what is long ago for it is not
            lane.take_over()
            idle_ms = 0
        lane.step(*lane.rig.due())
        made = lane.send_all(took_ms=dice.choice([0, 50, 3_000]))
        passed_ms = dice.choice([500, 1_000, 5_000])
        idle_ms = 0 if made else idle_ms + passed_ms
        assert idle_ms <= limit.per_ms + LONGEST_CALL_MS + 10 * SECOND
        lane.true_ms += passed_ms
    assert busiest(lane.sent_ms, limit.per_ms) <= limit.rate
    assert max(lane.rig.terminals().values()) == 1


def test_a_lane_that_is_opened_with_a_clock_that_nobody_set_changes_nothing() -> None:
    lane = Clocked(limit=Limit(3, MINUTE), in_flight=2)
    lane.step(*[work(f"t{n}") for n in range(9)])
    lane.rig.answer(LOST, took_ms=0)
    lane.step()
    before = dict(lane.rig.table.scan(b"", b"\xff"))
    lane.true_ms += 100
    lane.take_over()
    lane.step()
    kept = {key for key in before if key[:1] in (table.CALL, table.STATE)}
    assert not kept & {key for key in lane.rig.last.changes if key[:1] in (table.CALL, table.STATE)}
