"""The lane's rules, one by one."""

from __future__ import annotations

import pytest

from pipeline.domain.limit import Limit, WarmUp, WarmUpStep
from pipeline.domain.sender_choice import find_sender
from pipeline.domain.sender_policy import SenderPolicy
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
from pipeline.domain.window import Window
from pipeline.domain.work import Attachment, Channel, Content
from pipeline.flow import RESULTS, UNCONFIRMED
from pipeline.records import decode_work
from pipeline.settings.calendars import load_calendar
from pipeline.stages.lane.table import Memory, MemoryTag, memory_key, origins_of
from pipeline.stages.ttl import ENTRY
from tests.harness import lane_rig
from tests.harness.lane_rig import T0, Rig, build, policy, work

DOWN = Unknown("503", "down", refused=True)
LOST = Unknown("timeout", "no answer")


@pytest.fixture
def sms() -> Rig:
    return Rig(policy())


@pytest.fixture
def one() -> Rig:
    """A lane that makes one call at a time."""
    return Rig(policy(in_flight=1))


def test_a_touch_is_claimed_before_its_call_and_sent_is_told_with_the_providers_id(sms):
    step = sms.step(work("a"))
    assert [c.works[0].touch_id for c in step.calls] == ["a"]
    assert any(key[:1] == b"c" for key in step.changes), "the claim is in the same transaction"
    sms.answer(Sent(("SM1",)))
    sms.step()
    ((_, event),) = sms.events
    assert (event.state.value, event.provider_message_id, event.attempt) == ("sent", "SM1", 1)
    assert sms.last.open_claims == 0


def test_a_touch_claimed_as_it_arrives_is_never_written_to_the_line(sms):
    assert not [key for key in sms.step(work("a")).changes if key[:1] == b"w"]


def test_lower_priority_goes_first_and_campaigns_take_turns(one):
    one.step(work("x"))
    one.step(
        *[work(f"big{n}", campaign="big") for n in range(4)],
        *[work(f"small{n}", campaign="small") for n in range(2)],
        work("urgent", priority=0),
    )
    order = []
    for _ in range(8):
        order.append(one.calls[0].works[0].touch_id)
        one.answer(Sent(("i",)))
        one.step()
    assert order == ["x", "urgent", "big0", "small0", "big1", "small1", "big2", "big3"]


def test_a_campaign_of_ten_behind_one_of_a_thousand_is_done_in_its_fair_time(one):
    one.step(*[work(f"big{n}", campaign="big") for n in range(400)])
    one.step(*[work(f"small{n}", campaign="small") for n in range(10)])
    calls = 0
    while sum(t.startswith("small") for _, t in one.terminals()) < 10:
        one.answer(Sent(("i",)))
        one.step()
        calls += 1
    assert calls <= 22


def test_a_refusal_backs_off_and_counts_until_the_attempts_are_exhausted():
    rig = Rig(policy(attempts=3))
    rig.step(work("a"))
    for _ in range(3):
        rig.answer(Refused("14107", "loop guard"))
        rig.step()
        rig.now_ms += 10_000
        rig.step(*rig.due())
    assert rig.states() == [("retrying", "backoff"), ("retrying", "backoff"), ("failed", "attempts_exhausted")]
    assert rig.events[-1][1].error_code == "14107"


def test_a_retry_that_would_come_after_expiry_is_expired_at_once(sms):
    sms.step(work("a", expires_at_ms=T0 + 500))
    sms.answer(Refused("x", "later", retry_after_s=10), took_ms=10)
    sms.step()
    assert sms.states() == [("expired", "expires_at")]


def test_a_pause_counts_for_nobody_is_told_once_and_probes_with_one_call(sms):
    sms.step(*[work(f"t{n}") for n in range(30)])
    assert len(sms.calls) == 10
    for _ in range(10):
        sms.answer(Paused("429", "slow down"), took_ms=0)
    sms.step()
    assert sms.states() == [("retrying", "outage")] * 10
    probes = []
    for _ in range(5):
        assert sms.last.wake_ms - sms.now_ms <= 3_000, "at work again within 5 s of recovery"
        sms.now_ms = sms.last.wake_ms
        sms.step()
        probes.append(len(sms.calls))
        sms.answer(Paused("429", "slow down"), took_ms=0)
        sms.step()
    assert probes == [1] * 5
    assert max(sum(e.touch_id == f"t{n}" for _, e in sms.events) for n in range(30)) == 1
    sms.now_ms = sms.last.wake_ms
    sms.step()
    sms.answer(Sent(("i",)), took_ms=0)
    sms.step()
    assert len(sms.calls) == 10, "all at work again"
    assert all(c.works[0].refusals == 0 for c in sms.calls)


