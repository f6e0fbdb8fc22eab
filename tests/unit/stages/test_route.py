"""The router: what gets in, what is refused, and what is told about it."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.domain.address_hash import address_hash
from pipeline.domain.home import home_of
from pipeline.domain.sender_policy import SenderPolicy
from pipeline.domain.work import Channel, Purpose
from pipeline.flow import TOUCH_BYTES, TOUCH_MESSAGE_BYTES
from pipeline.records.single_object import decode, encode
from pipeline.stage_io import Record
from pipeline.stages import route
from pipeline.stages.forward import Homes
from pipeline.stages.route import Router
from pipeline.stages.step import RepeatDropped, UnknownMembers
from tests.harness.route_rig import EMAIL, NOW, SMS, Entrance


def test_a_valid_touch_is_accepted_and_sent_to_its_senders_lane(door):
    door.give(SMS)
    assert door.told() == [("accepted", None)]
    ((topic, lane, work),) = door.works
    assert (topic, lane, work.to, work.content.body, work.origin) == ("touches.sms", 2, "+12125552368", "hello", 0)


def test_the_same_touch_again_is_dropped_and_counted(door):
    door.give(SMS, SMS)
    assert len(door.works) == 1
    door.give(SMS)
    assert (door.works, door.events, door.dead) == ([], [], [])
    assert door.step.counts[RepeatDropped("sms")] == 1


def test_a_repeat_that_differs_in_what_does_not_count_is_the_same(door):
    door.give(SMS)
    door.give({**SMS, "metadata": {"a": "b"}, "priority": 1, "to": "+12125552368"})
    assert (door.events, door.dead) == ([], [])


def test_other_content_under_the_same_id_is_a_conflict_and_a_dead_letter_only(door):
    door.give(SMS, {**SMS, "body": "other"})
    assert door.told() == [("accepted", None)]
    assert [(d["reason"], d["touch_id"], d["source_topic"], d["headers"]) for d in door.dead] == [
        ("conflict", "t1", "p.touches", [{"name": "h", "value": b"v"}])
    ]


def test_a_touch_refused_as_invalid_stays_ended_when_it_is_mended_and_its_dead_letter_says_so(door):
    door.give({**SMS, "to": "12"})
    assert door.told() == [("failed", "invalid")]
    door.give(SMS)
    assert (door.told(), door.works) == ([], [])
    assert [(d["reason"], "was refused as invalid before" in d["error"]) for d in door.dead] == [("conflict", True)]


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"",
        b"\x00\xff\xfe",
        b"[1]",
        b"{broken",
        b"\xc3\x01\x00\x00\x00\x00\x00\x00\x00\x00",
        b"\xc3\x01",
        b'{"a": NaN}',
        b'{"touch_id": "\\ud800"}',
        b'{"a":' * 1000 + b"1" + b"}" * 1000,
        b"\x00" * 40,
        "tëxt".encode("utf-16"),
        b"null",
        b'"x"',
    ],
)
def test_what_cannot_be_read_is_a_dead_letter_with_its_raw_bytes(door, value):
    door.give(value, SMS)
    (letter,) = door.dead
    assert (letter["reason"], letter["value"], letter["key"], letter["source_offset"]) == (
        "undecodable",
        value,
        b"key",
        0,
    )
    assert letter["error"]
    assert door.told() == [("accepted", None)], "the touch behind it is not delayed"


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({"to": "12"}, "phone"),
        ({"to": "2125552368"}, "region"),
        ({"to": "+12125552368;ext=5"}, "extension"),
        ({"channel": "fax"}, "channel"),
        ({"lead_id": None}, "lead_id"),
        ({"lead_id": "a\u0007b"}, "lead_id"),
        ({"body": 5}, "body"),
        ({"body": None}, "body"),
        ({"body": "x" * 1601}, "1600"),
        ({"template": "hello"}, "template"),
        ({"body": None, "template": "nope"}, "sms.txt"),
        ({"body": None, "template": "hello"}, "name"),
        ({"body": None, "template": "../hello"}, "template"),
        ({"body": None, "text": "x", "template": "hello"}, "text and template"),
        ({"time_zone": "Mars/Base"}, "time_zone"),
        ({"not_before": "tomorrow"}, "not_before"),
        ({"priority": 10}, "priority"),
        ({"priority": True}, "priority"),
        ({"headers": {"X-A": "b"}}, "headers"),
        ({"reply_to": "a@b.cd"}, "reply_to"),
        ({"attachments": [{"filename": "a", "url": "https://x"}]}, "attachments"),
        ({"variables": {"a": []}}, "variables.a"),
    ],
)
def test_a_broken_rule_is_a_dead_letter_and_failed_invalid_naming_the_field(door, change, names):
    touch = {k: v for k, v in {**SMS, **change}.items() if v is not None}
    door.give(touch)
    assert door.told() == [("failed", "invalid")]
    assert [d["reason"] for d in door.dead] == ["invalid"]
    assert names in door.events[0].error.lower() or names in door.events[0].error
    door.give(touch)
    assert (door.told(), [d["reason"] for d in door.dead]) == ([], ["invalid"]), "its story is told once"


@pytest.mark.parametrize(
    "change",
    [
        {"subject": None},
        {"body": None},
        {"to": "a@example.com, b@example.com"},
        {"to": "nobody"},
        {"from": "c@example.com"},
        {"headers": {"Subject": "x"}},
        {"headers": {"X-A": "a\r\nBcc: b"}},
        {"headers": {"Content-Type": "x"}},
        {"headers": {"a b": "c"}},
        {"subject": "two\nlines"},
        {"attachments": [{"filename": "a"}]},
        {"attachments": [{"filename": "a", "content": "%%"}]},
        {"reply_to": "nobody"},
    ],
)
def test_a_broken_email_rule_is_invalid(door, change):
    door.give({k: v for k, v in {**EMAIL, **change}.items() if v is not None})
    assert door.told() == [("failed", "invalid")]


@pytest.mark.parametrize(
    "url",
    [
        "http://files.example.com/a",
        "https://169.254.169.254/a",
        "https://u:p@files.example.com/a",
        "https://localhost/a",
    ],
)
def test_an_attachment_from_a_private_place_is_refused_by_name_unless_it_is_meant(door, tmp_path, url):
    mail = {
        **EMAIL,
        "attachments": [{"filename": "a", "url": "https://files.example.com/a"}, {"filename": "b", "url": url}],
    }
    door.give(mail)
    assert door.told() == [("failed", "invalid")]
    assert door.events[0].error.startswith("attachments[1].url ")
    meant = Entrance(tmp_path, attachment_urls="any").give(mail)
    assert meant.told() == [("accepted", None)]
    assert [each.url for each in meant.works[0][2].content.attachments] == ["https://files.example.com/a", url]


def test_an_address_is_told_by_its_field_and_goes_out_normalised(door):
    mail = {
        **EMAIL,
        "to": "ann@münchen.de",
        "reply_to": "Help <help@SHOP.example.com>",
        "headers": {"List-Unsubscribe": "<mailto:u@münchen.de>", "X-A": "b"},
    }
    door.give(mail, {**mail, "touch_id": "e2", "to": "ann", "reply_to": "help", "headers": {"Sender": "x"}})
    ((_, _, work),) = door.works
    assert (work.to, work.content.reply_to) == (
        "ann@xn--mnchen-3ya.de",
        "Help <help@SHOP.example.com>".replace("SHOP", "shop"),
    )
    assert work.content.headers == {"List-Unsubscribe": "<mailto:u@xn--mnchen-3ya.de>", "X-A": "b"}
    for field in ("to: ", "reply_to: ", "headers.Sender: "):
        assert field in door.events[1].error
    door.give({**mail, "to": "ann@xn--mnchen-3ya.de"})
    assert (door.events, door.dead, door.step.counts[RepeatDropped("email")]) == ([], [], 1)


def test_the_digest_of_what_was_accepted_before_is_what_it_was(door):
    door.give({**EMAIL, "reply_to": "Help@Example.COM", "headers": {"List-Unsubscribe": "<mailto:U@Example.COM>"}})
    assert door.works[0][2].digest.hex() == "dad06ad85f3f7f2f13d317169c850880"


def test_an_unreadable_touch_id_is_a_dead_letter_only(door):
    door.give({**SMS, "touch_id": "not ok"})
    assert (door.told(), [d["reason"] for d in door.dead]) == ([], ["invalid"])


def test_an_email_keeps_its_case_before_the_at_and_not_behind(door):
    door.give({**EMAIL, "from": "b@example.com", "headers": {"List-Unsubscribe": "<https://x>"}})
    ((_, _, work),) = door.works
    assert (work.to, work.content.from_, work.content.headers) == (
        "Ann@example.com",
        "b@example.com",
        {"List-Unsubscribe": "<https://x>"},
    )


def test_a_template_is_rendered_escaped_in_html_only_and_loses_its_last_line_break(door):
    both = {"template": "hello", "variables": {"name": "A & B"}}
    touch = {k: v for k, v in SMS.items() if k != "body"}
    mail = {k: v for k, v in EMAIL.items() if k not in ("body", "subject")}
    door.give({**touch, **both}, {**mail, **both})
    said = [work.content for _, _, work in door.works]
    assert said[0].body == "Hello A & B"
    assert (said[1].subject, said[1].body) == ("For A & B", "<p>A &amp; B</p>")


def test_a_channel_without_senders_and_an_unknown_sender_fail_without_a_dead_letter(door):
    door.give({**SMS, "touch_id": "w", "channel": "whatsapp"}, {**SMS, "touch_id": "s", "sender": "other"})
    assert door.told() == [("failed", "channel_off"), ("failed", "unknown_sender")]
    assert door.dead == []


def test_one_that_has_expired_or_cannot_go_before_it_does_has_its_terminal_only(door):
    door.give({**SMS, "expires_at": NOW}, {**SMS, "touch_id": "t2", "not_before": NOW + 5, "expires_at": NOW + 5})
    assert door.told() == [("expired", "expires_at")] * 2


def test_json_may_begin_with_a_mark_and_space_and_has_unknown_members_counted(door):
    door.give(b"\xef\xbb\xbf \n" + json.dumps({**SMS, "colour": "red", "metadata": {"n": 5, "b": True}}).encode())
    assert door.told() == [("accepted", None)]
    assert door.events[0].metadata == {"n": "5", "b": "true"}
    assert door.step.counts[UnknownMembers()] == 1


def test_an_avro_single_object_is_read(door):
    datum = {
        **SMS,
        "variables": {},
        "attachments": [],
        "headers": {},
        "priority": 2,
        "metadata": {},
        "not_before": 1_700_000_100_000,
    }
    value = encode("touch", datum)
    door.give(value, value[:-3], value + b"x")
    ((_, _, work),) = door.works
    assert (work.priority, work.not_before_ms) == (2, 1_700_000_100_000)
    assert [d["reason"] for d in door.dead] == ["undecodable"] * 2


def test_a_megabyte_flows(door):
    door.give({**EMAIL, "body": "x" * 900_000})
    assert door.told() == [("accepted", None)]


def test_iso_instants_need_an_offset(door):
    door.give(
        {**SMS, "expires_at": "2030-01-01T09:00:00+01:00"},
        {**SMS, "touch_id": "x", "expires_at": "2030-01-01T09:00:00"},
    )
    assert door.told() == [("accepted", None), ("failed", "invalid")]
    assert door.works[0][2].expires_at_ms == 1_893_484_800_000


def test_a_touch_is_forgotten_when_its_time_is_over(door):
    door.give(SMS)
    later = NOW + (30 + 3) * 86_400_000 + 1
    door.give(now=later)
    door.give(SMS, now=later)
    assert door.told() == [("accepted", None)]


def test_a_disabled_sender_gets_nothing_new(tmp_path):
    senders = (SenderPolicy("old", 0, is_enabled=False), SenderPolicy("new", 1))
    door = Entrance(tmp_path, sms=senders)
    door.give(*[{**SMS, "touch_id": f"t{n}", "to": f"+1212555{n:04d}"} for n in range(30)])
    assert {lane for _, lane, _ in door.works} == {1}
    door.give({**SMS, "touch_id": "pinned", "sender": "old"})
    assert door.told() == [("failed", "unknown_sender")]
    assert door.events[0].error == "sender 'old' is disabled"


def test_with_every_sender_disabled_the_channel_is_off(tmp_path):
    door = Entrance(tmp_path, sms=(SenderPolicy("old", 0, is_enabled=False),))
    assert door.give(SMS).told() == [("failed", "channel_off")]


# --- touches that come to another partition than their home ----------------------------------------------------------

PARTITIONS = 4


@pytest.fixture
def quarters(tmp_path):
    """One router per partition of `touches`, each with its own table; what hops is delivered."""
    return Quarters(tmp_path)


class Quarters:
    def __init__(self, folder):
        self.doors = [Entrance(folder, homes=Homes(PARTITIONS)) for _ in range(PARTITIONS)]
        self.told, self.works, self.dead, self.hops = [], [], [], 0

    def give(self, touch, partition, *, key=b"key", now=NOW):
        door = self.doors[partition].give(touch, partition=partition, key=key, now=now)
        self._keep(door, partition)
        while door.hops:
            (onward,) = door.hops
            self.hops += 1
            door = self.doors[onward.partition].give(
                onward.value, partition=onward.partition, key=onward.key, headers=onward.headers, now=now + 5
            )
            assert not door.hops, "one hop"
            self._keep(door, onward.partition)
        return self

    def _keep(self, door, partition):
        self.told += [(e.touch_id, e.state.value, partition) for e in door.events]
        self.works += door.works
        self.dead += door.dead


def test_a_touch_that_comes_to_another_partition_is_judged_at_its_home_after_one_hop(quarters):
    home = home_of("t1", PARTITIONS)
    for partition in range(PARTITIONS):
        quarters.give(SMS, partition)
    assert quarters.told == [("t1", "accepted", home)]
    assert len(quarters.works) == 1
    assert quarters.works[0][2].origin == home
    assert quarters.hops == PARTITIONS - 1


def test_other_content_under_its_id_is_a_conflict_wherever_it_comes_to(quarters):
    for partition in range(PARTITIONS):
        quarters.give({**SMS, "body": f"to {partition}"}, partition)
    assert len(quarters.works) == 1
    assert [letter["reason"] for letter in quarters.dead] == ["conflict"] * (PARTITIONS - 1)


def test_a_touch_that_is_not_valid_has_its_story_at_home_too(quarters):
    away = (home_of("t1", PARTITIONS) + 1) % PARTITIONS
    quarters.give({**SMS, "to": "12"}, away).give(SMS, home_of("t1", PARTITIONS))
    assert quarters.told == [("t1", "failed", home_of("t1", PARTITIONS))]
    assert [letter["reason"] for letter in quarters.dead] == ["invalid", "conflict"]


def test_a_dead_letter_names_where_its_producer_put_it_and_created_at_is_its_first_time(quarters):
    away = (home_of("t1", PARTITIONS) + 1) % PARTITIONS
    quarters.doors[away].offset = 77
    quarters.give({**SMS, "to": "12"}, away, key=None)
    (letter,) = quarters.dead
    assert (letter["source_partition"], letter["source_offset"], letter["key"], letter["headers"]) == (
        away,
        77,
        None,
        [{"name": "h", "value": b"v"}],
    )
    quarters.give({**SMS, "touch_id": "t2"}, (home_of("t2", PARTITIONS) + 1) % PARTITIONS, now=NOW + 1000)
    assert quarters.works[0][2].created_at_ms == NOW + 1000


def test_what_has_no_legal_touch_id_has_no_home(quarters):
    for partition, value in enumerate([b"{}", b"x", {**SMS, "touch_id": "no space"}, {**SMS, "touch_id": 7}]):
        quarters.give(value, partition)
    assert quarters.hops == 0
    assert [letter["source_partition"] for letter in quarters.dead] == [0, 1, 2, 3]


def test_a_partition_that_remembers_a_stray_from_before_homes_judges_its_repeat(quarters):
    away = (home_of("t1", PARTITIONS) + 1) % PARTITIONS
    before = quarters.doors[away]
    before.router = Router(replace(before.router._deps, homes=Homes(1)))  # as if this were the only partition
    before.give(SMS, partition=0)
    before.router = Router(replace(before.router._deps, homes=Homes(PARTITIONS)))
    quarters.give(SMS, away).give({**SMS, "body": "other"}, away)
    assert (quarters.told, quarters.works, quarters.hops) == ([], [], 0)
    assert [letter["reason"] for letter in quarters.dead] == ["conflict"]


class Growing:
    """The routers of `touches`, in which partitions are added; each hop is delivered, in any order that `pick` chooses."""

    def __init__(self, folder, pick):
        self.doors = [Entrance(folder, homes=Homes(4)) for _ in range(7)]
        self.pick, self.under_way = pick, []
        self.told, self.works, self.dead, self.hops = [], [], [], 0

    def grow(self):
        """Let all know that there are seven, and were four: `repartition` sees to it that no worker is left of before."""
        for door in self.doors:
            door.router = Router(replace(door.router._deps, homes=Homes(7, 4)))

    def give(self, touch, partition):
        self.under_way.append((touch, partition, b"key", (("h", b"v"),)))

    def deliver(self, most=1_000):
        while self.under_way and most:
            most -= 1
            touch, partition, key, headers = self.under_way.pop(self.pick(len(self.under_way)))
            door = self.doors[partition].give(touch, partition=partition, key=key, headers=headers)
            self.told += [(event.touch_id, event.state.value) for event in door.events]
            self.works += door.works
            self.dead += door.dead
            self.hops += len(door.hops)
            self.under_way += [(each.value, each.partition, each.key, each.headers) for each in door.hops]


@given(st.data())
@settings(max_examples=150)
def test_partitions_can_be_added_and_each_touch_still_has_one_story(data):
    def pick(count):
        return data.draw(st.integers(0, count - 1))

    with tempfile.TemporaryDirectory() as folder:
        growing, ids = Growing(Path(folder), pick), [f"t{n}" for n in range(3)]
        for partitions in (4, 7, 7):
            if partitions == 7:
                growing.grow()
            for _ in range(data.draw(st.integers(0, 4))):
                change = data.draw(st.sampled_from([{}, {"to": "12"}, {"body": "other"}]))
                growing.give({**SMS, "touch_id": data.draw(st.sampled_from(ids)), **change}, pick(partitions))
            growing.deliver(data.draw(st.integers(0, 8)))
        growing.deliver()
        assert growing.under_way == [], "each record comes to its end"
        stories = Counter(touch_id for touch_id, _ in growing.told)
        assert all(count == 1 for count in stories.values()), growing.told
        sent = Counter(work.touch_id for _, _, work in growing.works)
        assert all(count == 1 for count in sent.values()), growing.told
        for told in growing.works:
            assert (told[2].touch_id, "accepted") in growing.told


def test_a_touch_that_was_accepted_before_partitions_were_added_is_recognised_and_a_new_one_goes_to_its_new_home(
    tmp_path,
):
    growing = Growing(tmp_path, lambda _: 0)
    moved = next(f"t{n}" for n in range(99) if home_of(f"t{n}", 7) != home_of(f"t{n}", 4))
    growing.give({**SMS, "touch_id": moved}, 1)
    growing.deliver()
    growing.grow()
    for partition in range(7):
        growing.give({**SMS, "touch_id": moved}, partition)
        growing.give({**SMS, "touch_id": f"{moved}-new"}, partition)
    growing.deliver()
    assert growing.told == [(moved, "accepted"), (f"{moved}-new", "accepted")]
    assert [work.origin for _, _, work in growing.works] == [home_of(moved, 4), home_of(f"{moved}-new", 7)]
    growing.hops = 0
    growing.give({**SMS, "touch_id": "x"}, home_of("x", 7))
    growing.deliver()
    assert growing.hops == (0 if home_of("x", 7) == home_of("x", 4) else 2)


FORGED = [
    b"",
    b"x",
    b"{}",
    b"[]",
    b"7",
    b'{"to": 9}',
    None,
    *(
        json.dumps(
            {"of": PARTITIONS, "to": 0, "partition": 0, "offset": 0, "timestamp": 0, "key": None, **wrong}
        ).encode()
        for wrong in (
            {"to": "3"},
            {"key": "a"},
            {"key": 5},
            {"key": "\u00e9"},
            {"key": []},
            {"offset": 2**64 - 1},
            {"offset": -1},
            {"partition": 99999999999},
            {"partition": True},
            {"timestamp": 1.5},
            {"of": None},
        )
    ),
]


@pytest.mark.parametrize("header", FORGED)
def test_a_hops_header_that_no_router_wrote_is_nothing(quarters, header):
    home = home_of("t1", PARTITIONS)
    away = (home + 1) % PARTITIONS
    forged = (("pipeline-hop", header),)
    assert len(quarters.doors[away].give(SMS, partition=away, headers=forged).hops) == 1
    assert quarters.doors[home].give(SMS, partition=home, headers=forged).told() == [("accepted", None)]
    (letter,) = quarters.doors[home].give(b"garbage", partition=home, headers=forged).dead
    assert letter["source_partition"] == home


def test_a_header_that_says_so_does_not_make_another_partition_the_home(quarters):
    home = home_of("t1", PARTITIONS)
    for partition in range(PARTITIONS):
        said = json.dumps(
            {"of": PARTITIONS, "to": partition, "partition": 0, "offset": 0, "timestamp": 0, "key": None}
        ).encode()
        door = quarters.doors[partition].give(SMS, partition=partition, headers=(("pipeline-hop", said),))
        assert [hop.partition for hop in door.hops] == ([] if partition == home else [home])


def test_routers_that_know_other_numbers_of_partitions_send_no_touch_back_and_forth(quarters):
    other = next(
        n for n in range(2, 50) if home_of("t1", n) != home_of("t1", PARTITIONS) and home_of("t1", n) < PARTITIONS
    )
    home = home_of("t1", other)
    said = json.dumps({"of": other, "to": home, "partition": 0, "offset": 0, "timestamp": 0, "key": None}).encode()
    assert quarters.doors[home].give(SMS, partition=home, headers=(("pipeline-hop", said),)).hops == []


def test_a_hop_that_was_copied_to_another_partition_hops_again(quarters):
    home = home_of("t1", PARTITIONS)
    first = quarters.doors[(home + 1) % PARTITIONS].give(SMS, partition=(home + 1) % PARTITIONS).hops[0]
    copied = quarters.doors[(home + 2) % PARTITIONS].give(
        first.value, partition=(home + 2) % PARTITIONS, headers=first.headers
    )
    assert [hop.partition for hop in copied.hops] == [home]


def test_a_touch_as_large_as_touches_takes_still_fits_after_its_hop(quarters):
    away = (home_of("t1", PARTITIONS) + 1) % PARTITIONS
    large = {**SMS, "body": "x" * (1024 * 1024)}
    headers = (*((f"h{n}", b"v" * 1000) for n in range(63)), ("pipeline-replay-of", b"x"))
    (hop,) = quarters.doors[away].give(large, partition=away, key=b"k" * 1000, headers=headers).hops
    assert len(hop.value) + sum(len(n) + len(v) for n, v in hop.headers) < TOUCH_MESSAGE_BYTES - 500
    assert [name for name, _ in hop.headers] == ["pipeline-replay-of", "pipeline-hop"]


@given(
    st.lists(
        st.tuples(st.sampled_from(["a", "b"]), st.sampled_from(["x", "y"]), st.integers(0, PARTITIONS - 1)), max_size=12
    )
)
def test_each_id_has_one_story_and_one_send_wherever_its_records_come_to(records):
    quarters = Quarters(Path("templates"))
    for touch_id, body, partition in records:
        quarters.give({**SMS, "touch_id": touch_id, "body": body}, partition)
    ids = {touch_id for touch_id, _, _ in records}
    assert sorted(quarters.told) == sorted((each, "accepted", home_of(each, PARTITIONS)) for each in ids)
    assert len(quarters.works) == len(ids)
    first = {each: next(body for touch_id, body, _ in records if touch_id == each) for each in ids}
    assert len(quarters.dead) == sum(body != first[touch_id] for touch_id, body, _ in records)


@pytest.mark.parametrize(
    ("broken", "told"),
    [
        ("digest", [("failed", "invalid")]),
        ("find_sender", [("failed", "invalid")]),
        ("parse_touch", [("failed", "invalid")]),
        ("encode_work", [("failed", "invalid")]),
        ("encode_event", []),
    ],
)
def test_a_record_that_trips_a_bug_is_answered_where_its_touch_is_known_and_the_others_are_unharmed(
    door, broken, told, monkeypatch, caplog
):
    whole = getattr(route, broken)

    def trips(*given, **more):
        if "t2" in repr(given) or "2125552369" in repr(given):
            raise KeyError("planted")
        return whole(*given, **more)

    monkeypatch.setattr(route, broken, trips)
    door.give(
        SMS, {**SMS, "touch_id": "t2", "to": "+1 212 555 2369"}, {**SMS, "touch_id": "t3", "to": "+1 212 555 2367"}
    )
    assert [(e.state.value, e.reason.value) for e in door.events if e.touch_id == "t2"] == told
    assert [work.touch_id for _, _, work in door.works] == ["t1", "t3"]
    assert [(letter["source_offset"], letter["touch_id"]) for letter in door.dead] == [(1, "t2" if told else None)]
    assert "touches[0]@1 is put aside: internal error: KeyError: 'planted'" in caplog.text
    assert caplog.text.count("is put aside") == 1


def test_what_could_not_be_parsed_is_a_dead_letter_with_what_there_is_of_it(door):
    record = Record(
        "touches", 0, 5, NOW, None, b"raw", (), "the batch of offsets 5 to 9 cannot be read: its checksum is wrong"
    )
    step = door.router.step([record], door.table, NOW)
    (letter,) = [decode("dead_letter", o.value) for o in step.outputs]
    assert (letter["reason"], letter["value"], letter["source_offset"], letter["error"]) == (
        "undecodable",
        b"raw",
        5,
        record.flaw,
    )


@pytest.mark.parametrize(
    ("touch", "told"),
    [
        ({**SMS, "body": "x" * 6_000_000}, [("failed", "invalid")]),
        ({**SMS, "variables": {"v": "x" * 1_200_000}}, [("failed", "invalid")]),
        ({**EMAIL, "headers": {"h": "x" * 3_000_000}}, [("failed", "invalid")]),
        ({**SMS, "touch_id": "not one!", "body": "x" * 2_000_000}, []),
        (b"[" + b"1," * 1_000_000 + b"1]", []),
        (b"x" * 2_000_000, []),
        (bytes(3_000_000), []),
        ({**SMS, "body": "x" * 9_000_000}, []),
        (
            encode(
                "touch",
                {
                    **SMS,
                    "body": "x" * 2_000_000,
                    "variables": {},
                    "attachments": [],
                    "headers": {},
                    "priority": 5,
                    "metadata": {},
                },
            ),
            [("failed", "invalid")],
        ),
        ({**SMS, "body": "ä" * 1_000_000}, [("failed", "invalid")]),
    ],
    ids=range(10),
)
def test_a_value_that_is_too_long_is_refused_with_the_limit_and_the_others_go(door, touch, told):
    door.give(touch, {**SMS, "touch_id": "t9"})
    assert [(e.state.value, e.reason.value) for e in door.events if e.touch_id != "t9"] == told
    assert [letter["reason"] for letter in door.dead] == ["invalid" if told else "undecodable"]
    assert f"at most {TOUCH_BYTES}" in door.dead[0]["error"]
    assert [work.touch_id for _, _, work in door.works] == ["t9"]


def test_a_touch_that_grows_too_large_when_it_is_composed_is_invalid_with_the_limit(tmp_path):
    (tmp_path / "long").mkdir()
    (tmp_path / "long" / "email.html").write_text("{{ v }}" * 4)
    (tmp_path / "long" / "subject.txt").write_text("s")
    door = Entrance(tmp_path).give({**EMAIL, "body": None, "template": "long", "variables": {"v": "x" * 700_000}})
    assert door.told() == [("failed", "invalid")]
    assert door.works == []


def test_a_stray_that_is_too_long_is_answered_by_its_home_and_buried_once(quarters):
    home = home_of("t1", PARTITIONS)
    away = (home + 1) % PARTITIONS
    refused = quarters.doors[away].give({**SMS, "body": "x" * 2_000_000}, partition=away)
    assert (refused.told(), [letter["reason"] for letter in refused.dead]) == ([], ["invalid"])
    (hop,) = refused.hops
    assert (hop.partition, len(hop.value) < 1_000) == (home, True)
    at_home = quarters.doors[home].give(hop.value, partition=home, headers=hop.headers)
    assert (at_home.told(), at_home.dead) == ([("failed", "invalid")], [])
    assert f"at most {TOUCH_BYTES}" in at_home.events[0].error
    again = quarters.doors[home].give(hop.value, partition=home, headers=hop.headers)
    assert again.told() == []


def test_a_stray_that_is_too_long_does_not_end_the_story_of_another_touch_with_its_id(quarters):
    home = home_of("t1", PARTITIONS)
    away = (home + 1) % PARTITIONS
    quarters.doors[home].give(SMS, partition=home)
    (hop,) = quarters.doors[away].give({**SMS, "body": "x" * 2_000_000}, partition=away).hops
    assert quarters.doors[home].give(hop.value, partition=home, headers=hop.headers).told() == []


def test_every_record_about_a_person_carries_the_hash_of_the_address_and_the_purpose_is_kept(door):
    door.give(
        {**SMS, "touch_id": "a", "purpose": "transactional"},
        {**EMAIL, "touch_id": "b"},
        {**SMS, "touch_id": "c", "to": "x"},
    )
    hashes = [address_hash(Channel.SMS, "+12125552368"), address_hash(Channel.EMAIL, "Ann@example.com"), None]
    assert [event.recipient for event in door.events] == hashes
    assert [(w.recipient, w.purpose, w.accepted_ms) for _, _, w in door.works] == [
        (hashes[0], Purpose.TRANSACTIONAL, NOW),
        (hashes[1], Purpose.MARKETING, NOW),
    ]


def test_an_unknown_purpose_is_refused_and_named(door):
    door.give({**SMS, "touch_id": "a", "purpose": "spam"})
    assert door.told() == [("failed", "invalid")]
    assert 'purpose is "spam"; allowed: marketing, transactional' in door.events[0].error


def test_touches_of_a_stream_wait_for_each_other_a_quarter_of_a_second_at_most(door):
    rests = [
        door.give(*({**SMS, "touch_id": f"{count}-{n}"} for n in range(count))).step.rest_ms for count in (0, 1, 10, 40)
    ]
    assert rests == [0, 20, 200, 250]
