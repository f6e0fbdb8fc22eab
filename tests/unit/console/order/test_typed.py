"""What an operator types: instants, targets, and the lanes that they concern; and how an order is shown."""

from __future__ import annotations

import dataclasses
import json

import pytest

from pipeline.channels.registry import SPECS
from pipeline.console.operator import until_ms
from pipeline.console.order.target import lanes_of
from pipeline.console.order.view import ShownOrder, done_line, json_of, list_line, named_line
from pipeline.domain.order import Action, Order, Target
from pipeline.domain.policy import ChannelPolicy
from pipeline.domain.sender_policy import SenderPolicy
from pipeline.domain.work import Channel

NOW_MS = 1_800_000_000_000


@pytest.mark.parametrize(
    ("text", "at_ms"),
    [
        ("now", NOW_MS),
        ("1s", NOW_MS + 1_000),
        ("2h", NOW_MS + 7_200_000),
        ("2027-01-15T08:00:00Z", NOW_MS),
        ("2027-01-15T09:00:00+01:00", NOW_MS),
    ],
)
def test_until_is_now_a_duration_from_now_or_an_instant(text: str, at_ms: int):
    assert until_ms(text, NOW_MS) == at_ms


@pytest.mark.parametrize(
    "text", ["", "soon", "2h ago", "-2h", "2027-01-15", "2027-01-15T08:00:00", "1800000000000", "1"]
)
def test_anything_else_is_no_until(text: str):
    with pytest.raises(ValueError, match="neither a duration"):
        until_ms(text, NOW_MS)


@pytest.mark.parametrize("text", ["99999999d", "3000000d", "9999-12-31T23:59:59Z"])
def test_an_until_that_no_calendar_has_is_refused_before_anything_is_written(text: str):
    with pytest.raises(ValueError, match="further ahead than can be meant"):
        until_ms(text, NOW_MS)


def policies(**senders: list[str]) -> dict[Channel, ChannelPolicy]:
    return {
        channel: ChannelPolicy(
            SPECS[channel],
            tuple(SenderPolicy(name, lane) for lane, name in enumerate(senders.get(channel, []))),
            window=None,
            limit=None,
            warm_up=None,
        )
        for channel in Channel
    }


@pytest.mark.parametrize(
    ("target", "lanes"),
    [
        (Target(is_all=True), ["email/x", "sms/a", "sms/b"]),
        (Target(campaign="c"), ["email/x", "sms/a", "sms/b"]),
        (Target(channel=Channel.SMS), ["sms/a", "sms/b"]),
        (Target(channel=Channel.SMS, sender="b", lead="ann"), ["sms/b"]),
        (Target(channel=Channel.WHATSAPP), []),
    ],
)
def test_an_order_concerns_the_lanes_of_the_senders_that_its_target_can_match(target: Target, lanes: list[str]):
    assert lanes_of(target, policies(email=["x"], sms=["a", "b"])) == lanes


ORDER = Order(Action.PAUSE, Target(campaign="ü"), note="wrong\x1b[31m price", by="ann b", at_ms=NOW_MS)
UNTIL = Order(Action.PAUSE, Target(campaign="ü"), note="n", by="ann", at_ms=NOW_MS, until_ms=NOW_MS + 1)


def test_what_others_typed_cannot_steer_a_terminal():
    assert named_line(ORDER) == "pause:campaign=%C3%BC, ann b, 2027-01-15T08:00:00.000Z: wrong?[31m price"
    assert list_line(ORDER, "pending") == (
        'pause:campaign=%C3%BC pending  2027-01-15T08:00:00.000Z - "ann b" wrong?[31m price'
    )
    assert "\x1b" not in json_of(ShownOrder(order=ORDER, offset=1, missing=[], touches=None))


def test_an_order_is_in_force_when_it_is_written_and_no_lane_is_missing():
    assert ShownOrder(order=ORDER, offset=0, missing=[], touches=None).is_in_force
    assert not ShownOrder(order=ORDER, offset=0, missing=["sms/a"], touches=None).is_in_force
    assert not ShownOrder(order=ORDER, offset=None, missing=[], touches=None).is_in_force


def test_the_line_that_ends_a_command_says_until_when_and_how_many():
    shown = ShownOrder(order=UNTIL, offset=0, missing=[], touches=1_234)
    assert done_line(shown, "is in force") == (
        "pause:campaign=%C3%BC is in force, until 2027-01-15T08:00:00.001Z; 1,234 touches of it have not ended"
    )
    assert json.loads(json_of(shown, state="in_force"))["state"] == "in_force"


def test_the_line_says_that_nothing_matches_yet():
    shown = ShownOrder(order=ORDER, offset=0, missing=[], touches=0)
    assert done_line(shown, "is in force").endswith(" is in force; no touch that has not ended matches it yet")


def test_a_cancel_that_has_ended_its_touches_already_does_not_say_that_nothing_matches():
    cancel = dataclasses.replace(ORDER, action=Action.CANCEL)
    given = ShownOrder(order=cancel, offset=0, missing=[], touches=0)
    assert done_line(given, "is in force").endswith(
        " is in force; no touch of it is left: each has ended, or none has come yet"
    )
    rehearsed = ShownOrder(order=cancel, offset=None, missing=[], touches=0)
    assert done_line(rehearsed, "would be ordered").endswith("; no touch that has not ended matches it yet")


def test_one_touch_is_told_as_one():
    shown = ShownOrder(order=ORDER, offset=0, missing=[], touches=1)
    assert done_line(shown, "is in force").endswith("; 1 touch of it has not ended")
