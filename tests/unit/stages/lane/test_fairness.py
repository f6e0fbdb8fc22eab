"""Fairness inside a lane, in simulated time: campaigns take turns, retries and fresh touches too, urgent ones go first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.domain.limit import Limit
from pipeline.domain.sender_policy import SenderPolicy
from pipeline.domain.verdict import Absent, Paused, Refused, Sent, Unknown, Verdict
from pipeline.domain.window import Window
from pipeline.domain.work import Claim, Work
from tests.harness.lane_rig import T0, Rig, policy, work

SPACING_MS = 2_000
THIRTY_A_MINUTE = Limit(30, 60_000)
LATENCY_MS = 40
SENT = Sent(("SM",))


class Clocked:
    """A limited lane whose calls are answered after a while, and whose served touches are written down in order."""

    def __init__(self, judge: Callable[[Work], Verdict] = lambda _: SENT, **more: object) -> None:
        self.rig = Rig(policy(**{"limit": THIRTY_A_MINUTE, "in_flight": 10, **more}))
        self.judge = judge
        self.called: list[Work] = []
        """The touches in the order of their calls."""

    def take_in(self, campaign: str, count: int, **more: object) -> None:
        """Let a whole campaign arrive at once."""
        self.rig.step(*[work(f"{campaign}-{n}", campaign=campaign, **more) for n in range(count)])
        self._answer()

    def run(self, until: Callable[[], bool], most_calls: int = 2_000) -> None:
        """Move from wake-up to wake-up until `until` holds. Fails when it takes more than `most_calls`."""
        while not until():
            assert len(self.called) < most_calls, (
                f"{len(self.called)} calls: {Counter(w.campaign_id for w in self.called)}"
            )
            wakes = [at for at, _ in self.rig.scheduled] + (
                [] if self.rig.last.wake_ms is None else [self.rig.last.wake_ms]
            )
            self.rig.now_ms = max(self.rig.now_ms, min(wakes))
            self.rig.step(*self.rig.due())
            self._answer()

    def _answer(self) -> None:
        while self.rig.calls or self.rig.asks:
            if self.rig.calls:
                [touch] = self.rig.calls[0].works
                self.called.append(touch)
                self.rig.answer(self.judge(touch), took_ms=LATENCY_MS)
            else:
                self.rig.answer(Absent(), self.rig.asks.pop().claim, took_ms=LATENCY_MS)
            self.rig.step()

    def ended(self, campaign: str) -> int:
        return sum(touch_id.startswith(f"{campaign}-") for _, touch_id in self.rig.terminals())

    def calls_of(self, campaign: str) -> int:
        return sum(each.campaign_id == campaign for each in self.called)


def test_a_campaign_of_ten_behind_ten_thousand_is_done_within_twice_its_fair_time() -> None:
    lane = Clocked()
    lane.take_in("big", 10_000)
    came_ms = lane.rig.now_ms
    lane.take_in("small", 10)
    lane.run(lambda: lane.ended("small") == 10)
    fair_ms = 20 * SPACING_MS  # two campaigns take turns
    assert lane.rig.now_ms - came_ms <= 1.1 * fair_ms, "twice is promised; a turn is all that may be missing"


def test_nor_does_it_matter_how_long_the_big_one_has_been_at_it() -> None:
    """Not after an idle hour either, nor after a successor took the lane over: turns are not saved up."""
    lane = Clocked()
    lane.take_in("old", 50)
    lane.run(lambda: lane.ended("old") == 50)
    lane.rig.now_ms += 3_600_000
    lane.take_in("big", 400)
    lane.run(lambda: lane.ended("big") == 200)
    lane.rig.takeover()
    before = len(lane.called)
    lane.take_in("small", 10)
    lane.run(lambda: lane.ended("small") == 10)
    assert len(lane.called) - before <= 21


def test_three_campaigns_share_alike_whenever_they_came() -> None:
    lane = Clocked()
    lane.take_in("one", 400)
    lane.run(lambda: len(lane.called) == 100)
    lane.take_in("two", 300)
    lane.run(lambda: len(lane.called) == 200)
    lane.take_in("three", 30)
    lane.run(lambda: lane.ended("three") == 30)
    shares = Counter(each.campaign_id for each in lane.called[200:])
    assert all(abs(shares[name] - 30) <= 1 for name in ("one", "two", "three")), shares


def test_every_priority_goes_before_the_next_and_campaigns_take_turns_within_it() -> None:
    lane = Clocked(in_flight=1)
    lane.take_in("first", 1, priority=0)
    for priority in reversed(range(10)):
        for campaign in ("a", "b"):
            lane.rig.step(*[work(f"{campaign}-{priority}-{n}", campaign=campaign, priority=priority) for n in range(3)])
    lane.run(lambda: len(lane.called) == 61)
    served = [(each.priority, each.campaign_id) for each in lane.called[1:]]
    assert served == [(priority, campaign) for priority in range(10) for _ in range(3) for campaign in ("a", "b")]


def test_an_urgent_touch_does_not_change_whose_turn_it_is() -> None:
    lane = Clocked()
    lane.take_in("a", 50)
    lane.take_in("b", 50)
    for n in range(10):
        lane.rig.step(work(f"urgent-{n}", campaign="a", priority=0))
        lane.run(lambda n=n: lane.ended("urgent") > n)
        enough = len(lane.called) + 2
        lane.run(lambda enough=enough: len(lane.called) == enough)
    normal = Counter(each.campaign_id for each in lane.called if each.priority == 5)
    assert abs(normal["a"] - normal["b"]) <= 1


def test_a_campaign_that_is_refused_again_and_again_starves_nobody_and_is_not_starved() -> None:
    """Every touch of `bad` is refused four times; its retries take turns with its own fresh touches and with `good`."""
    lane = Clocked(
        lambda touch: Refused("14107", "loop guard") if touch.campaign_id == "bad" and touch.refusals < 4 else SENT
    )
    lane.take_in("bad", 400)
    lane.run(lambda: len(lane.called) == 100)
    lane.take_in("good", 30)
    lane.run(lambda: lane.ended("good") == 30)
    later = lane.called[100:]
    assert len(later) <= 2 * 60 + 2, "twice its fair time at most, with retries and fresh touches of `bad` before it"
    again = sum(each.refusals > 0 for each in later if each.campaign_id == "bad")
    fresh = sum(each.refusals == 0 for each in later if each.campaign_id == "bad")
    assert min(again, fresh) >= 25, (again, fresh)
    lane.run(lambda: lane.ended("bad") >= 10, 1_000)


def test_touches_whose_calls_are_never_answered_do_not_push_the_others_aside() -> None:
    """The provider hangs on every touch of `hung` and has nothing when asked: each may be sent again, in its turn."""
    lane = Clocked(lambda touch: Unknown("timeout", "no answer") if touch.campaign_id == "hung" else SENT)
    lane.take_in("hung", 500)
    lane.take_in("good", 40)
    lane.run(lambda: lane.ended("good") == 40, 160)
    assert len(lane.called) <= 2 * 80 + 2
    assert lane.calls_of("hung") >= 40, "nor are they forgotten"


def test_after_an_outage_the_turns_go_on_where_they_were() -> None:
    away = [20]

    def judge(_: Work) -> Verdict:
        away[0] -= 1
        return Paused("429", "slow down") if away[0] >= 0 else SENT

    lane = Clocked(judge)
    lane.take_in("big", 500)
    lane.take_in("small", 10)
    lane.run(lambda: lane.ended("small") == 10)
    assert len(lane.called) - 20 <= 22


def test_what_waited_for_the_window_shares_the_morning_with_what_is_fresh() -> None:
    window = Window(9 * 3600, 20 * 3600, "UTC", margin_ms=5_000)
    lane = Clocked(window=window)
    lane.rig.now_ms = T0 - T0 % 86_400_000 + 20 * 3_600_000 - 60_000
    lane.take_in("big", 300)
    lane.run(lambda: bool(lane.rig.scheduled))
    night = len(lane.called)
    lane.run(lambda: len(lane.called) > night)
    lane.take_in("small", 10)
    before = len(lane.called)
    lane.run(lambda: lane.ended("small") == 10)
    assert len(lane.called) - before <= 21


def test_what_a_drained_lane_hands_on_takes_turns_with_what_the_other_has() -> None:
    drained = Rig(policy(in_flight=1))
    drained.step(*[work(f"moved-{n}", campaign="moved") for n in range(1_100)])
    senders = (SenderPolicy("default", 0, is_enabled=False), SenderPolicy("other", 1))
    drained.policy = policy(senders=senders)
    drained.takeover()
    drained.step()
    while drained.last.waiting:
        drained.step()
    lane = Clocked(senders=senders)
    lane.rig = Rig(policy(limit=THIRTY_A_MINUTE, senders=senders), lane_number=1)
    lane.take_in("own", 200, sender="other")
    lane.rig.step(*[each.value for each in drained.forwarded])
    lane.take_in("small", 10, sender="other")
    before = len(lane.called)
    lane.run(lambda: lane.ended("small") == 10)
    shares = Counter(each.campaign_id for each in lane.called[before:])
    assert all(abs(shares[name] - 10) <= 1 for name in ("own", "moved", "small")), shares


def calls_in_order(lane: Rig, count: int) -> list[str]:
    """Let `count` calls succeed; return whose they were."""
    served = []
    while lane.calls and len(served) < count:
        claim: Claim = lane.calls[0]
        served.append(claim.works[0].campaign_id)
        lane.answer(SENT, took_ms=1)
        lane.step()
    return served


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 12), st.integers(0, 9), st.booleans()), max_size=8))
def test_two_campaigns_that_both_wait_are_served_alike_whatever_came_before(
    history: list[tuple[str, int, int, bool]],
) -> None:
    """Arrivals, services and take-overs at random, then two backlogs: of any stretch each gets its half."""
    lane, made = Rig(policy(in_flight=1)), 0
    for campaign, arrivals, services, is_taken_over in history:
        lane.step(*[work(f"t{made + n}", campaign=campaign) for n in range(arrivals)])
        made += arrivals
        calls_in_order(lane, services)
        if is_taken_over and not lane.calls:
            lane.takeover()
    both = ["a", "b"]
    lane.step(*[work(f"{campaign}{n}", campaign=campaign) for campaign in both for n in range(12)])
    served = calls_in_order(lane, 10_000)
    ends = [max(at for at, each in enumerate(served) if each == campaign) for campaign in both]
    stretch = Counter(served[: min(ends)])
    assert abs(stretch["a"] - stretch["b"]) <= 2
