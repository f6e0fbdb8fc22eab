"""Whose message is whose, when only text and time can tell."""

from __future__ import annotations

import pytest

from pipeline.channels.whatsapp import payload, resolve
from pipeline.domain.value import replace
from pipeline.domain.verdict import Absent, Sent
from pipeline.domain.work import Channel, Claim, Content, Work

T0 = 1_790_000_000_999
NOBODY = frozenset()

WORK = Work("t", "c", "l", Channel.WHATSAPP, "+12125550123", "default", False, Content(body="hi"), b"d" * 16, 0)
CLAIM = Claim("c1", (WORK,), payload.build([WORK], "c1", "my session", "WEBJS"), T0, T0 + 5_000)
MESSAGE = {"id": "true_12125550123@c.us_3EB0", "timestamp": 1_790_000_000, "fromMe": True, "body": "hi"}


def test_the_question_is_what_the_frozen_request_said():
    asked = resolve.question(CLAIM)
    assert (asked.session, asked.chat, asked.text, asked.since_s) == (
        "my session",
        "12125550123@c.us",
        "hi",
        1_789_999_998,
    )
    assert resolve.chat_path(asked, 200) == (
        "/api/my%20session/chats/12125550123@c.us/messages?limit=100&offset=200&downloadMedia=false"
        "&sortOrder=desc&filter.fromMe=true&filter.timestamp.gte=1789999998"
    )


@pytest.mark.parametrize(
    ("change", "is_ours"),
    [
        ({}, True),
        ({"timestamp": 1_789_999_998}, True),
        ({"timestamp": 1_789_999_997}, False),
        ({"timestamp": None}, True),
        ({"timestamp": "1790000000"}, True),
        ({"timestamp": "1789999997"}, False),
        ({"timestamp": "soon"}, True),
        ({"fromMe": False}, False),
        ({"fromMe": None}, False),
        ({"body": "hi "}, False),
        ({"body": None}, False),
    ],
)
def test_a_server_that_ignores_the_filters_is_not_believed(change, is_ours):
    found = resolve.first_match([{**MESSAGE, **change}], resolve.question(CLAIM), NOBODY)
    assert found == (Sent(("3EB0",)) if is_ours else Absent())


def test_the_oldest_match_is_the_claims_own():
    newer = {**MESSAGE, "id": "true_12125550123@c.us_3EB1", "timestamp": 1_790_000_009}
    assert resolve.first_match([newer, MESSAGE], resolve.question(CLAIM), NOBODY) == Sent(("3EB0",))
    assert resolve.first_match([newer, MESSAGE], resolve.question(CLAIM), frozenset({"3EB0"})) == Sent(("3EB1",))


def test_a_message_whose_id_is_not_told_is_found_without_one():
    assert resolve.first_match([{**MESSAGE, "id": None}], resolve.question(CLAIM), NOBODY) == Sent((None,))


def test_the_question_by_id_keeps_odd_names_in_their_place():
    request = payload.build([WORK], "c1", "a/b", "NOWEB")
    path = resolve.id_path(resolve.question(replace(CLAIM, request=request)))
    assert path == f"/api/a%2Fb/chats/all/messages/{request.handle}?downloadMedia=false"
