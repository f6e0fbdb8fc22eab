"""What a lane does about orders and suppressions, rule by rule (docs/control.md)."""

from __future__ import annotations

import pytest

from pipeline.domain.held_by import HeldBy
from pipeline.domain.policy import Unresolved
from pipeline.domain.sender_policy import SenderPolicy
from pipeline.domain.verdict import Absent, Refused, Rejected, Sent, Split, Unanswerable, Unbegun
from pipeline.domain.window import Window
from pipeline.domain.work import Channel, Purpose
from pipeline.stages.lane import sweep
from pipeline.stages.lane.force import ViewTooShort
from tests.harness.lane_rig import LOST, T0, Rig, policy, work
from tests.harness.ordered import Ordered

CAMPAIGN, LANE = "campaign=c", "channel=sms;sender=default"
PARKED = [("deferred", "paused")]


@pytest.fixture
def orders() -> Ordered:
    return Ordered()


def rig(orders: Ordered, **more) -> Rig:
    return Rig(policy(**more), control=orders)


def mails(orders: Ordered, **more) -> Rig:
    return Rig(policy(Channel.EMAIL, gather_ms=0, **more), control=orders, replays=True, by_text=False)


def mail(touch_id: str, **more):
    return work(touch_id, channel=Channel.EMAIL, to=f"{touch_id}@example.com", **more)


def settle_down(lane: Rig, steps: int = 20) -> None:
    """Step until nothing is due at once any more."""
    for _ in range(steps):
        wake_ms = lane.last.wake_ms
        if wake_ms is None or wake_ms > lane.now_ms + 1_000:
            return
        lane.now_ms = max(lane.now_ms, wake_ms)
        lane.step()
    raise AssertionError("it never rests")


class TestPauseOfALane:
    @pytest.mark.parametrize("target", ["all", "channel=sms", LANE])
    def test_no_call_begins_and_nothing_is_told_until_it_is_resumed(self, orders, target):
        lane = rig(orders)
        orders.pause(target)
        lane.step(work("a"), work("b"))
        settle_down(lane)
        assert (lane.calls, lane.states(), lane.last.waiting) == ([], [], 2)
        assert (lane.last.held_by, lane.last.hold.why) == ({HeldBy.ORDER}, f"pause:{target}")
        orders.resume(target)
        lane.step()
        assert [claim.works[0].touch_id for claim in lane.calls] == ["a", "b"]
        assert lane.last.held_by == frozenset()

    @pytest.mark.parametrize("target", ["channel=email", "channel=sms;sender=other"])
    def test_a_pause_of_another_lane_is_none_here(self, orders, target):
        lane = rig(orders)
        orders.pause(target)
        assert lane.step(work("a")).calls

    def test_it_ends_by_itself_at_its_until(self, orders):
        lane = rig(orders)
        orders.pause(LANE, until_ms=T0 + 5_000)
        assert lane.step(work("a")).wake_ms == T0 + 5_000
        lane.now_ms = T0 + 5_000
        assert lane.step().calls

    def test_a_forgotten_pause_is_over(self, orders):
        lane = rig(orders)
        key = orders.pause(LANE).key
        lane.step(work("a"))
        orders.forget(key)
        assert lane.step().calls

    def test_a_touch_whose_window_is_closed_waits_without_a_word(self, orders):
        lane = rig(orders, window=Window(0, 1, "UTC"))
        orders.pause(LANE)
        lane.step(work("a"), work("b", not_before_ms=T0 + 10**6))
        assert (lane.states(), lane.scheduled, lane.last.waiting) == ([], [], 2)
        orders.resume(LANE)
        lane.step()
        assert lane.states() == [("deferred", "window"), ("deferred", "not_before")]

    def test_the_first_in_line_expires_in_time(self, orders):
        lane = rig(orders)
        orders.pause(LANE)
        assert lane.step(work("a", expires_at_ms=T0 + 3_000)).wake_ms == T0 + 3_000
        lane.now_ms = T0 + 3_000
        lane.step()
        assert lane.states() == [("expired", "expires_at")]

    def test_a_running_call_ends(self, orders):
        lane = rig(orders)
        lane.step(work("a"))
        orders.pause("all")
        lane.step()
        lane.answer(Sent(("SM1",)))
        lane.step()
        assert lane.states() == [("sent", "")]

    def test_look_ups_go_on_and_replays_do_not(self, orders):
        looks, replays = rig(orders), mails(orders)
        looks.step(work("a"))
        replays.step(mail("a"))
        orders.pause("all")
        for each in (looks, replays):
            each.answer(LOST)
            each.step()
            each.now_ms = T0 + 10_000
            each.step()
        assert (len(looks.asks), len(replays.asks)) == (1, 0)
        orders.resume("all")
        replays.step()
        assert len(replays.asks) == 1


