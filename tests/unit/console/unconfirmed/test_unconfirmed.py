"""Touches that ended unconfirmed: sent once more as another touch, resolved once, shown without steering a terminal."""

from __future__ import annotations

import base64
import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.console.resubmit import again_id, touch_again
from pipeline.console.unconfirmed.view import json_of, line_of
from pipeline.console.unconfirmed.work import OperatorAnswer, ask, resolved
from pipeline.domain import value
from pipeline.domain.rules import is_touch_id
from pipeline.domain.sender_policy import SenderPolicy
from pipeline.domain.unconfirmed import Resolved, Unconfirmed
from pipeline.domain.work import Channel, Claim, Request
from pipeline.kafka.cluster import CommandFailed
from pipeline.records.single_object import encode
from tests.harness.lane_rig import T0, work
from tests.harness.route_rig import EMAIL, SMS, Entrance

SENT, NOT_SENT = Resolved.SENT, Resolved.NOT_SENT


def left(touch_id="t-1", **more) -> Unconfirmed:
    claim = Claim(
        "c1", (work(touch_id, to="+12125552368", **more),), Request("/send", b"", "text/plain", ""), T0, T0 + 5_000
    )
    return Unconfirmed(claim, T0 + 60_000, "no answer")


# --- once more ---------------------------------------------------------------------------------------------------


@pytest.fixture
def door(tmp_path):
    for name, files in {
        "html": {"email.html": "<p>{{ name }} & co</p>", "subject.txt": "For {{ name }}"},
        "text": {"email.txt": "Hi {{ name }}", "subject.txt": "For {{ name }}"},
        "both": {
            "email.html": "<p>{{ name }}</p>",
            "email.txt": "Hi {{ name }}",
            "subject.txt": "s",
            "sms.txt": "Hi {{ name }}",
            "whatsapp.txt": "Hello *{{ name }}*",
        },
    }.items():
        (tmp_path / name).mkdir()
        for file, text in files.items():
            (tmp_path / name / file).write_text(text)
    return Entrance(tmp_path, whatsapp=(SenderPolicy("default", 0),))


FILE = base64.b64encode(b"\x00\xff%PDF").decode()
SHAPES = {
    "sms": SMS,
    "sms, template, pinned": {
        **SMS,
        "body": None,
        "template": "both",
        "variables": {"name": "Ann"},
        "sender": "default",
    },
    "whatsapp": {**SMS, "channel": "whatsapp", "body": "Hi \U0001f44b\n\x01"},
    "whatsapp, template": {
        **SMS,
        "channel": "whatsapp",
        "body": None,
        "template": "both",
        "variables": {"name": "Ann"},
    },
    "html": EMAIL,
    "text": {**EMAIL, "body": None, "text": "hi"},
    "html and text": {**EMAIL, "text": "hi"},
    "html and a text that is to stay empty": {**EMAIL, "text": ""},
    "template, html": {**EMAIL, "subject": None, "body": None, "template": "html", "variables": {"name": "Ann <b>"}},
    "template, text": {**EMAIL, "subject": None, "body": None, "template": "text", "variables": {"name": "Ann"}},
    "template, both, own subject": {
        **EMAIL,
        "body": None,
        "subject": "mine",
        "template": "both",
        "variables": {"name": "Ann"},
    },
    "attachments": {
        **EMAIL,
        "attachments": [
            {"filename": "a.pdf", "content_type": "application/pdf", "content": FILE},
            {"filename": "empty", "content": ""},
            {"filename": "b.png", "url": "https://example.com/b.png"},
        ],
    },
    "from, reply-to, headers": {
        **EMAIL,
        "from": "b@example.com",
        "reply_to": "Re@Example.com",
        "headers": {"List-Unsubscribe": "<https://example.com/u>", "X-A": ""},
    },
    "everything else": {
        **SMS,
        "time_zone": "America/Denver",
        "priority": 0,
        "metadata": {"k": "v", "resends": "older"},
        "expires_at": T0 + 10**9,
        "not_before": T0 - 5,
        "created_at": 1,
        "lead_id": "Zoë",
        "campaign_id": "ü|",
    },
}


@pytest.mark.parametrize("touch", SHAPES.values(), ids=SHAPES)
def test_the_same_words_go_to_the_same_person_again_as_another_touch(door, touch):
    ((topic, lane, first),) = door.give(touch).works
    again = encode("touch", touch_again(first))
    ((same_topic, same_lane, second),) = door.give(again).works
    assert (same_topic, same_lane) == (topic, lane)
    assert second.metadata == {**first.metadata, "resends": touch["touch_id"]}
    assert second.touch_id == f"{touch['touch_id']}:again"
    own = {"touch_id": "", "metadata": {}, "digest": b"", "created_at_ms": 0, "not_before_ms": None}
    assert value.replace(second, **own) == value.replace(first, **own)
    assert door.give(again).works == [], "produced twice, it goes once"
    assert door.dead == []


