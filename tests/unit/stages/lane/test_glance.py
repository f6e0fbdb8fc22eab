"""What a lane shows to who looks: how long the oldest touch has been due, the window, the last message."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.domain.limit import Limit
from pipeline.domain.verdict import Paused, Sent
from pipeline.domain.window import RECIPIENT, Window
from pipeline.domain.work import Channel
from pipeline.stages.lane.glance import due_ms
from tests.harness.lane_rig import T0, Rig, policy, work

NEVER_AGAIN = Limit(1, 10**12)
HOUR = 3_600_000


def look(rig):
    return rig.lane.glance(rig.table, rig.now_ms)


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


def test_a_lane_where_nothing_waits_has_nothing_due():
    rig = Rig(policy())
    rig.step()
    assert look(rig) == (None, True, None)


def test_the_oldest_touch_is_due_since_it_was_accepted_or_since_its_not_before():
    rig = Rig(policy(limit=NEVER_AGAIN))
    rig.step(work("gone", accepted_ms=T0 - 9_000))
    rig.step(work("a", accepted_ms=T0 - 5_000, not_before_ms=T0 - 1_000), work("b", accepted_ms=T0 - 3_000))
    assert look(rig).oldest_due_ms == T0 - 3_000


def test_a_touch_that_waited_for_its_window_is_due_since_the_opening():
    rig = Rig(policy(limit=NEVER_AGAIN, window=Window(9 * 3_600, 17 * 3_600, "UTC")), now_ms=at("2026-06-01T10:00"))
    rig.step(work("gone", accepted_ms=rig.now_ms))
    rig.step(work("a", accepted_ms=at("2026-05-31T22:00")))
    assert look(rig).oldest_due_ms == at("2026-06-01T09:00")


def test_an_outage_makes_no_touch_younger_and_a_refusal_does():
    rig = Rig(policy(limit=None, in_flight=1))
    rig.step(work("a", accepted_ms=T0 - 60_000))
    rig.answer(Paused("connection", "refused"))
    rig.step()
    assert look(rig).oldest_due_ms == T0 - 60_000
    rig.now_ms += 5_000
    rig.step()
    rig.answer(Sent(("M",)))
    rig.step()
    sent_ms = rig.now_ms
    assert look(rig) == (None, True, sent_ms)
    rig.takeover()
    assert look(rig).last_sent_ms == sent_ms, "a successor knows it"
    refused = work("b", accepted_ms=T0, refusals=1, last_call_ms=T0 + 7_000)
    assert due_ms(rig.lane._config, refused) == T0 + 7_000


def test_a_touch_of_an_older_version_does_not_say_when_it_became_due():
    rig = Rig(policy(limit=NEVER_AGAIN))
    rig.step(work("gone"), work("a", accepted_ms=0))
    assert look(rig).oldest_due_ms is None


def test_the_window_is_that_of_the_touch_whose_turn_it_is():
    theirs = Window(9 * 3_600, 17 * 3_600, RECIPIENT, "UTC")
    rig = Rig(policy(limit=NEVER_AGAIN, window=theirs), now_ms=at("2026-06-01T20:00"))
    rig.step()
    assert not look(rig).is_open
    rig.step(*(work(name, accepted_ms=1, time_zone="America/New_York") for name in "ab"))
    assert rig.lane._index.state.waiting == 1
    assert look(rig).is_open


def test_the_oldest_touch_may_have_the_next_turn_behind_many_that_came_later():
    rig = Rig(policy(in_flight=1))
    first = [work(f"a{n}", campaign="a", accepted_ms=T0 + n) for n in range(2)]
    rig.step(*first, *(work(f"b{n}", campaign=f"b{n}", accepted_ms=T0 + 100 + n) for n in range(20)))
    rig.now_ms += 1_000
    assert look(rig).oldest_due_ms == T0 + 1


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from([0, 5, 9]), st.integers(0, 4)), min_size=1, max_size=60))
def test_it_is_the_oldest_of_all_that_wait_whatever_the_order_of_service(arrivals):
    """Campaigns take turns and priorities go first: the oldest touch is found among the first few rows all the same."""
    rig = Rig(policy(Channel.SMS, in_flight=1))
    waiting = {}
    for number, (campaign, priority, answered) in enumerate(arrivals):
        rig.now_ms += 10
        touch_id = f"t{number}"
        waiting[touch_id] = rig.now_ms
        rig.step(work(touch_id, campaign=f"c{campaign}", priority=priority, accepted_ms=rig.now_ms))
        for _ in range(answered):
            if rig.calls:
                rig.answer(Sent(("M",)), took_ms=0)
                rig.step()
        for claim in rig.lane._index.claims.values():
            for each in claim.works:
                waiting.pop(each.touch_id, None)
        for _, event in rig.events:
            waiting.pop(event.touch_id, None)
        assert look(rig).oldest_due_ms == min(waiting.values(), default=None)