class TestPauseThatParks:
    @pytest.mark.parametrize(
        "target", [CAMPAIGN, "lead=lead-a", "touch=a", "campaign=c;channel=sms", "channel=sms;touch=a"]
    )
    def test_it_parks_what_waits_once_and_gives_it_back_in_its_old_order(self, orders, target):
        lane = rig(orders, in_flight=1)
        lane.step(work("first", campaign="d"))
        lane.step(work("a"), work("b", campaign="d"))
        order = orders.pause(target)
        lane.step()
        assert lane.states() == PARKED
        told = lane.events[-1][1]
        assert (told.order, told.next_attempt_at_ms, told.attempt) == (order.key, None, 0)
        assert (lane.last.waiting, lane.last.parked) == (1, 1)
        orders.pause("lead=lead-a;touch=a")
        lane.now_ms += 60_000
        settle_down(lane)
        assert lane.states() == PARKED, "once, however many orders hold it"
        orders.resume("lead=lead-a;touch=a")
        lane.now_ms += 60_000
        lane.step()
        settle_down(lane)
        assert lane.last.parked == 1, "the other one holds it still"
        orders.resume(target)
        lane.now_ms += 60_000
        lane.step()
        settle_down(lane)
        assert (lane.last.parked, lane.last.waiting, lane.states()) == (0, 2, PARKED)
        lane.answer(Sent(("SM1",)))
        lane.step()
        lane.answer(Sent(("SM2",)))
        lane.step()
        lane.answer(Sent(("SM3",)))
        lane.step()
        assert {event.touch_id for _, event in lane.events if event.state == "sent"} == {"first", "a", "b"}

    def test_it_parks_what_comes_and_what_comes_back(self, orders):
        lane = rig(orders)
        orders.pause(CAMPAIGN, until_ms=T0 + 10_000)
        lane.step(work("a"), work("b", returns=1), work("c", campaign="other"))
        assert [claim.works[0].touch_id for claim in lane.calls] == ["c"]
        assert lane.states() == PARKED * 2
        assert {event.next_attempt_at_ms for _, event in lane.events} == {T0 + 10_000}
        lane.now_ms = T0 + 10_000
        lane.step()
        settle_down(lane)
        assert [claim.works[0].touch_id for claim in lane.calls] == ["c", "a", "b"]
        assert lane.states() == PARKED * 2, "no record is told for the end"

    def test_nobody_knows_when_unless_each_of_them_ends_by_itself(self, orders):
        lane = rig(orders)
        orders.pause(CAMPAIGN, until_ms=T0 + 10_000)
        orders.pause("touch=a")
        orders.pause("touch=b", until_ms=T0 + 20_000)
        lane.step(work("a"), work("b"))
        assert [(e.order, e.next_attempt_at_ms) for _, e in lane.events] == [
            ("pause:campaign=c", None),
            ("pause:campaign=c", T0 + 20_000),
        ]

    def test_a_parked_touch_expires_in_time(self, orders):
        lane = rig(orders)
        orders.pause(CAMPAIGN)
        step = lane.step(work("a", expires_at_ms=T0 + 9_000), work("b", expires_at_ms=T0 + 4_000), work("c"))
        assert step.wake_ms == T0 + 4_000
        lane.now_ms = T0 + 4_000
        assert lane.step().wake_ms == T0 + 9_000
        assert lane.states("b") == [*PARKED, ("expired", "expires_at")]
        lane.takeover()
        lane.now_ms = T0 + 9_000
        lane.step()
        assert lane.states("a") == [*PARKED, ("expired", "expires_at")]
        assert lane.last.parked == 1

    def test_the_shelf_survives_a_crash_and_so_does_the_end_of_a_pause_meanwhile(self, orders):
        lane = rig(orders)
        orders.pause(CAMPAIGN, until_ms=T0 + 10_000)
        lane.step(work("a"))
        lane.takeover()
        lane.step()
        assert (lane.calls, lane.last.parked) == ([], 1)
        lane.now_ms = T0 + 20_000
        lane.takeover()
        lane.step()
        settle_down(lane)
        assert [claim.works[0].touch_id for claim in lane.calls] == ["a"]

    def test_a_repeat_of_a_parked_touch_is_dropped(self, orders):
        lane = rig(orders)
        orders.pause(CAMPAIGN)
        lane.step(work("a"))
        lane.step(work("a"))
        assert (lane.last.parked, lane.last.repeats, lane.states()) == (1, 1, PARKED)

    def test_a_lane_that_retires_hands_on_what_it_has_parked(self, orders):
        lane = rig(orders, senders=(SenderPolicy("default", 0), SenderPolicy("two", 3)))
        orders.pause(CAMPAIGN)
        lane.step(work("a"))
        lane.policy = policy(senders=(SenderPolicy("default", 0, is_enabled=False), SenderPolicy("two", 3)))
        lane.takeover()
        lane.step()
        ((topic, partition, *_),) = lane.forwarded
        assert (topic, partition, lane.last.parked) == ("touches.sms", 3, 0)

    def test_a_touch_whose_call_came_to_nothing_is_parked(self, orders):
        lane = rig(orders)
        lane.step(work("a"))
        orders.pause(CAMPAIGN)
        lane.step()
        lane.answer(Unbegun())
        lane.step()
        assert (lane.states(), lane.last.parked) == (PARKED, 1)

    def test_other_touches_are_untouched_and_keep_their_turns(self, orders):
        lane = rig(orders, in_flight=1)
        lane.step(work("running", campaign="x"))
        lane.step(*(work(f"{campaign}{n}", campaign=campaign) for n in range(3) for campaign in ("c", "d", "e")))
        orders.pause(CAMPAIGN)
        lane.step()
        settle_down(lane)
        went = []
        while lane.calls:
            went.append(lane.calls[0].works[0].touch_id)
            lane.answer(Sent((f"SM{len(went)}",)))
            lane.step()
        assert went == ["running", "d0", "e0", "d1", "e1", "d2", "e2"]