def test_a_pause_lasts_as_long_as_the_provider_said(sms):
    sms.step(work("a"))
    sms.answer(Paused("429", "slow down", retry_after_s=40), took_ms=0)
    sms.step()
    assert sms.last.wake_ms == sms.now_ms + 40_000
    assert sms.events[-1][1].next_attempt_at_ms == sms.now_ms + 40_000


FORBIDDEN = Paused("403", "a code that nobody has documented")


@pytest.mark.parametrize("in_flight", [1, 10])
def test_a_touch_that_alone_draws_pausing_answers_steps_aside_and_loses_no_attempt(in_flight):
    rig = Rig(policy(in_flight=in_flight, attempts=2))
    rig.step(work("poison"), *[work(f"t{n}") for n in range(10)])
    tries = []
    for second in range(600):
        rig.now_ms = T0 + second * 1_000
        rig.step(work(f"u{second}"), *rig.due())
        while rig.calls:
            is_poison = rig.calls[0].works[0].touch_id == "poison"
            tries += [second] * is_poison
            rig.answer(FORBIDDEN if is_poison else Sent(("i",)), took_ms=20)
            rig.step()
    assert len(rig.terminals()) > 600, "the others have not waited for it"
    assert len([second for second in tries if second > 300]) < 6, "ever more seldom"
    assert set(rig.states("poison")) == {("retrying", "outage")}
    rig.now_ms = max(at for at, _ in rig.scheduled)
    rig.step(*rig.due())
    while rig.calls:
        rig.answer(Sent(("i",)))
        rig.step()
    assert rig.states("poison")[-1] == ("sent", "")


STRANGE = Paused("99999", "a code that nobody has documented", may_be_the_touch=True)


@pytest.mark.parametrize("in_flight", [1, 10])
def test_what_may_be_the_touchs_fault_counts_once_others_are_sent_and_holds_up_nobody(in_flight):
    rig = Rig(policy(in_flight=in_flight, attempts=3))
    rig.step(*[work(f"t{n}") for n in range(5)], work("poison"), *[work(f"u{n}") for n in range(5)])
    while len(rig.terminals()) < 11:
        while rig.calls:
            rig.answer(STRANGE if rig.calls[0].works[0].touch_id == "poison" else Sent(("i",)), took_ms=20)
            rig.step()
        rig.now_ms += 1_000
        rig.step(*rig.due())
    assert rig.states("poison")[-1] == ("failed", "attempts_exhausted")
    assert rig.events[-1][1].error_code == "99999"
    assert sum(e.state.value == "sent" for _, e in rig.events) == 10
    assert rig.now_ms - T0 < 60_000


def test_what_is_refused_to_all_is_the_accounts_and_burns_nobody():
    rig = Rig(policy(in_flight=1, attempts=2))
    rig.step(*[work(f"t{n}") for n in range(4)])
    asked = []
    for _ in range(40):
        asked.append(rig.calls[0].works[0].touch_id)
        rig.answer(STRANGE, took_ms=20)
        rig.step()
        assert rig.last.breaker_error == STRANGE.error
        rig.now_ms = rig.last.wake_ms
        rig.step()
    assert asked[0] != asked[1], "another probes"
    assert set(asked[:8]) == {"t0", "t1", "t2", "t3"}
    assert set(rig.states()) == {("retrying", "outage")}
    while rig.calls:
        rig.answer(Sent(("i",)), took_ms=20)
        rig.step()
    assert sorted(touch for _, touch in rig.terminals()) == ["t0", "t1", "t2", "t3"]
    assert all(c.refusals == 0 for c in rig.calls)


def test_a_batch_that_is_refused_while_others_are_sent_is_halved_until_one_stands_alone():
    rig = Rig(policy(Channel.EMAIL, batch=4, gather_ms=0, in_flight=1, attempts=2), replays=True, by_text=False)
    rig.step(*[work(f"t{n}", channel=Channel.EMAIL, to=f"p{n}@example.com") for n in range(8)])
    for _ in range(200):
        while rig.calls:
            ids = [each.touch_id for each in rig.calls[0].works]
            rig.answer(STRANGE if "t1" in ids else Sent(tuple(ids)), took_ms=20)
            rig.step()
        rig.now_ms += 1_000
        rig.step(*rig.due())
    assert rig.states("t1")[-1] == ("failed", "attempts_exhausted")
    assert [rig.states(f"t{n}")[-1] for n in range(8) if n != 1] == [("sent", "")] * 7


def probe_until_the_end(retry_for_ms):
    """Let every probe of one touch be forbidden; return when each was made, and the touch's last event."""
    rig, probes = Rig(policy(in_flight=1, retry_for_ms=retry_for_ms)), []
    rig.step(work("a"))
    while rig.calls and len(probes) < 30:
        probes.append(rig.now_ms - T0)
        rig.answer(FORBIDDEN, took_ms=20)
        rig.step()
        if not rig.terminals():
            rig.now_ms = rig.last.wake_ms
            rig.step()
    return probes, rig.events[-1][1]


