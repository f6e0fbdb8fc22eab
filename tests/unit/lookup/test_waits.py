"""Why a touch has not gone yet: one word for each case, and until when."""

from __future__ import annotations

import pytest

from pipeline.domain.hours import Never
from pipeline.domain.order import Action, Order, PlacedOrder, Target
from pipeline.domain.story import TERMINAL
from pipeline.domain.window import Closed, Open
from pipeline.lookup.waits import Why, waits
from pipeline.records.lane_report import LaneReport

NOW = 1_700_000_000_000
OPEN = Open(None, None)
LATER = NOW + 60_000


def touch(state="accepted", reason=None, next_ms=None, **more):
    status = {"state": state, "reason": reason, "next_attempt_at": next_ms}
    named = {"touch_id": "t", "campaign_id": "spring", "lead_id": "ann", "channel": "sms", "sender": "main"}
    return {**named, "state": state, "reason": reason, "statuses": [status], **more}


def lane(*held, until_ms=None, open_claims=None):
    return LaneReport(
        channel="sms",
        sender="main",
        lane=0,
        control_seen=0,
        control_in_force=0,
        suppressions_seen=0,
        suppressions_in_force=0,
        parked=0,
        at_ms=NOW,
        open_claims=open_claims,
        held_by=held,
        held_until_ms=until_ms,
    )


def order(action=Action.PAUSE, *, offset=0, until_ms=None, at_ms=NOW - 5, **target):
    named = Target.of({name: str(value) for name, value in target.items()}, is_all=not target)
    return PlacedOrder(offset, Order(action, named, note="n", by="me", at_ms=at_ms, until_ms=until_ms))


def said(a_touch, *orders, report=None, hours=OPEN, now_ms=NOW):
    found = waits(a_touch, orders, report, hours, now_ms)
    return None if found is None else (found["why"], found["until"], found["orders"])


@pytest.mark.parametrize("state", sorted(TERMINAL))
def test_what_has_ended_waits_for_nothing(state):
    assert said(touch(state), order()) is None


def test_a_touch_whose_statuses_are_gone_says_nothing():
    assert waits({**touch(), "state": None, "reason": None, "statuses": []}, [], None, OPEN, NOW) is None


def test_an_order_holds_it_whatever_else_does():
    pause = order(campaign="spring")
    for each in (touch(), touch("deferred", "paused"), touch("deferred", "window", LATER)):
        assert said(each, pause, report=lane("limit")) == ("order", None, ["pause:campaign=spring"])


def test_several_orders_are_named_oldest_first_until_the_last_of_them_ends():
    first, second = order(offset=1, until_ms=NOW + 5, lead="ann"), order(offset=2, until_ms=NOW + 9, channel="sms")
    assert said(touch(), second, first) == ("order", NOW + 9, ["pause:lead=ann", "pause:channel=sms"])
    assert said(touch(), second, first, order(offset=3)) == (
        "order",
        None,
        ["pause:lead=ann", "pause:channel=sms", "pause:all"],
    )


@pytest.mark.parametrize(
    "other",
    [
        order(campaign="autumn"),
        order(channel="sms", sender="second"),
        order(Action.CANCEL, campaign="spring"),
        order(campaign="spring", until_ms=NOW),
        order(campaign="spring", until_ms=NOW - 5),
    ],
    ids=["another campaign", "another sender", "a cancel", "over", "resumed"],
)
def test_an_order_that_does_not_hold_it_is_not_named(other):
    assert said(touch("deferred", "paused"), other) == ("turn", None, [])


def test_a_lost_answer_is_looked_up_in_spite_of_orders():
    assert said(touch("retrying", "looking_up", LATER), order()) == ("looking_up", LATER, [])
    assert said(touch("retrying", "looking_up", NOW - 1)) == ("looking_up", None, [])
    assert said(touch("retrying", "looking_up", NOW - 1), report=lane(open_claims=1)) == ("looking_up", None, [])


def test_a_touch_that_was_not_sent_after_all_is_back_in_line():
    assert said(touch("retrying", "looking_up", NOW - 1), report=lane("limit", open_claims=0)) == ("limit", None, [])


@pytest.mark.parametrize("reason", ["window", "not_before"])
def test_a_deferred_touch_waits_until_its_next_attempt(reason):
    assert said(touch("deferred", reason, LATER)) == (reason, LATER, [])
    assert said(touch("deferred", reason, NOW)) == ("turn", None, [])


def test_a_refused_touch_waits_for_its_next_attempt():
    assert said(touch("retrying", "backoff", LATER)) == ("backoff", LATER, [])
    assert said(touch("retrying", "backoff", NOW)) == ("turn", None, [])


def test_a_lane_whose_breaker_is_open_is_an_outage():
    assert said(touch("retrying", "outage", LATER)) == ("outage", LATER, [])
    assert said(touch(), report=lane("outage", "limit", until_ms=LATER)) == ("outage", LATER, [])
    assert said(touch("retrying", "outage", NOW - 1), report=lane()) == ("turn", None, [])


@pytest.mark.parametrize("held", ["limit", "daily_cap", "gap"])
def test_a_lane_that_is_held_says_by_what_and_until_when_at_the_earliest(held):
    assert said(touch(), report=lane(held, until_ms=LATER)) == (held, LATER, [])
    assert said(touch(), report=lane(held, until_ms=NOW)) == (held, None, [])


def test_the_daily_cap_says_more_than_the_limit_and_the_gap():
    assert said(touch(), report=lane("gap", "limit", "daily_cap"))[0] == "daily_cap"


def test_closed_hours_are_known_without_a_report():
    assert said(touch(), hours=Closed(LATER)) == ("window", LATER, [])
    assert said(touch(), hours=Closed(LATER), report=lane("limit")) == ("window", LATER, [])


def test_a_window_that_has_opened_since_the_report_holds_no_more():
    assert said(touch(), report=lane("window", until_ms=LATER)) == ("window", LATER, [])
    assert said(touch(), report=lane("window", until_ms=NOW)) == ("turn", None, [])


@pytest.mark.parametrize("report", [None, lane()])
@pytest.mark.parametrize("hours", [None, OPEN, Never()])
def test_else_it_is_not_its_turn(report, hours):
    assert said(touch(), report=report, hours=hours) == ("turn", None, [])


def test_every_word_has_its_test():
    words = {
        said(touch("deferred", "window", LATER))[0],
        said(touch("deferred", "not_before", LATER))[0],
        said(touch("retrying", "backoff", LATER))[0],
        said(touch("retrying", "looking_up", LATER))[0],
        said(touch(), order())[0],
        *(said(touch(), report=lane(held))[0] for held in ("outage", "limit", "daily_cap", "gap")),
        said(touch())[0],
    }
    assert words == set(Why)
