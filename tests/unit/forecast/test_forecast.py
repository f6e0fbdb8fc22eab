"""What is foreseen of a backlog, lane by lane, campaign by campaign."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.domain.limit import Limit
from pipeline.domain.sender_policy import SenderPolicy
from pipeline.domain.story import State
from pipeline.domain.value import replace
from pipeline.domain.verdict import Paused, Sent
from pipeline.domain.window import Window
from pipeline.domain.work import Channel, Scheduled
from pipeline.forecast import Backlog, Forecast, LaneRows, forecast, per_bucket
from pipeline.forecast.table import SortedTable
from pipeline.records import encode_work
from pipeline.stage_io import MemoryTable
from tests.harness.lane_rig import DOWN, LOST, T0, Rig, policy, work
from tests.harness.ordered import Ordered

SECOND = 1_000
HOUR = 3_600 * SECOND
ONE_PER_2S = Limit(1, 2 * SECOND)


def backlog(*works, lane=0, rows=None, deferred=()) -> Backlog:
    """These touches on the way to a lane, whose table has `rows`; others deferred until their instant."""
    later = [Scheduled(at_ms, w.channel, lane, w.touch_id, encode_work(replace(w, returns=1))) for at_ms, w in deferred]
    channel = works[0].channel if works else Channel.SMS
    return Backlog([LaneRows(channel, lane, dict(rows or {}), [encode_work(w) for w in works])], later)


def foresee(found: Backlog, *policies, now_ms=T0, **how) -> Forecast:
    return forecast(found, {each.channel: each for each in policies or [policy()]}, now_ms, **how)


def done_s(foreseen: Forecast) -> list[float]:
    return [(lane.done_ms - foreseen.now_ms) / 1000 for lane in foreseen.lanes]


def test_without_a_backlog_there_is_nothing_to_foresee():
    foreseen = foresee(backlog())
    assert (foreseen.left, foreseen.lanes, foreseen.campaigns) == (0, [], [])


def test_what_orders_hold_is_foreseen_as_if_it_were_free_now():
    orders = Ordered()
    rig = Rig(policy(in_flight=1), control=orders)
    rig.step(work("under way", campaign="d"))
    orders.pause("campaign=c")
    rig.step(work("parked"), work("waiting", campaign="d"))
    orders.pause("channel=sms")
    rig.step()
    foreseen = foresee(backlog(rows=rig.table._rows), rig.policy, now_ms=rig.now_ms)
    assert foreseen.left == 3
    assert [(lane.ends[State.SENT], lane.is_done) for lane in foreseen.lanes] == [(3, True)]
    assert {each.name: each.left for each in foreseen.campaigns} == {"c": 1, "d": 2}


def test_a_limited_lane_sends_one_call_after_the_other():
    foreseen = foresee(backlog(*(work(f"t{n}") for n in range(5))), policy(limit=ONE_PER_2S), latency_ms=100)
    [lane] = foreseen.lanes
    assert (lane.waiting, lane.deferred, lane.ends[State.SENT]) == (5, 0, 5)
    assert done_s(foreseen) == [4 * 2.1 + 0.1], "the call before must have ended 2 s ago"
    assert lane.held_by == "1 per 2s"
    assert [at - T0 for at in lane.sent_ms] == [100, 2_200, 4_300, 6_400, 8_500]


def test_an_unlimited_lane_is_bound_by_how_long_its_calls_take():
    foreseen = foresee(backlog(*(work(f"t{n}") for n in range(30))), policy(in_flight=10), latency_ms=500)
    assert done_s(foreseen) == [1.5]
    assert foreseen.lanes[0].held_by == "answers of the provider"


def test_a_call_takes_as_long_as_the_latest_calls_took():
    rig = Rig(policy(limit=Limit(3, SECOND), in_flight=1))
    rig.step(*(work(f"t{n}") for n in range(10)))
    for _ in range(3):
        rig.answer(Sent((None,)), took_ms=700)
        rig.step()
    [lane] = foresee(backlog(rows=rig.table._rows), rig.policy, now_ms=rig.now_ms).lanes
    assert (lane.latency_ms, lane.is_measured) == (700, True)
    [lane] = foresee(backlog(work("t"))).lanes
    assert (lane.latency_ms, lane.is_measured) == (200, False)


def test_a_call_under_way_comes_home_and_holds_nobody_up_for_longer():
    rig = Rig(policy(limit=ONE_PER_2S))
    rig.step(work("a"), work("b"))
    foreseen = foresee(backlog(rows=rig.table._rows), rig.policy, now_ms=rig.now_ms, latency_ms=100)
    assert [at - T0 for at in foreseen.lanes[0].sent_ms] == [100, 2_200]
    assert foreseen.left == 2


def test_a_claim_that_is_looked_up_is_resolved_after_its_next_look():
    rig = Rig(policy(resolve_after_ms=30 * SECOND))
    rig.step(work("a"))
    rig.answer(LOST)
    rig.step()
    foreseen = foresee(backlog(rows=rig.table._rows), rig.policy, now_ms=rig.now_ms, latency_ms=100)
    assert done_s(foreseen) == [30.1]


def test_a_claim_nobody_can_be_calling_any_more_is_asked_about():
    rig = Rig(policy(lease_ms=5 * SECOND, request_timeout_ms=10 * SECOND, resolve_after_ms=30 * SECOND))
    rig.step(work("a"))
    foreseen = foresee(backlog(rows=rig.table._rows), rig.policy, now_ms=T0 + HOUR, latency_ms=100)
    assert done_s(foreseen) == [30.1]


def test_a_deferred_touch_joins_its_lane_when_it_is_due():
    foreseen = foresee(backlog(work("now"), deferred=[(T0 + HOUR, work("later"))]), latency_ms=100)
    [lane] = foreseen.lanes
    assert (lane.waiting, lane.deferred) == (1, 1)
    assert done_s(foreseen) == [3_600.1]
    assert lane.held_by == "not due yet"


def test_a_window_that_closes_stops_the_lane_until_it_opens_again():
    window = Window(9 * 3600, 20 * 3600, "UTC")
    closes_ms = T0 - T0 % (24 * HOUR) + 20 * HOUR
    begun_ms = closes_ms - 5 * SECOND
    foreseen = foresee(
        backlog(*(work(f"t{n}") for n in range(5))),
        policy(window=window, limit=ONE_PER_2S),
        now_ms=begun_ms,
        latency_ms=100,
    )
    assert per_bucket(foreseen.lanes[0].sent_ms, closes_ms - HOUR, HOUR, 15) == [3, *[0] * 13, 2]
    assert foreseen.lanes[0].held_by == "closed window"


def test_a_daily_cap_goes_on_the_next_day():
    capped = policy(senders=(SenderPolicy("default", 0, daily_cap=2),))
    foreseen = foresee(backlog(*(work(f"t{n}") for n in range(5))), capped)
    midnight_ms = T0 - T0 % (24 * HOUR)
    assert per_bucket(foreseen.lanes[0].sent_ms, midnight_ms, 24 * HOUR, 4) == [2, 2, 1, 0]
    assert foreseen.lanes[0].held_by == "daily cap of 2"


def test_what_expires_before_its_turn_is_expired_and_not_sent():
    foreseen = foresee(
        backlog(*(work(f"t{n}", expires_at_ms=T0 + 3 * SECOND) for n in range(5))),
        policy(limit=ONE_PER_2S),
        latency_ms=100,
    )
    assert foreseen.lanes[0].ends == {State.SENT: 2, State.EXPIRED: 3}
    assert foreseen.campaigns[0].ends == {State.SENT: 2, State.EXPIRED: 3}


def test_a_campaign_of_a_lower_priority_is_done_first():
    large = [work(f"l{n}", campaign="large") for n in range(20)]
    urgent = [work(f"u{n}", campaign="urgent", priority=0) for n in range(3)]
    foreseen = foresee(backlog(*large, *urgent), policy(limit=ONE_PER_2S), latency_ms=100)
    done = {each.name: (each.left, each.done_ms - T0) for each in foreseen.campaigns}
    assert done == {"urgent": (3, 2 * 2_100 + 100), "large": (20, 22 * 2_100 + 100)}


def test_a_campaign_over_several_channels_is_done_with_its_last():
    mail = [work("m", channel=Channel.EMAIL, to="a@example.com")]
    both = Backlog([*backlog(work("s")).lanes, *backlog(*mail).lanes])
    foreseen = foresee(both, policy(), policy(Channel.EMAIL, limit=None), latency_ms=100)
    [campaign] = foreseen.campaigns
    assert campaign.channels == {Channel.SMS, Channel.EMAIL}
    assert campaign.left == 2
    assert campaign.done_ms == max(lane.done_ms for lane in foreseen.lanes)


@pytest.mark.parametrize("answer", [Paused("401", "key refused", 600.0), Paused("connection", "refused"), DOWN])
def test_a_paused_lane_is_foreseen_to_go_on_at_the_end_of_its_pause(answer):
    rig = Rig(policy(in_flight=1, resolve_after_ms=SECOND))
    rig.step(work("a"), work("b"))
    rig.answer(answer)
    rig.step()
    foreseen = foresee(backlog(rows=rig.table._rows), rig.policy, now_ms=rig.now_ms, latency_ms=100)
    [lane] = foreseen.lanes
    assert lane.outage == answer.error
    assert lane.ends[State.SENT] == 2
    assert (
        lane.sent_ms[0] - rig.now_ms
        == (600.0 if isinstance(answer, Paused) and answer.retry_after_s else 1.0) * 1000 + 100
    )


def test_the_backlog_of_a_disabled_sender_is_sent_by_those_who_have_it_then():
    two = policy(senders=(SenderPolicy("gone", 0, is_enabled=False), SenderPolicy("stays", 1)), limit=ONE_PER_2S)
    foreseen = foresee(backlog(*(work(f"t{n}", sender="gone") for n in range(3))), two, latency_ms=100)
    gone, stays = foreseen.lanes
    assert (gone.left, gone.ends.total(), gone.done_ms) == (3, 0, T0)
    assert (stays.left, stays.ends[State.SENT], stays.done_ms) == (0, 3, T0 + 4_300)


def test_what_is_not_done_within_the_time_looked_at_has_no_end():
    slow = policy(limit=Limit(1, 60 * SECOND))
    foreseen = foresee(backlog(*(work(f"t{n}") for n in range(5))), slow, at_most_ms=100 * SECOND)
    assert [each.done_ms for each in (*foreseen.lanes, *foreseen.campaigns)] == [None, None]
    assert foreseen.lanes[0].ends[State.SENT] == 2


def test_the_backlog_itself_is_not_changed():
    rig = Rig(policy(limit=ONE_PER_2S))
    rig.step(*(work(f"t{n}") for n in range(5)))
    before = dict(rig.table._rows)
    found = backlog(rows=rig.table._rows)
    foresee(found, rig.policy)
    assert found.lanes[0].rows == before == rig.table._rows


@given(
    st.lists(
        st.dictionaries(st.sampled_from([b"a", b"b", b"ba", b"c"]), st.none() | st.binary(max_size=2), max_size=8),
        max_size=12,
    )
)
def test_the_sorted_table_shows_what_any_table_shows(steps):
    plain, kept = MemoryTable({}), SortedTable({})
    for step in steps:
        changes = {b"w" + key: value for key, value in step.items()}
        plain.apply(changes)
        kept.apply(changes)
        assert list(kept.scan(b"w", b"w\x80")) == list(plain.scan(b"w", b"w\x80"))


def test_the_sorted_table_keeps_no_memory_of_what_has_ended_nor_of_what_was_deleted():
    table = SortedTable({b"ex": b"1", b"tx": b"1", b"wa": b"1"})
    table.apply({b"ey": b"1", **{b"w%d" % n: b"1" for n in range(5_000)}})
    table.apply({b"w%d" % n: None for n in range(5_000)})
    assert (table.get(b"ex"), table.get(b"ey"), list(table.scan(b"", b"\xff"))) == (None, None, [(b"wa", b"1")])
    assert len(table._keys) == 1