def test_whose_time_is_over_as_another_has_its_turn_ends_with_what_the_provider_said():
    probes, _ = probe_until_the_end(86_400_000)
    probes, event = probe_until_the_end(probes[19])
    assert len(probes) == 20
    assert (event.state.value, event.error_code, event.error) == ("failed", "403", FORBIDDEN.error)


def test_an_outage_of_a_minute_changes_no_order_and_a_longer_one_sets_nobody_aside():
    rig = Rig(policy(in_flight=1))
    rig.step(*[work(f"t{n}") for n in range(30)])
    probed = []
    while rig.now_ms < T0 + 10 * 60_000:
        probed.append((rig.now_ms - T0, rig.calls[0].works[0].touch_id))
        rig.answer(Paused("429", "slow down"), took_ms=20)
        rig.step()
        rig.now_ms = rig.last.wake_ms
        rig.step()
    assert {touch for at, touch in probed if at < 50_000} == {"t0"}
    assert len({touch for _, touch in probed}) > 3, "each has its turn"
    assert not rig.scheduled
    while rig.calls:
        rig.answer(Sent(("i",)), took_ms=20)
        rig.step()
    assert set(rig.terminals().values()) == {1}
    assert len(rig.terminals()) == 30


def test_a_5xx_pauses_until_another_touch_succeeds_and_counts_from_then_on():
    rig = Rig(policy(in_flight=1, attempts=2))
    rig.step(work("poison"), work("b"), work("c"))
    rig.answer(DOWN)
    rig.step()
    assert rig.last.breaker_until_ms is not None
    rig.now_ms = rig.last.wake_ms
    rig.step()
    assert rig.calls[0].works[0].touch_id == "b", "the probe is another touch"
    rig.answer(Sent(("i",)))
    rig.step()
    rig.answer(Sent(("i",)))
    rig.step()
    for _ in range(2):
        rig.now_ms += 6_000
        rig.step(*rig.due())
        rig.answer(Absent(), rig.asks.pop(0).claim)
        rig.step()
        if rig.calls:
            rig.answer(DOWN)
            rig.step()
    refused = [s for s in rig.states("poison") if s[1] != "looking_up"]
    assert refused == [("retrying", "backoff")], "the second 5xx counted, the first did not"


def test_three_lost_answers_in_a_row_pause_the_lane(sms):
    sms.step(*[work(f"t{n}") for n in range(20)])
    for _ in range(3):
        sms.answer(LOST, took_ms=0)
    sms.step()
    assert sms.last.breaker_until_ms is not None


def test_a_lost_answer_is_asked_after_a_while_and_found(sms):
    sms.step(work("a"))
    sms.answer(LOST)
    sms.step()
    assert (sms.asks, sms.states()) == ([], [("retrying", "looking_up")])
    sms.now_ms = sms.last.wake_ms
    sms.step()
    sms.answer(Sent(("SM7",)), sms.asks.pop().claim)
    sms.step()
    assert sms.states()[-1] == ("sent", "")
    assert sms.events[-1][1].attempt == 1, "a look-up belongs to its claim"


def test_a_lost_answer_that_was_never_accepted_is_sent_under_a_new_claim(sms):
    sms.step(work("a"))
    first = sms.calls[0]
    sms.answer(LOST)
    sms.step()
    sms.now_ms = sms.last.wake_ms
    sms.step()
    sms.answer(Absent(), sms.asks.pop().claim)
    sms.step()
    assert sms.calls[0].claim_id != first.claim_id
    assert sms.calls[0].works[0].attempt == 2


def test_a_provider_that_cannot_tell_is_asked_again_until_the_touch_is_unconfirmed():
    rig = Rig(policy(resolve_for_ms=60_000))
    rig.step(work("a"))
    rig.answer(LOST)
    rig.step()
    asked = 0
    while not rig.terminals():
        rig.now_ms = rig.last.wake_ms
        rig.step()
        if rig.asks:
            asked += 1
            rig.answer(AskLater("away"), rig.asks.pop().claim)
            rig.step()
    assert asked > 3
    assert rig.states()[-1] == ("unconfirmed", "no_answer")
    assert rig.now_ms - T0 <= 61_000


def test_what_ends_unconfirmed_leaves_its_question_in_the_same_step():
    rig = Rig(policy(resolve_for_ms=1_000))
    rig.step(work("a", origin=3))
    claim = rig.calls[0]
    rig.answer(LOST)
    rig.step()
    rig.now_ms += 2_000
    step = rig.step()
    assert {(out.topic, out.partition, out.key) for out in step.outputs} == {(RESULTS, 3, b"a"), (UNCONFIRMED, 3, b"a")}
    assert any(key[:1] == b"c" and value is None for key, value in step.changes.items()), "the claim is closed with it"
    ((_, _, left),) = rig.left
    assert (left.work.touch_id, left.occurred_at_ms, left.error, left.resolution) == (
        "a",
        rig.now_ms,
        "no answer",
        None,
    )
    assert (left.claim.claim_id, left.claim.request, left.claim.claimed_ms) == (
        claim.claim_id,
        claim.request,
        claim.claimed_ms,
    )