class TestCancel:
    @pytest.mark.parametrize(
        ("target", "reason"),
        [
            (CAMPAIGN, "campaign"),
            ("lead=lead-a", "lead"),
            ("touch=a", "touch"),
            ("channel=sms", "channel"),
            (LANE, "sender"),
            ("campaign=c;channel=sms;sender=default;lead=lead-a;touch=a", "touch"),
        ],
    )
    def test_it_ends_what_waits_and_what_comes(self, orders, target, reason):
        lane = rig(orders, in_flight=1)
        lane.step(work("first", campaign="d"))
        lane.step(work("a"))
        order = orders.cancel(target)
        lane.step(work("a", digest=b"e" * 16))
        assert [each for each in lane.states() if each[0] == "cancelled"] == [("cancelled", reason)] * 2
        told = lane.events[-1][1]
        assert (told.order, told.error, told.attempt) == (order.key, "why", 0)

    def test_it_ends_what_is_parked(self, orders):
        lane = rig(orders)
        orders.pause(CAMPAIGN)
        lane.step(work("a"))
        orders.cancel("touch=a")
        lane.step()
        settle_down(lane)
        assert (lane.states(), lane.last.parked) == ([*PARKED, ("cancelled", "touch")], 0)

    def test_what_was_accepted_later_goes(self, orders):
        lane = rig(orders)
        orders.cancel(CAMPAIGN, until_ms=T0)
        lane.step(work("before", accepted_ms=T0), work("after", accepted_ms=T0 + 1), work("earlier version"))
        assert [claim.works[0].touch_id for claim in lane.calls] == ["after"]

    def test_of_several_the_oldest_is_told(self, orders):
        lane = rig(orders)
        orders.cancel("lead=lead-a")
        orders.cancel("touch=a")
        lane.step(work("a"))
        assert lane.states() == [("cancelled", "lead")]

    @pytest.mark.parametrize(
        ("answer", "states"),
        [
            (Sent(("SM1",)), [("sent", "")]),
            (Unbegun(), [("cancelled", "campaign")]),
            (Refused("14107", "loop"), [("cancelled", "campaign")]),
            (Rejected("21610", "opted out"), [("cancelled", "campaign")]),
        ],
    )
    def test_what_an_answer_means_for_a_cancelled_touch(self, orders, answer, states):
        lane = rig(orders)
        lane.step(work("a"))
        orders.cancel(CAMPAIGN)
        lane.step()
        lane.answer(answer)
        lane.step()
        assert lane.states() == states

    @pytest.mark.parametrize(
        ("found", "end"),
        [
            (Sent(("SM1",)), ("sent", "")),
            (Absent(), ("cancelled", "campaign")),
            (Unanswerable("gone"), ("unconfirmed", "no_answer")),
        ],
    )
    @pytest.mark.parametrize("unresolved", list(Unresolved))
    def test_a_lost_answer_is_looked_up_and_never_sent_again(self, orders, found, end, unresolved):
        lane = rig(orders, unresolved=unresolved)
        lane.step(work("a"))
        orders.cancel(CAMPAIGN)
        lane.step()
        lane.answer(LOST)
        lane.step()
        lane.now_ms = max(lane.last.wake_ms, lane.now_ms + 60_000)
        lane.step()
        lane.answer(found, lane.asks[-1].claim)
        lane.step()
        assert lane.states()[-1] == end
        assert not lane.calls

    def test_of_a_halved_batch_the_others_go(self, orders):
        lane = mails(orders)
        lane.step(mail("a"), mail("b"), mail("c"))
        orders.cancel("touch=b")
        lane.step()
        lane.answer(Split("x", "one of them"))
        lane.step()
        assert lane.states("b") == [("cancelled", "touch")]
        assert sorted(each.touch_id for claim in lane.calls for each in claim.works) == ["a", "c"]

    def test_a_batch_whose_outcome_is_unknown_ends_unconfirmed_as_a_whole(self, orders):
        lane = mails(orders, unresolved=Unresolved.SEND)
        lane.step(mail("a"), mail("b"))
        orders.cancel("touch=b")
        lane.step()
        lane.answer(LOST)
        lane.step()
        for _ in range(40):
            lane.now_ms += 3_600_000
            lane.step()
        assert lane.asks == []
        assert [each for each in lane.states() if each[0] == "unconfirmed"] == [("unconfirmed", "no_answer")] * 2

    def test_an_expired_touch_is_expired(self, orders):
        lane = rig(orders)
        orders.cancel(CAMPAIGN)
        lane.step(work("a", expires_at_ms=T0))
        assert lane.states() == [("expired", "expires_at")]

    def test_it_is_before_a_suppression_and_that_before_a_pause_and_that_before_the_gate(self, orders):
        closed = Window(0, 1, "UTC")
        for make, says in (
            (lambda: None, ("deferred", "window")),
            (lambda: orders.pause(CAMPAIGN), ("deferred", "paused")),
            (lambda: orders.suppress("lead:lead-a"), ("suppressed", "manual")),
            (lambda: orders.cancel("touch=a"), ("cancelled", "touch")),
        ):
            make()
            lane = rig(orders, window=closed)
            lane.step(work("a"))
            assert lane.states() == [says]

    def test_a_long_queue_is_told_in_slices(self, orders, monkeypatch):
        monkeypatch.setattr(sweep, "SLICE", 10)
        lane = rig(orders, in_flight=1)
        lane.step(work("first", campaign="d"))
        lane.step(*(work(f"{n}", campaign="c" if n % 2 else "d") for n in range(60)))
        orders.cancel(CAMPAIGN)
        told = []
        lane.step()
        while lane.last.wake_ms is not None and lane.last.wake_ms < lane.now_ms + 1_000:
            told.append(len(lane.states()))
            lane.now_ms = max(lane.now_ms, lane.last.wake_ms)
            lane.step()
        assert told[:6] == [5, 10, 15, 20, 25, 30]
        assert lane.last.waiting == 30

    def test_a_pass_that_a_crash_cut_off_begins_again(self, orders, monkeypatch):
        monkeypatch.setattr(sweep, "SLICE", 10)
        lane = rig(orders, in_flight=1)
        lane.step(work("first", campaign="d"))
        lane.step(*(work(f"{n}") for n in range(60)))
        orders.cancel(CAMPAIGN)
        lane.step()
        lane.takeover()
        lane.step()
        settle_down(lane)
        assert (lane.last.waiting, len(lane.terminals())) == (0, 60)
        lane.takeover()
        assert lane.step().wake_ms is None or lane.last.wake_ms > lane.now_ms + 1_000, "what is done is done"

    def test_many_orders_cost_few_passes(self, orders, monkeypatch):
        looked = []
        lane = rig(orders, in_flight=1)
        lane.step(work("first", campaign="d"))
        lane.step(work("a"))

        def slow(draft, start):
            looked.append(draft.now_ms)
            return start if len(looked) % 10 else None

        monkeypatch.setattr(sweep, "_sweep_queue", slow)
        for n in range(900):
            orders.cancel(f"touch=other-{n}")
            lane.now_ms += 200
            lane.step()
        assert 50 <= len(looked) <= 60, "one at once, then one every 30 s"

    def test_a_short_queue_obeys_a_second_order_within_a_second(self, orders):
        lane = rig(orders, in_flight=1)
        lane.step(work("first", campaign="d"))
        lane.step(work("a"), work("b"))
        for touch_id in "ab":
            orders.cancel(f"touch={touch_id}")
            lane.step()
            settle_down(lane)
        assert lane.states() == [("cancelled", "touch")] * 2
        assert lane.now_ms <= T0 + 1_100


