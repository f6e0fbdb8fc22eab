"""Orders, suppressions and lane reports as records: read as written, by all framings; anything else is refused, never half read."""

from __future__ import annotations

import json
from dataclasses import replace

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.domain.instant import FARTHEST_MS
from pipeline.domain.order import Action, Order, Target
from pipeline.domain.suppression import Scope, Suppression, SuppressionReason
from pipeline.domain.work import Channel
from pipeline.records.control import (
    LONGEST_BY,
    LONGEST_NOTE,
    PRIVACY_KEY,
    decode_order,
    decode_suppression,
    encode_order,
    encode_suppression,
)
from pipeline.records.lane_report import LaneReport, decode_lane_report, encode_lane_report
from pipeline.records.published import UndecodableValue, ValueReader
from pipeline.records.single_object import encode
from pipeline.records.writing import json_object, single_object

IDS = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=20)
INSTANTS = st.integers(10**12, 7 * 10**12)
read = ValueReader("suppression")

orders = st.builds(
    Order,
    st.sampled_from(Action),
    st.builds(Target, campaign=IDS, channel=st.none() | st.sampled_from(Channel), lead=st.none() | IDS),
    note=IDS,
    by=IDS,
    at_ms=INSTANTS,
    until_ms=st.none() | INSTANTS,
)
entries = st.builds(
    Suppression,
    st.sampled_from(Scope),
    address_hash=st.none(),
    lead_id=IDS,
    reason=st.sampled_from(SuppressionReason),
    note=st.none() | st.text(st.characters(exclude_categories=("Cs",)), max_size=LONGEST_NOTE),
    touch_id=st.none() | st.just("t-1"),
    by=IDS,
    at_ms=INSTANTS,
)
ORDER = Order(Action.PAUSE, Target(campaign="spring"), note="wrong price", by="ann", at_ms=10**12)
ENTRY = Suppression(
    Scope.PHONE, address_hash="0123456789abcdef" * 2, reason=SuppressionReason.OPT_OUT, by="ann", at_ms=10**12
)


@given(orders)
def test_an_order_is_read_as_it_was_written(order):
    assert decode_order(order.key.encode(), encode_order(order)) == order


@given(entries, st.sampled_from([single_object, json_object]))
def test_a_suppression_is_read_as_it_was_written(entry, write):
    assert decode_suppression(read, entry.key.encode(), encode_suppression(write, entry), 5) == entry


def order_value(**changed) -> bytes:
    datum = {"action": "pause", "target": "campaign=spring", "note": "n", "by": "ann", "at": 1, "until": None}
    return encode("order", datum | changed)


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"{}",
        b"\xc3\x01",
        b"\xc3\x01" + bytes(20),
        encode_order(ORDER)[:-3],
        encode_order(ORDER) + b"x",
        encode_suppression(single_object, ENTRY),
        order_value(action="stop"),
        order_value(target="campaign=spring;"),
        order_value(target=""),
        order_value(action="cancel", target="all"),
    ],
)
def test_what_is_no_order_is_refused(value):
    for key in (b"pause:campaign=spring", b"cancel:all"):
        with pytest.raises(UndecodableValue):
            decode_order(key, value)


@pytest.mark.parametrize("key", [None, b"", PRIVACY_KEY, b"pause:campaign=autumn", b"cancel:campaign=spring", b"\xff"])
def test_an_order_under_another_key_is_refused(key):
    with pytest.raises(UndecodableValue, match="key"):
        decode_order(key, encode_order(ORDER))


@pytest.mark.parametrize("key", [None, b"phone:x:opt_out", b"\xff"])
def test_a_suppression_under_another_key_is_refused(key):
    with pytest.raises(UndecodableValue, match="key"):
        decode_suppression(read, key, encode_suppression(single_object, ENTRY), 5)


def said(**changed: object) -> bytes:
    datum = {"scope": "phone", "address_hash": ENTRY.address_hash, "reason": "opt_out", **changed}
    return json.dumps({name: value for name, value in datum.items() if value != "left out"}).encode()


def test_json_may_leave_out_who_and_when():
    entry = decode_suppression(read, ENTRY.key.encode(), said(), 1_700_000_000_000)
    assert (entry.by, entry.at_ms) == ("unknown", 1_700_000_000_000)


def test_json_may_write_an_instant_as_text_and_have_members_that_nobody_knows():
    entry = decode_suppression(read, ENTRY.key.encode(), said(at="2026-11-27T00:00:00Z", colour="red"), 5)
    assert entry.at_ms == 1_795_737_600_000


def test_a_note_that_is_too_long_is_cut_for_the_entry_must_be_obeyed():
    entry = decode_suppression(read, ENTRY.key.encode(), said(note="n" * 501), 5)
    assert entry.note == "n" * LONGEST_NOTE