def test_each_touch_of_a_batch_leaves_a_question_of_its_own_without_the_batchs_bytes():
    rig = Rig(policy(Channel.EMAIL), replays=True, by_text=False)
    rig.step(*[work(f"t{n}", channel=Channel.EMAIL, to=f"p{n}@example.com", origin=n) for n in range(3)])
    claim = rig.calls[0]
    rig.answer(LOST)
    rig.step()
    rig.answer(Unanswerable("its key has expired"), claim)
    rig.step()
    assert rig.states()[-3:] == [("unconfirmed", "no_answer")] * 3
    assert [(partition, key, left.error) for partition, key, left in rig.left] == [
        (n, f"t{n}".encode(), "its key has expired") for n in range(3)
    ]
    for n, (_, _, left) in enumerate(rig.left):
        assert [each.touch_id for each in left.claim.works] == [f"t{n}"]
        assert (left.claim.request.handle, left.claim.request.body) == (claim.request.handle, b"")


def test_unresolved_send_sends_again_instead():
    rig = Rig(policy(unresolved="send"))
    rig.step(work("a"))
    rig.answer(LOST)
    rig.step()
    rig.now_ms = rig.last.wake_ms
    rig.step()
    rig.answer(Unanswerable("its key has expired"), rig.asks.pop().claim)
    rig.step()
    assert len(rig.calls) == 1
    assert rig.left == []


def test_a_claim_found_open_by_a_successor_is_a_question_and_only_after_its_call_can_no_longer_run(sms):
    sms.step(work("a"))
    claim = sms.calls[0]
    sms.now_ms += 100
    sms.takeover()
    sms.step()
    assert (sms.calls, sms.asks) == ([], [])
    assert sms.last.wake_ms == claim.lease_until_ms + 10_000 + 2_000 + 5_000
    sms.now_ms = sms.last.wake_ms
    sms.step()
    assert [a.claim.claim_id for a in sms.asks] == [claim.claim_id]


def test_a_successor_with_a_shorter_request_timeout_waits_for_the_longer_one_of_the_claim():
    rig = Rig(policy(request_timeout_ms=60_000))
    rig.step(work("t"))
    [claim] = rig.calls
    rig.policy = policy(request_timeout_ms=1_000)
    rig.takeover()
    rig.step()
    assert rig.last.wake_ms == claim.lease_until_ms + 60_000 + 2_000 + 5_000


def test_twins_wait_for_each_other_and_never_take_each_others_message(sms):
    sms.step(work("a", to="+12125550000", body="same"), work("b", to="+12125550000", body="same"), work("c"))
    assert [c.works[0].touch_id for c in sms.calls] == ["a", "c"]
    sms.answer(Sent(("SM1",)))
    sms.step()
    assert sms.calls[-1].works[0].touch_id == "b"
    sms.answer(LOST, sms.calls[-1])
    sms.step()
    sms.now_ms += 10_000
    sms.step()
    assert sms.asks[0].known_ids == {"SM1"}


