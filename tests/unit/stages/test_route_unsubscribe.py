"""E-mails with a link that unsubscribes: in headers, and as a variable of templates."""

from __future__ import annotations

import pytest

from pipeline.domain.address_hash import address_hash
from pipeline.domain.unsubscribe import UnsubscribeLinks
from pipeline.domain.work import Channel
from tests.harness.route_rig import EMAIL, SMS, Entrance

KEY = b"k" * 32
LINKS = UnsubscribeLinks("https://touch.example.com", KEY)
URL = LINKS.url(address_hash(Channel.EMAIL, "ann@example.com", KEY))
BOTH = {"List-Unsubscribe": f"<{URL}>", "List-Unsubscribe-Post": "List-Unsubscribe=One-Click"}


@pytest.fixture
def on(tmp_path):
    (tmp_path / "news").mkdir()
    (tmp_path / "news" / "email.html").write_text('<a href="{{ unsubscribe_url }}">no more</a>')
    (tmp_path / "news" / "subject.txt").write_text("News")
    (tmp_path / "news" / "sms.txt").write_text("{{ unsubscribe_url }}")
    return Entrance(tmp_path, privacy_key=KEY, unsubscribe=LINKS)


def content(entrance):
    [(_, _, work)] = entrance.works
    return work.content


def test_a_marketing_email_gets_both_headers_and_its_body_is_unchanged(on):
    found = content(on.give(EMAIL))
    assert (found.headers, found.body) == (BOTH, "<p>hi</p>")
    assert content(on.give({**EMAIL, "touch_id": "e2"})).headers == BOTH, "the same for the same address"


@pytest.mark.parametrize(
    ("more", "headers"),
    [
        ({"purpose": "transactional"}, {}),
        ({"headers": {"list-unsubscribe": "<mailto:x@example.com>"}}, {"list-unsubscribe": "<mailto:x@example.com>"}),
        ({"headers": {"X-Kind": "news"}}, {"X-Kind": "news", **BOTH}),
    ],
)
def test_transactional_ones_and_headers_of_ones_own_are_left_alone(on, more, headers):
    assert content(on.give({**EMAIL, **more})).headers == headers


def test_a_template_of_an_email_has_the_link_and_a_variable_of_the_touch_wins(on):
    template = {name: value for name, value in EMAIL.items() if name not in ("subject", "body")} | {"template": "news"}
    assert URL in content(on.give(template)).body
    own = {**template, "touch_id": "e2", "variables": {"unsubscribe_url": "https://own.example"}}
    assert "https://own.example" in content(on.give(own)).body
    transactional = {**template, "touch_id": "e3", "purpose": "transactional"}
    assert URL in content(on.give(transactional)).body
    sms = {name: value for name, value in SMS.items() if name != "body"} | {"template": "news"}
    assert on.give(sms).told() == [("failed", "invalid")]


def test_when_it_is_off_the_variable_is_undefined_and_there_is_no_header(tmp_path, on):
    off = Entrance(tmp_path, privacy_key=KEY)
    assert content(off.give(EMAIL)).headers == {}
    template = {name: value for name, value in EMAIL.items() if name != "body"} | {"touch_id": "e2", "template": "news"}
    assert off.give(template).told() == [("failed", "invalid")]
    assert "unsubscribe_url" in off.events[0].error


def test_a_repeat_is_a_repeat_whether_links_are_on_or_off(tmp_path, on):
    on.give(EMAIL)
    off = Entrance(tmp_path, privacy_key=KEY)
    off.table = on.table
    assert (off.give(EMAIL).events, off.works) == ([], [])
