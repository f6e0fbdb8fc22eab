"""What the copy keeps of each topic, and what it leaves out."""

from __future__ import annotations

import logging

import pytest

from pipeline import flow
from pipeline.domain.order import Action, Order, Target
from pipeline.domain.suppression import Scope, Suppression, SuppressionReason
from pipeline.domain.unconfirmed import Resolved, Unconfirmed
from pipeline.domain.work import Claim, Request
from pipeline.lookup.freshness import Freshness, Mark
from pipeline.lookup.paging import BadCursor
from pipeline.records import encode_unconfirmed
from pipeline.records.control import PRIVACY_KEY, encode_order, encode_suppression
from pipeline.records.writing import json_object, single_object
from tests.harness.lane_rig import work
from tests.harness.lookup import T0, Copy, Topics, pages
from tests.unit.lookup.test_copy_folder import LANE, LETTER, status

STATUS_0 = (flow.STATUS, 0)


def test_a_touch_id_that_is_used_again_shows_both_lives_and_counts_by_the_second():
    topics = Topics()
    topics.add(flow.STATUS, status("t", state="sent", sequence=2))
    topics.add(flow.STATUS, status("t", state="accepted", campaign_id="other", occurred_at=T0 + 1))
    lookup = Copy(topics).read_all().lookup
    assert [each["campaign_id"] for each in lookup.touch("t")["statuses"]] == ["c", "other"]
    assert lookup.touch("t")["state"] == "accepted"
    assert lookup.campaign("c") is None
    assert lookup.campaign("other")["touches"] == 1


def test_a_delivery_may_come_before_the_status_and_alone_it_is_not_listed():
    topics = Topics()
    fact = {"kind": "read", "sender": "s", "provider_message_id": "m", "received_at": T0, "recipient": "r"}
    topics.add(flow.DELIVERIES, {**status("t"), **fact})
    copy = Copy(topics).read_all()
    assert copy.lookup.touch("t")["state"] is None
    assert copy.lookup.touch("t")["outcome"] == "read"
    assert copy.lookup.touches(message="m") == ([], None)
    topics.add(flow.STATUS, status("t", state="sent"))
    copy.restart()
    copy.read_all()
    assert [each["touch_id"] for each in copy.lookup.touches(message="m")[0]] == ["t"]
    assert copy.lookup.campaign("c")["kinds"] == [{"channel": "sms", "kind": "read", "touches": 1}]