class TestSuppression:
    def test_the_strongest_entry_is_told(self, orders):
        lane = rig(orders)
        orders.suppress("hash", "manual", scope="sms")
        orders.suppress("lead:lead-a", "bounced", note="no mailbox")
        lane.step(work("a", recipient="hash"), work("b", recipient="hash"), work("c", recipient="other"))
        assert lane.states("a") == [("suppressed", "bounced")]
        assert lane.states("b") == [("suppressed", "manual")]
        assert [claim.works[0].touch_id for claim in lane.calls] == ["c"]
        assert (lane.events[0][1].error, lane.events[0][1].order) == ("no mailbox", None)

    def test_transactional_touches_go_past_unsubscribed_only(self, orders):
        lane = rig(orders)
        orders.suppress("hash", "unsubscribed")
        lane.step(work("a", recipient="hash", purpose=Purpose.TRANSACTIONAL), work("b", recipient="hash"))
        assert [claim.works[0].touch_id for claim in lane.calls] == ["a"]
        orders.suppress("hash", "opt_out")
        lane.step(work("c", recipient="hash", purpose=Purpose.TRANSACTIONAL))
        assert lane.states("c") == [("suppressed", "opt_out")]

    def test_it_ends_what_waits_and_a_lifted_one_nothing(self, orders):
        lane = rig(orders, in_flight=1)
        lane.step(work("first"))
        lane.step(work("a", recipient="hash"), work("b", recipient="other"))
        orders.suppress("hash")
        orders.suppress("other")
        orders.lift("other")
        lane.step()
        assert lane.states() == [("suppressed", "manual")]
        assert lane.last.waiting == 1

    def test_a_batch_whose_outcome_is_unknown_is_replayed_and_counted(self, orders):
        lane = mails(orders)
        lane.step(mail("a", recipient="hash"), mail("b"))
        orders.suppress("hash")
        lane.step()
        lane.answer(LOST)
        lane.step()
        assert len(lane.asks) == 1
        assert lane.last.replays_of_suppressed == 1
        assert lane.lane.may_begin(lane.asks[0].claim, orders, lane.now_ms)


