"""Orders: what is written is what is read, and a target takes exactly the touches that it names."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.domain.order import MEMBERS, Action, Order, Target
from pipeline.domain.work import Channel

IDS = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=40)
HOUR_MS = 3_600_000


@st.composite
def targets(draw):
    if draw(st.booleans()) and draw(st.booleans()):
        return Target(is_all=True)
    channel = draw(st.none() | st.sampled_from(Channel))
    ids = {name: draw(st.none() | IDS) for name in ("campaign", "lead", "touch")}
    sender = draw(st.none() | IDS) if channel else None
    if channel is None and not any(ids.values()):
        ids["campaign"] = draw(IDS)
    return Target(channel=channel, sender=sender, **ids)


@given(targets())
def test_a_target_is_read_as_it_was_written(target):
    assert Target.parse(target.written) == target


@given(targets())
def test_a_written_target_has_no_letter_that_a_key_must_not_have(target):
    assert re.fullmatch(r"([a-z]+=[A-Za-z0-9._~%-]+)(;[a-z]+=[A-Za-z0-9._~%-]+)*|all", target.written)


def test_the_members_of_a_target_are_written_in_one_order_with_upper_case_escapes():
    target = Target(touch="t:1", lead="ann=ü;", campaign="spring 26", channel=Channel.SMS, sender="a/b")
    assert target.written == "campaign=spring%2026;channel=sms;sender=a%2Fb;lead=ann%3D%C3%BC%3B;touch=t%3A1"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "campaign",
        "campaign=",
        "channel=fax",
        "sender=a",
        "colour=red",
        "channel=sms;campaign=spring",
        "campaign=a;campaign=a",
        "all;channel=sms",
        "campaign=a b",
        "campaign=%c3%bc",
        "campaign=%FF",
        "campaign=a;",
        "ALL",
    ],
)
def test_text_that_is_no_target_is_refused(text):
    with pytest.raises(ValueError, match=r".+"):
        Target.parse(text)


@pytest.mark.parametrize(
    "members",
    [{}, {"is_all": True, "channel": Channel.SMS}, {"sender": "a"}, {"campaign": ""}, {"touch": "", "lead": "a"}],
)
def test_a_target_without_a_sense_is_refused(members):
    with pytest.raises(ValueError, match=r".+"):
        Target(**members)


TOUCH = {"campaign_id": "spring", "lead_id": "ann", "touch_id": "t-1", "channel": "sms", "sender": "a"}


@pytest.mark.parametrize(
    ("target", "is_meant"),
    [
        (Target(is_all=True), True),
        (Target(campaign="spring"), True),
        (Target(campaign="spring", channel=Channel.SMS, sender="a", lead="ann", touch="t-1"), True),
        (Target(campaign="autumn"), False),
        (Target(campaign="spring", channel=Channel.EMAIL), False),
        (Target(channel=Channel.SMS, sender="b"), False),
        (Target(lead="ann"), True),
        (Target(lead="bob", touch="t-1"), False),
        (Target(touch="t-1"), True),
        (Target(touch="t-2"), False),
    ],
)
def test_every_member_of_a_target_must_hold(target, is_meant):
    assert target.matches(**TOUCH) is is_meant


def test_only_targets_of_all_channel_and_sender_hold_the_lane():
    assert Target(is_all=True).holds_lane
    assert Target(channel=Channel.SMS).holds_lane
    assert Target(channel=Channel.SMS, sender="a").holds_lane
    assert not Target(channel=Channel.SMS, campaign="spring").holds_lane
    assert not Target(lead="ann").holds_lane
    assert not Target(touch="t-1").holds_lane


def test_the_reason_of_a_cancel_is_the_narrowest_member_of_its_target():
    everything = {"touch": "t-1", "lead": "ann", "campaign": "spring", "sender": "a", "channel": Channel.SMS}
    reasons = []
    while everything:
        reasons.append(Target(**everything).reason.value)
        del everything[reasons[-1]]
    assert reasons == ["touch", "lead", "campaign", "sender", "channel"]


def test_a_target_in_json_is_its_members_or_all():
    assert Target(channel=Channel.SMS, campaign="ü").as_json() == {"campaign": "ü", "channel": "sms"}
    assert Target(is_all=True).as_json() == "all"
    assert list(Target(touch="t", lead="l", campaign="c", channel=Channel.SMS, sender="s").named) == list(MEMBERS)


def order(action: Action, at_ms: int, until_ms: int | None) -> Order:
    return Order(action, Target(campaign="spring"), note="n", by="ann", at_ms=at_ms, until_ms=until_ms)


def test_the_key_of_an_order_is_its_action_and_its_target():
    assert order(Action.PAUSE, 0, None).key == "pause:campaign=spring"
    assert order(Action.CANCEL, 0, None).key == "cancel:campaign=spring"


@given(st.integers(0, 2**42))
def test_a_pause_without_an_end_is_never_over(now_ms):
    assert not order(Action.PAUSE, HOUR_MS, None).is_over(now_ms)


def test_a_pause_is_over_at_its_until():
    pause = order(Action.PAUSE, 0, HOUR_MS)
    assert not pause.is_over(HOUR_MS - 1)
    assert pause.is_over(HOUR_MS)


@given(st.integers(0, 2**42), st.integers(0, 2**42))
def test_a_pause_that_ends_when_it_begins_is_over_whatever_the_clock_says(at_ms, now_ms):
    assert order(Action.PAUSE, at_ms, at_ms).is_over(now_ms)


def test_a_cancel_takes_what_was_accepted_up_to_its_until_and_is_remembered_after_it():
    cancel = order(Action.CANCEL, 0, HOUR_MS)
    assert cancel.takes(0)
    assert cancel.takes(HOUR_MS)
    assert not cancel.takes(HOUR_MS + 1)
    assert not cancel.is_over(2 * HOUR_MS - 1, remembered_ms=HOUR_MS)
    assert cancel.is_over(2 * HOUR_MS, remembered_ms=HOUR_MS)


def test_a_cancel_without_until_takes_what_was_accepted_before_it():
    cancel = order(Action.CANCEL, HOUR_MS, None)
    assert cancel.takes(HOUR_MS)
    assert not cancel.takes(HOUR_MS + 1)


def test_an_order_is_forgotten_when_it_was_over_for_long_enough():
    for ended in (order(Action.PAUSE, 0, HOUR_MS), order(Action.CANCEL, 0, HOUR_MS), order(Action.PAUSE, HOUR_MS, 0)):
        assert not ended.is_forgotten(2 * HOUR_MS - 1, remembered_ms=HOUR_MS)
        assert ended.is_forgotten(2 * HOUR_MS, remembered_ms=HOUR_MS)
    assert not order(Action.PAUSE, 0, None).is_forgotten(2**42, remembered_ms=HOUR_MS)


def test_a_pause_takes_no_touch():
    assert not order(Action.PAUSE, 0, None).takes(0)