def test_sends_are_counted_by_the_minute_and_sender_in_which_they_were_told():
    topics = Topics()
    minute = T0 - T0 % 60_000
    for at, (touch_id, state, sender) in enumerate(
        [
            ("a", "sent", "main"),
            ("b", "sent", "main"),
            ("c", "sent", "second"),
            ("d", "accepted", "main"),
            ("e", "sent", None),
        ]
    ):
        topics.add(flow.STATUS, status(touch_id, state=state, sender=sender, occurred_at=minute + 60_000 * (at // 2)))
    topics.add(flow.STATUS, status("f", state="accepted", sender="main", occurred_at=minute))
    topics.add(flow.STATUS, status("d", state="sent", sender="main", sequence=2, occurred_at=minute + 60_000))
    lookup = Copy(topics).read_all().lookup
    said = {"channel": "sms"}
    second = [{**said, "minute": minute + 60_000, "sender": name, "touches": 1} for name in ("main", "second")]
    assert lookup.sends(minute + 59_999) == [{**said, "minute": minute, "sender": "main", "touches": 2}, *second]
    assert lookup.sends(minute + 60_000) == second


def test_what_cannot_be_read_is_counted_told_once_a_minute_and_stops_nothing(caplog):
    topics = Topics()
    junk = [None, b"", b"\xc3\x01junk", b"\0\0\0\0\x07", b"[]", b"{", b'{"touch_id": 5}', b"\xff"]
    bad = [
        {"state": 5},
        {"occurred_at": 2**60},
        {"occurred_at": "yesterday"},
        {"metadata": {"a": 1}},
        {"lead_id": None},
    ]
    for value in [*junk, *(json_object("status", status("bad") | each) for each in bad)]:
        topics.put(flow.STATUS, b"k", value)
    topics.add(flow.STATUS, status("good"), form="json")
    copy = Copy(topics).read_all()
    assert copy.unreadable.count == {flow.STATUS: len(junk) + len(bad)}
    assert len([each for each in caplog.records if each.levelno == logging.WARNING]) == 1
    assert "touches.status[0]: the record at offset 0 is not in the look-up copy: no value" in caplog.text
    assert copy.lookup.touch("good")
    assert copy.lookup.touch("bad") is None


def test_dead_letters_are_listed_by_reason_masked_and_go_with_their_topic():
    topics = Topics()
    for number in range(6):
        reason = "conflict" if number % 2 else "invalid"
        topics.add(flow.DEAD_LETTERS, {**LETTER, "reason": reason, "occurred_at": T0 + number}, form="json")
    topics.add(flow.DEAD_LETTERS, {**LETTER, "occurred_at": T0 + 3}, partition=1)
    copy = Copy(topics).read_all()
    found = pages(copy.lookup.dead_letters, 2)
    positions = [(each["partition"], each["offset"]) for each in found]
    assert positions == [(0, 5), (0, 4), (0, 3), (1, 0), (0, 2), (0, 1), (0, 0)]
    assert [each["offset"] for each in copy.lookup.dead_letters(reason="conflict")[0]] == [5, 3, 1]
    assert {each["value"] for each in found} == {None}
    assert copy.lookup.dead_letter(0, 5, is_unmasked=True) == {
        **LETTER,
        "reason": "conflict",
        "occurred_at": T0 + 5,
        "partition": 0,
        "offset": 5,
    }
    copy.copying.tidy({(flow.DEAD_LETTERS, 0): 4})
    assert [(each["partition"], each["offset"]) for each in copy.lookup.dead_letters()[0]] == [(0, 5), (0, 4), (1, 0)]
    assert copy.lookup.dead_letter(0, 3) is None
    copy.copying.tidy({(flow.DEAD_LETTERS, 0): 6, (flow.DEAD_LETTERS, 1): 1})
    assert not [key for key in copy.rows if key[:1] in b"dDBr"]


def unconfirmed(touch_id: str, at_ms: int) -> Unconfirmed:
    claim = Claim("claim", (work(touch_id, to="+12125550001"),), Request("/x", b"{}", "application/json", "h"), 1, 2)
    return Unconfirmed(claim, at_ms, "nobody can tell")


def test_an_unconfirmed_touch_is_as_it_was_told_last():
    topics = Topics()
    for number in range(3):
        topics.put(flow.UNCONFIRMED, b"k", encode_unconfirmed(unconfirmed(f"t{number}", T0 + number)))
    left = unconfirmed("t1", T0 + 1)
    told = Unconfirmed(left.claim, left.occurred_at_ms, left.error, Resolved.SENT, T0 + 9, "SM1")
    topics.put(flow.UNCONFIRMED, b"k", encode_unconfirmed(told))
    copy = Copy(topics).read_all()
    assert [each["touch_id"] for each in pages(copy.lookup.unconfirmed, 1)] == ["t2", "t1", "t0"]
    found = copy.lookup.unconfirmed()[0][1]
    assert (found["resolution"], found["to"], found["lead_id"]) == ("sent", None, "lead-t1")
    assert {each["to"] for each in copy.lookup.unconfirmed(is_unmasked=True)[0]} == {"+12125550001"}
    copy.copying.tidy({(flow.UNCONFIRMED, 0): 3})
    assert [each["touch_id"] for each in copy.lookup.unconfirmed()[0]] == ["t1"], "its latest record is still there"


def entry(reason: SuppressionReason, at_ms: int = T0, **whom: str) -> Suppression:
    return Suppression(Scope.ANY, reason=reason, by="me", at_ms=at_ms, **whom)


def test_suppressions_are_found_by_whom_and_gone_when_lifted():
    topics, hashed = Topics(), "0123456789abcdef" * 2
    entries = [entry(SuppressionReason.MANUAL, lead_id=f"l {number}") for number in range(3)]
    entries += [
        entry(SuppressionReason.BOUNCED, address_hash=hashed),
        entry(SuppressionReason.OPT_OUT, address_hash=hashed),
    ]
    for form, each in zip([single_object, json_object] * 3, entries, strict=False):
        topics.put(flow.SUPPRESSIONS, each.key.encode(), encode_suppression(form, each))
    topics.put(flow.SUPPRESSIONS, entries[3].key.encode(), encode_suppression(single_object, entries[3]))
    topics.put(flow.SUPPRESSIONS, b"junk", b"junk")
    copy = Copy(topics).read_all()
    order = [3, 4, 2, 1, 0]
    assert [each["key"] for each in pages(copy.lookup.suppressions, 2)] == [entries[each].key for each in order]
    assert [each["reason"] for each in copy.lookup.suppressions(recipient=hashed)[0]] == ["bounced", "opt_out"]
    assert copy.lookup.suppressions(lead="l 1")[0] == [copy.lookup.suppression(entries[1].key)]
    assert copy.lookup.suppression(entries[3].key)["offset"] == 5
    for each in entries:
        topics.put(flow.SUPPRESSIONS, each.key.encode(), None)
    copy.restart()
    copy.read_all()
    assert copy.lookup.suppressions() == ([], None)
    assert not [key for key in copy.rows if key[:1] in b"fFh"]


def test_orders_and_lanes_are_the_latest_under_their_key():
    topics = Topics()
    pause = Order(Action.PAUSE, Target(campaign="c"), note="why", by="me", at_ms=T0)
    cancel = Order(Action.CANCEL, Target(lead="l"), note="why", by="me", at_ms=T0)
    topics.put(flow.CONTROL, PRIVACY_KEY, b"fingerprint")
    for each in (pause, cancel, pause):
        topics.put(flow.CONTROL, each.key.encode(), encode_order(each))
    topics.put(flow.LANES, b"sms/main", LANE)
    topics.put(flow.LANES, b"sms/old", LANE)
    topics.put(flow.LANES, b"sms/old", None)
    copy = Copy(topics).read_all()
    assert copy.lookup.orders() == [(3, pause), (2, cancel)]
    assert [copy.lookup.order(each) for each in (pause.key, cancel.key)] == [(3, pause), (2, cancel)]
    assert [copy.lookup.order(each) for each in ("", "pause:", "cancel:campaign=c", "\ud800")] == [None] * 4
    assert list(copy.lookup.lanes()) == ["sms/main"]
    assert copy.lookup.lanes()["sms/main"].at_ms == 1
    topics.put(flow.CONTROL, pause.key.encode(), None)
    copy.restart()
    assert copy.read_all().lookup.orders() == [(2, cancel)]


@pytest.mark.parametrize("after", ["", "x", "AAAAAAAA", "é", "a" * 4_000])
def test_a_cursor_that_this_list_did_not_give_is_refused(after):
    topics = Topics()
    for number in range(3):
        topics.add(flow.STATUS, status(f"t{number}"))
    lookup = Copy(topics).read_all().lookup
    _, others = lookup.touches(lead="l", limit=1)
    for each in (after, others):
        with pytest.raises(BadCursor):
            lookup.touches(campaign="c", after=each)
    with pytest.raises(ValueError, match="one of"):
        lookup.touches(campaign="c", lead="l")


def test_the_copy_is_complete_as_of_the_moment_before_the_ends_were_read():
    now = [T0]
    fresh = Freshness(lambda: now[0], keep_ms=5_000)
    fresh.begin(0, {STATUS_0: 3})
    assert fresh.lag_s == 5
    fresh.set_mark(Mark(T0, {STATUS_0: 5}))
    assert (fresh.as_of_ms, fresh.lag_records) == (0, 2)
    fresh.move({STATUS_0: 4})
    assert (fresh.as_of_ms, fresh.needs_mark) == (0, False)
    now[0] = T0 + 1_500
    fresh.move({STATUS_0: 5})
    assert (fresh.as_of_ms, fresh.lag_records, fresh.lag_s) == (T0, 0, 1.5)
    assert fresh.needs_mark