class TestLastLook:
    @pytest.mark.parametrize(
        "order", [lambda o: o.pause("all"), lambda o: o.cancel(CAMPAIGN), lambda o: o.suppress("hash")]
    )
    def test_a_call_claimed_before_does_not_begin(self, orders, order):
        lane = rig(orders)
        lane.step(work("a", recipient="hash"))
        claim = lane.calls[0]
        assert lane.lane.may_begin(claim, orders, lane.now_ms)
        order(orders)
        assert not lane.lane.may_begin(claim, orders, lane.now_ms)

    def test_a_batch_that_did_not_begin_is_claimed_anew_without_the_suppressed(self, orders):
        lane = mails(orders)
        lane.step(mail("a", recipient="hash"), mail("b"))
        orders.suppress("hash")
        lane.answer(Unbegun())
        lane.step()
        assert lane.states() == [("suppressed", "manual")]
        ((only,),) = [claim.works for claim in lane.calls]
        assert (only.touch_id, only.attempt, only.refusals) == ("b", 2, 0)


class TestInForce:
    def told(self, lane: Rig) -> tuple[int, int]:
        return lane.reports[-1].control_seen, lane.reports[-1].control_in_force

    def test_a_quiet_lane_obeys_at_once_and_tells_it_once(self, orders):
        lane = rig(orders)
        lane.step()
        assert (lane.reports[-1].key, self.told(lane)) == ("sms/default", (0, 0))
        orders.pause("all")
        lane.step()
        assert self.told(lane) == (1, 1)
        lane.step()
        assert len(lane.reports) == 2

    @pytest.mark.parametrize("answer", [Sent(("SM1",)), LOST, Unbegun(), Rejected("1", "no")])
    def test_a_running_call_must_end_first(self, orders, answer):
        lane = rig(orders)
        lane.step(work("a"))
        orders.cancel("touch=z")
        lane.step()
        assert self.told(lane) == (1, 0)
        lane.answer(answer)
        lane.step()
        assert self.told(lane) == (1, 1)

    def test_a_claim_made_later_does_not_hold_it_up(self, orders):
        lane = rig(orders)
        orders.cancel("touch=z")
        lane.step(work("a"))
        assert self.told(lane) == (1, 1)

    def test_a_claim_of_a_dead_owner_counts_until_its_call_is_over(self, orders):
        lane = rig(orders)
        lane.step(work("a"))
        over_ms = lane.calls[0].next_look_ms
        orders.cancel("touch=z")
        lane.takeover()
        lane.step()
        assert self.told(lane) == (1, 0)
        assert lane.last.wake_ms <= over_ms
        lane.takeover()
        lane.now_ms = over_ms - 1
        lane.step()
        assert self.told(lane) == (1, 0)
        lane.now_ms = over_ms + lane.policy.resolve_after_ms
        lane.step()
        assert self.told(lane) == (1, 1)

    def test_what_is_in_force_stays_so(self, orders):
        lane = rig(orders)
        lane.step(work("a"))
        lane.answer(LOST)
        orders.cancel("touch=z")
        lane.step()
        assert self.told(lane) == (1, 1)
        lane.takeover()
        lane.step()
        assert self.told(lane) == (1, 1)

    def test_a_replay_is_decided_anew(self, orders):
        lane = mails(orders)
        lane.step(mail("a"))
        lane.answer(LOST)
        orders.cancel("touch=z")
        lane.step()
        assert lane.asks[0].claim.control_seen == 1
        assert self.told(lane) == (1, 1)
        orders.cancel("touch=y")
        lane.step()
        assert self.told(lane) == (3, 1)

    def test_a_view_that_knows_less_than_the_lane_stops_the_worker(self, orders):
        lane = rig(orders)
        orders.pause("all")
        lane.step()
        lane.control = Ordered()
        with pytest.raises(ViewTooShort, match=r"touches\.control ends at 0, but lanes have looked at it up to 1"):
            lane.takeover()

    def test_without_orders_the_state_is_as_earlier_versions_read_it(self):
        lane = rig(Ordered())
        lane.step(work("a"))
        assert b"control" not in lane.table.get(b"s")