@given(st.text("aZ0._:-", min_size=1, max_size=128))
def test_a_touch_id_has_another_one_for_its_second_time_always_the_same(touch_id):
    again = again_id(touch_id)
    assert is_touch_id(again)
    assert again == again_id(touch_id) != touch_id
    assert again.endswith(":again")


def test_two_long_touch_ids_that_begin_alike_have_two():
    assert again_id("a" * 127 + "b") != again_id("a" * 127 + "c")


# --- resolved once -----------------------------------------------------------------------------------------------


def test_what_is_not_resolved_takes_any_answer():
    sent = resolved(left(), OperatorAnswer(SENT, "SM1"), T0)
    assert (sent.resolution, sent.provider_message_id, sent.resolved_at_ms, sent.resent_as) == (SENT, "SM1", T0, None)
    not_sent = resolved(left(), OperatorAnswer(NOT_SENT), T0)
    assert (not_sent.resolution, not_sent.provider_message_id, not_sent.resent_as) == (NOT_SENT, None, "t-1:again")


def test_the_same_answer_again_changes_nothing():
    for answer in (OperatorAnswer(SENT), OperatorAnswer(SENT, "SM1"), OperatorAnswer(NOT_SENT)):
        assert resolved(resolved(left(), answer, T0), answer, T0 + 5) is None
    assert resolved(resolved(left(), OperatorAnswer(SENT, "SM1"), T0), OperatorAnswer(SENT), T0) is None


def test_an_id_may_be_told_later():
    assert (
        resolved(resolved(left(), OperatorAnswer(SENT), T0), OperatorAnswer(SENT, "SM1"), T0).provider_message_id
        == "SM1"
    )


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        (OperatorAnswer(SENT, "SM1"), OperatorAnswer(NOT_SENT), "recorded as sent (SM1) since"),
        (OperatorAnswer(NOT_SENT), OperatorAnswer(SENT), "recorded as not sent since"),
        (OperatorAnswer(SENT, "SM1"), OperatorAnswer(SENT, "SM2"), "recorded as sent (SM1) since"),
    ],
)
def test_another_answer_is_refused_unless_it_overrules(first, second, said):
    known = resolved(left(), first, T0)
    with pytest.raises(CommandFailed) as refused:
        resolved(known, second, T0 + 5)
    assert said in str(refused.value)
    assert resolved(known, replace(second, overrules=True), T0 + 5).resolution is second.resolution


def test_who_overrules_not_sent_still_sees_as_what_it_was_produced():
    known = resolved(left(), OperatorAnswer(NOT_SENT), T0)
    assert resolved(known, OperatorAnswer(SENT, overrules=True), T0).resent_as == "t-1:again"


# --- asking ------------------------------------------------------------------------------------------------------


class FakeContext:
    def __init__(self, sender=None, now_ms=T0):
        self.sender_of = lambda _channel, _name: sender
        self.now_ms = lambda: now_ms


class Replaying:
    replays = True


class LookingUp:
    replays = False


@pytest.mark.parametrize(
    ("context", "said"),
    [
        (FakeContext(), "sms has no sender 'default' any more"),
        (FakeContext(Replaying()), "https://resend.com/emails"),
        (FakeContext(LookingUp(), T0 + 31 * 86_400_000), "older than 30 days"),
    ],
)
async def test_nobody_is_asked_who_cannot_tell_or_might_send(context, said):
    with pytest.raises(CommandFailed) as refused:
        await ask(context, {}, left(), print)
    assert said in str(refused.value)


# --- shown -------------------------------------------------------------------------------------------------------


def test_a_line_says_when_who_where_and_why():
    assert line_of(left()) == "2023-11-14T22:14:20.000Z t-1 sms      default +12125552368 no answer"


def test_a_resolved_line_says_how():
    assert " sent=2023-11-14T22:13:20.000Z id=SM1 no answer" in line_of(
        resolved(left(), OperatorAnswer(SENT, "SM1"), T0)
    )
    assert " not_sent=2023-11-14T22:13:20.000Z again=t-1:again no answer" in line_of(
        resolved(left(), OperatorAnswer(NOT_SENT), T0)
    )


def test_nothing_in_it_steers_a_terminal():
    nasty = replace(resolved(left(), OperatorAnswer(SENT, "S\x1b[2J"), T0), error="a\x1b[2J\nb")
    assert "\x1b" not in line_of(nasty) + json_of(nasty)
    assert "\n" not in line_of(nasty)


def test_json_says_the_same_and_leaves_out_what_is_absent():
    said = json.loads(json_of(left()))
    assert said == {
        "touch_id": "t-1",
        "campaign_id": "c",
        "lead_id": "lead-t-1",
        "channel": "sms",
        "sender": "default",
        "to": "+12125552368",
        "occurred_at": T0 + 60_000,
        "claimed_at": T0,
        "error": "no answer",
    }
    assert json.loads(json_of(resolved(left(), OperatorAnswer(NOT_SENT), T0)))["resent_as"] == "t-1:again"


def test_channels_are_spelled_as_everywhere():
    assert {json.loads(json_of(left(channel=channel)))["channel"] for channel in Channel} == {
        "sms",
        "email",
        "whatsapp",
    }
