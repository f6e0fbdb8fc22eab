"""A touch that is sent again says what it said before, and its id is always the same."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pipeline.console.unconfirmed import again_id, touch_again
from pipeline.domain.reading import parse_touch
from pipeline.domain.rules import is_touch_id
from pipeline.domain.work import Attachment, Channel, Content
from tests.unit.lane_rig import work

T0 = 1_790_000_000_000
MAIL = work("m", channel=Channel.EMAIL, to="a@example.com", time_zone="Europe/Paris", priority=2, expires_at_ms=T0, metadata={"k": "v"})


@pytest.mark.parametrize("content", [
    Content(subject="s", body="<p>b</p>", text="t", from_="Me <me@example.com>", reply_to="r@example.com", headers={"X-A": "b"}),
    Content(subject="s", text="only text"),
    Content(subject="s", body="b", attachments=(Attachment("a.bin", "x/y", content=b"\x00\xff"), Attachment("b", url="https://x/b"))),
], ids=["all", "text", "attachments"])  # fmt: skip
def test_every_mail_says_the_same_again(content: Content) -> None:
    touch = parse_touch(touch_again(replace(MAIL, content=content), "m:again"), T0)
    assert Content(touch.subject, touch.body, touch.text, touch.from_, touch.reply_to, touch.headers, touch.attachments) == content
    assert (touch.to, touch.time_zone, touch.priority, touch.expires_at_ms, touch.sender) == ("a@example.com", "Europe/Paris", 2, T0, None)
    assert touch.metadata == {"k": "v", "resends": "m"}


def test_a_pinned_sender_stays_pinned() -> None:
    touch = parse_touch(touch_again(replace(work("a", sender="s2"), pinned=True), "a:again"), T0)
    assert (touch.channel, touch.sender, touch.body) == (Channel.SMS, "s2", "hello a")


def test_the_new_id_is_always_the_same_and_a_touch_id() -> None:
    assert again_id("t-1") == "t-1:again"
    long = again_id("x" * 128)
    assert is_touch_id(long)
    assert long == again_id("x" * 128) != again_id("y" * 128)