def test_what_is_not_in_its_window_is_deferred_to_the_first_opening():
    rig = Rig(policy(window=Window(9 * 3600, 20 * 3600, "America/New_York", margin_ms=5_000)))
    rig.now_ms = 1_700_000_000_000 - 7 * 3_600_000  # 10:13 in New York
    rig.step(work("open"), work("later", not_before_ms=rig.now_ms + 12 * 3_600_000))
    rig.now_ms += 11 * 3_600_000
    rig.step(work("night"))
    (_, later), (_, night) = rig.events
    assert (later.reason.value, night.reason.value) == ("not_before", "window")
    assert later.next_attempt_at_ms == night.next_attempt_at_ms
    assert (night.next_attempt_at_ms // 1000 - 5 * 3600) % 86_400 == 9 * 3600
    assert decode_work(rig.scheduled[0][1]).returns == 1


def test_a_lease_ends_with_the_window_and_with_expiry():
    rig = Rig(policy(window=Window(9 * 3600, 20 * 3600, "America/New_York", margin_ms=5_000)))
    rig.now_ms = 1_700_010_000_000 - 2_000 + (20 * 3600 - ((1_700_010_000 - 5 * 3600) % 86_400)) * 1000 - 5_000
    rig.step(work("a"), work("b", expires_at_ms=rig.now_ms + 700))
    assert [c.lease_until_ms - rig.now_ms for c in rig.calls] == [2_000, 700]


def test_the_gate_is_asked_again_after_waiting_for_the_limit():
    window = Window(9 * 3600, 20 * 3600, "UTC", margin_ms=5_000)
    rig = Rig(
        policy(limit=Limit(1, 3_600_000), window=window), now_ms=T0 - T0 % 86_400_000 + 19 * 3_600_000 + 1_800_000
    )
    rig.step(work("a"), work("b"))
    rig.answer(Sent(("i",)), took_ms=0)
    rig.step()
    closes_ms = rig.now_ms + 1_800_000
    assert (rig.last.wake_ms, rig.calls) == (closes_ms - 5_000, []), "an hour to wait, half an hour of window"
    rig.now_ms += 3_700_000
    rig.step()
    assert (rig.calls, rig.states("b")) == ([], [("deferred", "window")])


def test_the_request_is_told_when_its_window_closes(monkeypatch):
    told = []
    monkeypatch.setattr(
        lane_rig,
        "build",
        lambda works, claim_id, lease_until_ms, closes_ms: (
            told.append(closes_ms),
            build(works, claim_id, lease_until_ms, closes_ms),
        )[1],
    )
    window = Window(9 * 3600, 20 * 3600, "UTC", margin_ms=5_000)
    for more, closes_s in [
        ({"window": window}, 20 * 3600),
        ({"calendar": load_calendar("us-2026.1", {}, 5_000)}, 21 * 3600),
    ]:
        rig = Rig(policy(**more), now_ms=T0 - T0 % 86_400_000 + 19 * 3_600_000)
        rig.step(work("a", to="+12125550123", time_zone="UTC"))
        assert told.pop() == T0 - T0 % 86_400_000 + closes_s * 1_000


def test_the_line_is_emptied_into_the_scheduler_when_the_window_closes():
    rig = Rig(policy(in_flight=1, window=Window(9 * 3600, 20 * 3600, "America/New_York", margin_ms=5_000)))
    rig.now_ms = 1_700_000_000_000 - 7 * 3_600_000
    rig.step(*[work(f"t{n}") for n in range(50)])
    rig.now_ms += 12 * 3_600_000
    rig.step()
    assert (rig.last.waiting, len(rig.scheduled)) == (0, 49)


def test_the_first_send_goes_at_once_and_the_warm_up_is_slower():
    rig = Rig(
        policy(in_flight=5, limit=Limit(30, 60_000), warm_up=WarmUp((WarmUpStep(Limit(10, 60_000), 7 * 86_400_000),)))
    )
    rig.step(*[work(f"t{n}") for n in range(3)])
    assert len(rig.calls) == 1
    assert 5_900 < rig.last.wake_ms - rig.now_ms < 6_100
    rig.now_ms += 8 * 86_400_000
    rig.step(work("x"), work("y"))
    assert 1_900 < rig.last.wake_ms - rig.now_ms < 2_100
    assert rig.last.hold.why == "30 per 1m"


def test_a_warm_up_faster_than_the_limit_keeps_the_limit():
    rig = Rig(policy(in_flight=5, limit=Limit(1, 60_000), warm_up=WarmUp((WarmUpStep(Limit(10, 60_000), 86_400_000),))))
    rig.step(work("a"), work("b"))
    rig.answer(Sent(("i",)))
    rig.step()
    assert (rig.calls, rig.last.hold.why) == ([], "1 per 1m")
    assert rig.last.wake_ms >= T0 + 60_000


def test_a_lane_looks_again_when_the_next_step_of_the_warm_up_begins():
    steps = (WarmUpStep(Limit(1, 86_400_000), 3_600_000), WarmUpStep(Limit(10, 60_000), 7_200_000))
    rig = Rig(policy(in_flight=5, limit=Limit(30, 60_000), warm_up=WarmUp(steps)))
    rig.step(work("a"), work("b"))
    rig.answer(Sent(("i",)))
    rig.step()
    assert rig.last.wake_ms == T0 + 3_600_000, "not a day later, when the first step's limit would allow it"
    rig.now_ms = rig.last.wake_ms
    rig.step()
    assert [c.works[0].touch_id for c in rig.calls] == ["b"]


def test_a_call_that_was_never_begun_gives_its_place_in_the_limit_back():
    rig = Rig(policy(in_flight=1, limit=Limit(1, 60_000)))
    rig.step(work("a"))
    rig.answer(Unbegun(), took_ms=5)
    rig.step()
    assert len(rig.calls) == 1


class TestEmail:
    @pytest.fixture
    def rig(self):
        return Rig(policy(Channel.EMAIL, gather_ms=50), replays=True, by_text=False)

    def mails(self, count, **more):
        return [work(f"m{n}", channel=Channel.EMAIL, to=f"p{n}@example.com", **more) for n in range(count)]

    def test_an_idle_lane_waits_a_moment_for_company_and_takes_up_to_a_hundred(self, rig):
        rig.step(*self.mails(3))
        assert (rig.calls, rig.last.wake_ms) == ([], rig.now_ms + 50)
        rig.now_ms += 50
        rig.step(*self.mails(150)[3:])
        assert [len(c.works) for c in rig.calls] == [100, 50]

    def test_a_message_with_attachments_goes_alone(self, rig):
        first, second, third = self.mails(3)
        attached = replace(second, content=Content(subject="s", body="b", attachments=(Attachment("f", content=b"x"),)))
        rig.step(first, attached, third)
        rig.now_ms += 50
        rig.step()
        assert [[w.touch_id for w in c.works] for c in rig.calls] == [["m0"], ["m1"], ["m2"]]

    def test_a_batch_refused_for_one_touch_is_halved_until_it_is_alone(self, rig):
        rig.step(*self.mails(100))
        calls = 0
        while rig.calls or rig.last.waiting:
            if rig.calls:
                claim = rig.calls[0]
                ids = tuple(w.touch_id for w in claim.works)
                bad = "m37" in ids
                rig.answer(
                    (Split("validation_error", "m37") if len(ids) > 1 else Rejected("v", "m37")) if bad else Sent(ids),
                    took_ms=1,
                )
                calls += 1
            rig.now_ms += 60
            rig.step()
        assert calls <= 15
        assert [e.touch_id for _, e in rig.events if e.state.value == "failed"] == ["m37"]
        assert {e.state.value for _, e in rig.events} == {"failed", "sent"}, "no attempt burnt, no record"

    def test_a_lost_batch_is_replayed_as_it_was_under_the_same_key(self, rig):
        rig.step(*self.mails(5))
        rig.now_ms += 50
        rig.step()
        claim = rig.calls[0]
        rig.answer(LOST)
        rig.step(*self.mails(9)[5:])
        ask = rig.asks.pop()
        assert (ask.claim.request, [w.touch_id for w in ask.claim.works]) == (
            claim.request,
            [w.touch_id for w in claim.works],
        )
        assert ask.claim.lease_until_ms > claim.lease_until_ms
        rig.answer(DOWN, ask.claim)
        rig.step()
        rig.now_ms += 10_000
        rig.step()
        assert [a.claim.claim_id for a in rig.asks] == [], "a paused lane probes with fresh touches first"
        rig.answer(Sent(tuple("abcd")))
        rig.step()
        again = next(a for a in rig.asks if a.claim.claim_id == claim.claim_id)
        assert again.claim.request == claim.request, "refused, but still frozen"

    @pytest.mark.parametrize(
        ("first", "end"), [(DOWN, ("failed", "attempts_exhausted")), (LOST, ("unconfirmed", "no_answer"))]
    )
    def test_a_replay_that_is_refused_again_and_again_has_failed_unless_an_answer_was_lost_before(self, first, end):
        rig = Rig(
            policy(Channel.EMAIL, gather_ms=0, batch=1, attempts=2, resolve_for_ms=60_000), replays=True, by_text=False
        )
        poison, *others = self.mails(30)
        rig.step(poison)
        answer = first
        for other in others:
            rig.answer(
                answer,
                next((c for c in [*rig.calls, *(a.claim for a in rig.asks)] if c.works[0].touch_id == "m0"), None),
            )
            rig.asks.clear()
            answer = DOWN
            rig.step()
            rig.now_ms += 4_000  # past the pause
            rig.step(other)  # its success makes the next 5xx count
            rig.answer(Sent(("i",)), next(c for c in rig.calls if c.works[0].touch_id == other.touch_id))
            rig.step()
            while not rig.asks and "m0" not in [touch_id for _, touch_id in rig.terminals()]:
                rig.now_ms = max(rig.now_ms + 1, rig.last.wake_ms)
                rig.step()
            if not rig.asks:
                break
        assert rig.states("m0")[-1] == end

    def test_a_replay_counts_against_the_limit(self):
        rig = Rig(policy(Channel.EMAIL, gather_ms=0, limit=Limit(1, 10_000)), replays=True, by_text=False)
        rig.step(*self.mails(1))
        rig.answer(LOST, took_ms=100)
        rig.step()
        assert rig.asks == []
        assert rig.last.wake_ms >= T0 + 10_000


class TestAddresses:
    def test_the_same_touch_from_another_partition_is_told_there_too_and_sent_once(self, sms):
        sms.step(work("a", origin=0), work("a", origin=3))
        assert len(sms.calls) == 1
        sms.answer(Sent(("i",)))
        sms.step(work("b"))
        sms.step(work("a", origin=5))
        assert sorted(p for p, e in sms.events if e.touch_id == "a" and e.state.value == "sent") == [0, 3, 5]

    def test_other_content_is_another_touch(self, sms):
        sms.step(work("a", origin=0), work("a", origin=3, digest=b"e" * 16, body="other"))
        assert len(sms.calls) == 2

    def test_work_of_another_sender_is_handed_on(self):
        two = (SenderPolicy("one", 0), SenderPolicy("two", 3))
        rig = Rig(policy(senders=two))
        rig.step(work("a", sender="two"), work("b", sender="gone"), replace(work("c", sender="gone"), pinned=True))
        assert {(o.topic, o.partition) for o in rig.forwarded} <= {("touches.sms", 0), ("touches.sms", 3)}
        assert len(rig.forwarded) == 2
        assert rig.states() == [("failed", "unknown_sender")]

    def test_a_lane_whose_sender_has_gone_empties_its_line(self):
        rig = Rig(policy(in_flight=1, senders=(SenderPolicy("default", 0), SenderPolicy("other", 1))))
        rig.step(*[work(f"t{n}") for n in range(4)])
        rig.policy = policy(senders=(SenderPolicy("other", 1),))
        rig.takeover()
        rig.step()
        assert [(o.partition, decode_work(o.value).sender) for o in rig.forwarded] == [(1, "other")] * 3
        assert rig.last.open_claims == 1, "what was claimed stays here, and is settled here"

    def drained(self, rig, *, others=("other",), **more):
        """The same lane once its sender is disabled."""
        rig.policy = policy(
            senders=(
                SenderPolicy("default", 0, is_enabled=False),
                *(SenderPolicy(name, n + 1) for n, name in enumerate(others)),
            ),
            **more,
        )
        rig.takeover()
        rig.step()

    def test_a_disabled_sender_hands_its_backlog_on_in_order_and_settles_what_it_has_claimed(self):
        rig = Rig(policy(in_flight=1))
        rig.step(*[work(f"t{n}") for n in range(1_200)])
        claim = rig.calls[0]
        self.drained(rig)
        while rig.last.waiting:
            assert rig.last.wake_ms == rig.now_ms
            rig.step(work("late") if rig.last.waiting < 300 else work("fresh"))
        handed = [decode_work(o.value) for o in rig.forwarded]
        assert [w.touch_id for w in handed] == [*(f"t{n}" for n in range(1, 1_200)), "fresh", "late"]
        assert {(o.partition, w.sender) for o, w in zip(rig.forwarded, handed, strict=True)} == {(1, "other")}
        rig.now_ms = claim.lease_until_ms + 60_000
        rig.step()
        rig.answer(Sent(("SM1",)), rig.asks.pop().claim)
        rig.step(work("new"))
        assert (rig.last.open_claims, rig.calls, rig.states("t0")[-1]) == (0, [], ("sent", ""))

    def test_what_a_disabled_sender_did_not_send_goes_to_another(self):
        rig = Rig(policy(in_flight=1))
        rig.step(work("a"))
        self.drained(rig)
        rig.now_ms += 60_000
        rig.step()
        rig.answer(Absent(), rig.asks.pop().claim)
        rig.step()
        (out,) = rig.forwarded
        assert (out.partition, decode_work(out.value).attempt, rig.last.open_claims) == (1, 1, 0)

    def test_the_backlog_is_shared_out_by_the_same_choice_as_new_touches(self):
        rig = Rig(policy(in_flight=1))
        rig.step(*[work(f"t{n}", to=f"+12125550{n:03d}") for n in range(200)])
        self.drained(rig, others=("one", "two", "three"))
        for out in rig.forwarded:
            handed = decode_work(out.value)
            assert find_sender(rig.policy, None, handed.to) == SenderPolicy(handed.sender, out.partition)
        assert {o.partition for o in rig.forwarded} == {1, 2, 3}

    def test_a_touch_that_pins_a_disabled_sender_fails(self):
        rig = Rig(policy(in_flight=1))
        rig.step(work("a"), replace(work("b"), pinned=True))
        self.drained(rig)
        assert rig.states("b") == [("failed", "unknown_sender")]
        assert "disabled" in rig.events[-1][1].error

    def test_an_e_mail_whose_from_nobody_else_has_fails(self):
        rig = Rig(policy(Channel.EMAIL, gather_ms=50), replays=True, by_text=False)
        mine = work("m", channel=Channel.EMAIL, to="p@example.com")
        rig.step(replace(mine, content=replace(mine.content, from_="me@example.com")))
        self.drained(rig, channel=Channel.EMAIL)
        assert rig.states() == [("failed", "invalid")]

    def test_what_is_handed_on_is_told_to_all_who_asked(self):
        rig = Rig(policy(in_flight=1))
        rig.step(work("x"), work("a", origin=0), work("a", origin=3))
        self.drained(rig)
        assert [decode_work(o.value).origin for o in rig.forwarded] == [0, 3]
        other = Rig(rig.policy, lane_number=1)
        other.step(*[o.value for o in rig.forwarded])
        other.answer(Sent(("i",)))
        other.step()
        assert [p for p, e in other.events if e.state.value == "sent"] == [0, 3]

    def test_what_is_handed_on_is_known_when_its_topic_is_read_again_and_new_when_it_comes_back(self):
        rig = Rig(policy(in_flight=1))
        rig.step(work("x"), work("a"))
        self.drained(rig)
        (there,) = rig.forwarded
        back_to = (SenderPolicy("default", 0), SenderPolicy("other", 1, is_enabled=False))
        other = Rig(policy(senders=back_to), lane_number=1)
        other.step(there.value)
        rig.policy = policy(in_flight=2)
        rig.takeover()
        rig.step(work("a"))
        assert (rig.calls, rig.last.repeats) == ([], 1), "read again"
        rig.step(other.forwarded[0].value)
        assert [c.works[0].touch_id for c in rig.calls] == ["a"], "not lost when it comes back"

    def test_what_is_handed_on_is_forgotten_in_time(self):
        rig = Rig(policy(in_flight=1))
        rig.step(work("x"), work("a"))
        self.drained(rig)
        assert rig.table.get(ENTRY + memory_key(work("a"))) is not None
        rig.now_ms += rig.lane._config.dedup_for_ms + 1
        rig.step()
        assert rig.table.get(ENTRY + memory_key(work("a"))) is None

    def test_what_comes_back_from_the_scheduler_is_known_to_the_lane_it_is_handed_to(self):
        rig = Rig(policy(senders=(SenderPolicy("default", 0, is_enabled=False), SenderPolicy("other", 1))))
        rig.step(work("a", returns=1))
        other = Rig(rig.policy, lane_number=1)
        other.step(rig.forwarded[0].value)
        other.step(work("a", sender="other", origin=2))
        assert (len(other.calls), other.last.waiting, other.last.repeats) == (1, 0, 1), "told, not sent, again"

    def test_a_repeat_of_what_is_claimed_here_is_not_handed_on(self):
        rig = Rig(policy(in_flight=1))
        rig.step(work("a"))
        self.drained(rig)
        rig.step(work("a", origin=4), work("a", origin=5, sender="gone"))
        assert rig.forwarded == []

    def test_with_the_channel_off_the_line_fails(self):
        rig = Rig(policy(in_flight=1))
        rig.step(work("a"), work("b"))
        rig.policy = policy(senders=())
        rig.takeover()
        rig.step()
        assert ("failed", "channel_off") in rig.states()


def test_a_drain_settles_but_claims_nothing(one):
    one.step(work("a"), work("b"))
    one.answer(Sent(("i",)))
    one.step(is_stopping=True)
    assert (one.states(), one.calls) == ([("sent", "")], [])
    one.step()
    assert len(one.calls) == 1


def test_retry_for_ends_what_would_go_on_for_ever():
    rig = Rig(policy(in_flight=1, retry_for_ms=60_000))
    rig.step(work("a"))
    while not rig.terminals():
        rig.answer(Paused("connection", "refused"), took_ms=10)
        rig.step()
        rig.now_ms = rig.last.wake_ms or rig.now_ms
        rig.step()
    assert rig.states()[-1] == ("failed", "attempts_exhausted")
    assert rig.events[-1][1].occurred_at_ms - T0 < 70_000


# --- a channel topic that is read again from before its end ---------------------------------------------------------------


def test_what_came_back_from_the_scheduler_is_taken_in_once_however_often_its_topic_is_read():
    rig = Rig(policy())
    rig.step(work("t"))
    rig.answer(Refused("14107", "loop guard"))
    rig.step()
    rig.now_ms += 10_000
    (back,) = rig.due()
    rig.step(back)
    rig.answer(Refused("14107", "loop guard"))
    rig.step()
    rig.now_ms += 10_000
    (second,) = rig.due()
    rig.takeover()  # and the topic is read from its beginning
    rig.step(work("t"), back)
    assert rig.calls == []
    rig.step(second, second)
    assert len(rig.calls) == 1
    rig.answer(Sent(("M1",)))
    rig.step()
    rig.takeover()
    rig.step(work("t"), back, second)
    assert rig.calls == []
    assert rig.last.repeats == 3
    assert [s for s in rig.states() if s[0] == "sent"] == [("sent", "")] * 4, (
        "told again to who asks again, for the dedup to drop"
    )


def test_a_touch_under_way_from_an_earlier_version_is_taken_in_when_it_comes_back():
    rig = Rig(policy())
    rig.step(replace(work("t"), returns=3))
    assert len(rig.calls) == 1


@pytest.mark.parametrize("returns", [0, 1, 300])
def test_the_memory_of_a_touch_under_way_keeps_its_homes_and_its_returns(returns):
    memory = Memory(MemoryTag.RETURNED if returns else MemoryTag.UNDER_WAY, (1, 70_000), returns)
    value = memory.pack()
    assert Memory.unpack(value) == memory
    assert value == (b"b" + returns.to_bytes(4, "big") if returns else b"a") + b"\0\0\0\1" + b"\0\1\x11\x70"
    assert origins_of(memory, work("t")) == (1, 70_000)