@pytest.mark.parametrize(
    "changed",
    [
        {"scope": "fax"},
        {"scope": "left out"},
        {"scope": ["phone"]},
        {"reason": "window"},
        {"reason": None},
        {"lead_id": "ann"},
        {"address_hash": None},
        {"address_hash": "+4915112345678"},
        {"address_hash": ENTRY.address_hash.upper()},
        {"address_hash": 5},
        {"address_hash": None, "lead_id": ""},
        {"address_hash": None, "lead_id": "a\nb"},
        {"note": 5},
        {"at": "soon"},
        {"at": True},
    ],
)
def test_a_suppression_with_a_member_that_says_nothing_is_refused(changed):
    with pytest.raises(UndecodableValue):
        decode_suppression(read, ENTRY.key.encode(), said(**changed), 5)


@given(st.binary(max_size=60))
def test_other_bytes_are_refused_and_raise_nothing_else(value):
    for decode in (
        lambda: decode_order(b"k", value),
        lambda: decode_suppression(read, b"k", value, 5),
        lambda: decode_lane_report(value),
    ):
        with pytest.raises(UndecodableValue):
            decode()


OF_THE_FIRST_VERSION = [
    "channel",
    "sender",
    "lane",
    "control_seen",
    "control_in_force",
    "suppressions_seen",
    "suppressions_in_force",
    "parked",
    "at_ms",
]
REPORT = LaneReport(
    channel="sms",
    sender="a",
    lane=3,
    control_seen=7,
    control_in_force=5,
    suppressions_seen=9,
    suppressions_in_force=9,
    parked=2,
    at_ms=10**12,
)


def test_a_lane_report_is_read_as_it_was_written():
    assert decode_lane_report(encode_lane_report(REPORT)) == REPORT
    assert REPORT.key == "sms/a"
    full = replace(REPORT, backlog=4, held_by=("gap", "limit"), orders=("pause:all",), window_open=True, last_sent_ms=9)
    assert decode_lane_report(encode_lane_report(full)) == full


def test_a_lane_report_of_an_earlier_version_is_read_and_a_later_one_s_members_are_left_out():
    named = orjson.loads(encode_lane_report(REPORT))
    earlier = {name: named[name] for name in named if name in OF_THE_FIRST_VERSION}
    assert decode_lane_report(orjson.dumps(earlier)) == REPORT
    assert decode_lane_report(orjson.dumps({**named, "mood": "good"})) == REPORT


def test_a_lane_is_shown_with_the_members_of_the_interface():
    assert list(REPORT.shown()) == [
        "channel",
        "sender",
        "lane",
        "backlog",
        "parked",
        "open_claims",
        "held_by",
        "orders",
        "window_open",
        "next_opens_at",
        "last_sent_at",
        "reported_at",
    ]
    assert (REPORT.shown()["held_by"], REPORT.shown()["reported_at"]) == ([], 10**12)


def test_a_lane_report_may_have_parked_nothing():
    assert decode_lane_report(encode_lane_report(replace(REPORT, parked=0))).parked == 0


@pytest.mark.parametrize("at", [1_795_737_600, 1_795_737_600_000_000, 0, -1, 2**63 - 1])
def test_an_entry_with_an_instant_in_another_unit_is_obeyed_all_the_same(at):
    entry = decode_suppression(read, ENTRY.key.encode(), said(at=at), 1_700_000_000_000)
    assert (entry.key, entry.at_ms) == (ENTRY.key, 1_700_000_000_000)


def test_what_a_stranger_writes_beside_an_entry_or_an_order_is_bounded():
    entry = decode_suppression(read, ENTRY.key.encode(), said(by="x" * 10**6, touch_id="t" * 10**6), 5)
    assert (len(entry.by), entry.touch_id) == (LONGEST_BY, None)
    order = decode_order(b"pause:campaign=spring", order_value(note="n" * 10**6, by="b" * 10**6, until=2**62))
    assert (len(order.note), len(order.by), order.until_ms) == (LONGEST_NOTE, LONGEST_BY, FARTHEST_MS)


@pytest.mark.parametrize("changed", [{"scope": "+12125550001"}, {"reason": "+12125550001"}, {"scope": "left out"}])
def test_what_is_no_entry_is_told_without_what_it_says(changed):
    with pytest.raises(UndecodableValue, match="must be one of") as told:
        decode_suppression(read, ENTRY.key.encode(), said(**changed), 5)
    assert "555" not in str(told.value)


@pytest.mark.parametrize(
    "changed", [{"control_in_force": "9"}, {"suppressions_in_force": None}, {"parked": 1.5}, {"at_ms": []}]
)
def test_a_lane_report_of_another_form_is_refused(changed):
    value = json.dumps({**json.loads(encode_lane_report(REPORT)), **changed}).encode()
    with pytest.raises(UndecodableValue, match="no lane report") as told:
        decode_lane_report(value)
    assert str(told.value).isprintable()
