"""What a lane tells of itself in touches.lanes: when something changes, seldom, and the truth."""

from __future__ import annotations

from datetime import UTC, datetime

from pipeline.domain.limit import Limit
from pipeline.domain.verdict import Paused, Sent
from pipeline.domain.window import Window
from pipeline.stages.lane.told import STILL_MS, TELL_MS
from tests.harness.lane_rig import T0, Rig, policy, work
from tests.harness.ordered import Ordered

NINE_TO_FIVE = Window(9 * 3_600, 17 * 3_600, "UTC")


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


def shown(rig: Rig) -> dict:
    return rig.reports[-1].shown()


def pass_by(rig: Rig, ms: int) -> None:
    """Let time pass as the agent does: a step at each instant the lane asked for."""
    end_ms = rig.now_ms + ms
    for _ in range(1_000):
        asked = [each for each in (rig.last.wake_ms, rig.last.tell_ms) if each is not None and each <= end_ms]
        if not asked:
            rig.now_ms = end_ms
            return
        rig.now_ms = max(min(asked), rig.now_ms + 1)
        rig.step()
    raise AssertionError("it asks for one step after the other")


def test_a_lane_says_at_its_first_step_what_it_is():
    rig = Rig(policy())
    rig.step()
    assert shown(rig) == {
        "channel": "sms",
        "sender": "default",
        "lane": 0,
        "backlog": 0,
        "parked": 0,
        "open_claims": 0,
        "held_by": [],
        "orders": [],
        "window_open": True,
        "next_opens_at": None,
        "last_sent_at": None,
        "reported_at": T0,
    }


def test_a_lane_with_nothing_to_do_says_nothing_and_asks_for_no_step():
    rig = Rig(policy())
    rig.step()
    assert rig.last.tell_ms is None
    for _ in range(50):
        rig.now_ms += 3_600_000
        rig.step()
    assert len(rig.reports) == 1


def test_what_changes_is_told_once_in_a_while_and_at_last():
    rig = Rig(policy(in_flight=1))
    rig.step()
    for number in range(100):
        rig.step(work(f"t{number}"))
        rig.answer(Sent((f"M{number}",)))
        rig.step()
    took_ms = rig.now_ms - T0
    assert took_ms == 100 * 50
    assert len(rig.reports) <= 1 + took_ms // TELL_MS
    pass_by(rig, TELL_MS)
    assert shown(rig)["last_sent_at"] == T0 + took_ms
    assert (shown(rig)["backlog"], shown(rig)["open_claims"]) == (0, 0)
    assert len(rig.reports) <= 2 + took_ms // TELL_MS
    pass_by(rig, 10 * STILL_MS)
    assert len(rig.reports) <= 2 + took_ms // TELL_MS, "it is idle"


def test_a_lane_that_has_something_to_do_says_each_minute_that_it_is_still_so():
    rig = Rig(policy(limit=Limit(1, 10**9)))
    rig.step(work("a"), work("b"), work("c"))
    rig.answer(Sent(("M1",)))
    rig.step()
    pass_by(rig, TELL_MS)
    told, before = len(rig.reports), shown(rig)
    assert (before["backlog"], before["held_by"]) == (2, ["limit"])
    assert rig.reports[-1].held_until_ms > rig.now_ms
    pass_by(rig, 10 * STILL_MS)
    assert len(rig.reports) - told == 10
    assert {**shown(rig), "reported_at": 0} == {**before, "reported_at": 0}


def test_an_outage_is_told_with_its_next_probe():
    rig = Rig(policy())
    rig.step(work("a"))
    rig.answer(Paused("connection", "refused"))
    rig.step()
    pass_by(rig, TELL_MS + 1_000)
    assert shown(rig)["held_by"] == ["outage"]
    assert rig.reports[-1].held_until_ms is not None


def test_orders_are_named_and_what_they_park_is_counted():
    rig = Rig(policy(), control=Ordered())
    rig.step()
    rig.control.pause("campaign=c")
    rig.step(work("a"), work("b"))
    rig.now_ms += TELL_MS
    rig.step()
    assert (shown(rig)["parked"], shown(rig)["orders"], shown(rig)["held_by"]) == (2, [], [])
    rig.control.pause("channel=sms", until_ms=rig.now_ms + 60_000)
    rig.control.pause("all")
    rig.step()
    assert shown(rig)["orders"] == ["pause:channel=sms", "pause:all"]
    assert shown(rig)["held_by"] == ["order"]
    assert rig.reports[-1].held_until_ms is None


def test_how_far_it_obeys_is_told_at_once():
    rig = Rig(policy(), control=Ordered())
    rig.step()
    rig.control.pause("campaign=x")
    rig.step()
    assert [each.control_in_force for each in rig.reports] == [0, 1]


def test_the_window_is_told_when_it_closes_and_opens_although_nothing_arrives():
    rig = Rig(policy(window=NINE_TO_FIVE), now_ms=at("2026-06-01T16:00"))
    rig.step()
    assert (shown(rig)["window_open"], shown(rig)["next_opens_at"]) == (True, None)
    pass_by(rig, 2 * 3_600_000)
    assert (shown(rig)["window_open"], shown(rig)["next_opens_at"]) == (False, at("2026-06-02T09:00"))
    pass_by(rig, 16 * 3_600_000)
    assert (shown(rig)["window_open"], shown(rig)["next_opens_at"]) == (True, None)
    assert len(rig.reports) == 3


def test_a_new_owner_tells_it_anew_and_remembers_when_it_last_sent():
    rig = Rig(policy())
    rig.step(work("a"))
    rig.answer(Sent(("M",)))
    rig.step()
    sent_ms = rig.now_ms
    rig.takeover()
    rig.now_ms += 100
    rig.step()
    assert shown(rig)["last_sent_at"] == sent_ms
    assert shown(rig)["reported_at"] == rig.now_ms


def test_the_other_outputs_and_changes_of_a_step_do_not_depend_on_what_is_told():
    rig = Rig(policy())
    rig.step()
    rig.now_ms += TELL_MS
    rig.step()
    assert (rig.last.outputs, rig.last.changes) == ([], {}), "a step that tells nothing commits nothing"
