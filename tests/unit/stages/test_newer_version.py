"""What a newer version wrote into an internal topic or a table stops the worker with a line; it is never passed over."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import msgpack

from pipeline.domain.story import Event, Reason, State
from pipeline.domain.work import Channel, Claim, Phase, Request, Scheduled
from pipeline.flow import LANES, RESULTS, SCHEDULED
from pipeline.records import (
    UnknownVersion,
    decode_event,
    decode_unconfirmed,
    encode_claim,
    encode_event,
    encode_scheduled,
    encode_work,
    schemas,
)
from pipeline.records.single_object import HEADER_BYTES, MARKER, decode, encode
from pipeline.stage_io import MemoryTable, Record
from pipeline.stages.dedup import Dedup
from pipeline.stages.lane import Lane, table
from pipeline.stages.lane.breaker import Breaker, Outage
from pipeline.stages.schedule import DEFERRED, Scheduler
from pipeline.stages.ttl import ENTRY
from tests.harness.lane_rig import T0, build, policy, work

UPGRADE = "upgrade this worker"


def str_only(each: Any) -> str:
    return each if isinstance(each, str) else "-"


def newer(value: bytes) -> bytes:
    """Return the record as the next version would write it, with a field more."""
    version = int.from_bytes(value[8:HEADER_BYTES], "big") + 1
    fields = [*msgpack.decode(value[HEADER_BYTES:]), "added later"]
    return value[:8] + version.to_bytes(2, "big") + msgpack.encode(fields)


def with_value(value: bytes, at: int, member: str) -> bytes:
    """Return a record of today's version in which a closed set has a member more; `at` is the field's number."""
    fields = msgpack.decode(value[HEADER_BYTES:])
    fields[at] = member
    return value[:HEADER_BYTES] + msgpack.encode(fields)


WORK = encode_work(work("t"))
EVENT = encode_event(Event("t", "c", "l", "sms", State.ACCEPTED, T0, Reason.WINDOW))
DUE = encode_scheduled(Scheduled(T0, Channel.SMS, 3, "t", WORK))
CLAIM = encode_claim(Claim("k", (work("t"),), Request("/send", b"", "text/plain", "k"), T0, T0 + 5_000, Phase.CALLING))
STATE = table.LaneState().pack()
PAUSED = table.LaneState(
    breaker=Breaker(Outage(since_ms=T0, until_ms=T0 + 1, tries=1, code="503", error="down"))
).pack()


def dedup(value: bytes | None, rows: dict[bytes, bytes]) -> Any:
    stage = Dedup(lambda event, sequence: f"{sequence}:{event.touch_id}".encode(), 1_000)
    return stage.step([Record(RESULTS, 3, 17, T0, b"t", value)], MemoryTable(rows), T0)


def scheduler(value: bytes | None, rows: dict[bytes, bytes]) -> Any:
    return Scheduler().step([Record(SCHEDULED, 3, 17, T0, b"t", value)], MemoryTable(rows), T0)


def lane(value: bytes | None, rows: dict[bytes, bytes]) -> Any:
    stage, table = Lane(policy(), 0, build, replays=False, by_text=True, dedup_for_ms=10**10), MemoryTable(rows)
    stage.open(table, T0)
    return stage.step(table, [Record("touches.sms", 3, 17, T0, b"t", value)], [], T0, lambda: 0.5)


READERS = {"dedup": dedup, "scheduler": scheduler, "lane": lane}


@pytest.mark.parametrize(
    ("reader", "topic", "value", "why"),
    [
        ("dedup", RESULTS, newer(EVENT), "version 2 of event"),
        ("dedup", RESULTS, with_value(EVENT, 4, "bounced"), "an enum value 'bounced'"),
        ("dedup", RESULTS, with_value(EVENT, 6, "asleep"), "an enum value 'asleep'"),
        ("scheduler", SCHEDULED, newer(DUE), "version 2 of scheduled"),
        ("scheduler", SCHEDULED, with_value(DUE, 1, "fax"), "an enum value 'fax'"),
        ("lane", "touches.sms", newer(WORK), "version 2 of work"),
        ("lane", "touches.sms", with_value(WORK, 3, "fax"), "an enum value 'fax'"),
        ("lane", "touches.sms", newer(WORK)[:40], "version 2 of work"),
    ],
    ids=str_only,
)
def test_a_record_of_a_newer_version_stops_its_reader_with_a_line_that_says_where_it_is(reader, topic, value, why):
    with pytest.raises(UnknownVersion) as stopped:
        READERS[reader](value, {})
    line = str(stopped.value)
    assert line.startswith(f"{topic}[3]@17 was written by a newer version")
    assert line.endswith(UPGRADE)
    assert why in line
    assert "\n" not in line


@pytest.mark.parametrize(
    ("reader", "value", "rows", "why"),
    [
        ("dedup", EVENT, {ENTRY + b"t": (1).to_bytes(4, "big") + b"bounced"}, "bounced"),
        ("scheduler", DUE, {DEFERRED + bytes(16): newer(DUE)}, "scheduled"),
        ("scheduler", DUE, {DEFERRED + bytes(16): with_value(DUE, 1, "fax")}, "fax"),
        ("lane", WORK, {table.CLAIM + b"k": newer(CLAIM)}, "claim"),
        ("lane", WORK, {table.CLAIM + b"k": with_value(CLAIM, 5, "probing")}, "probing"),
        (
            "lane",
            WORK,
            {table.WAITING + bytes(17): newer(WORK), table.STATE: table.LaneState(waiting=1).pack()},
            "work",
        ),
        ("lane", WORK, {table.STATE: STATE.replace(b"{", b'{"quota":1,', 1)}, "quota"),
        ("lane", WORK, {table.STATE: PAUSED.replace(b'"pause":{', b'"pause":{"cause":"x",')}, "cause"),
    ],
    ids=str_only,
)
def test_a_table_that_a_newer_version_wrote_stops_who_opens_it(reader, value, rows, why):
    with pytest.raises(UnknownVersion, match=why) as stopped:
        READERS[reader](value, rows)
    assert str(stopped.value).endswith(UPGRADE)


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"",
        b"{}",
        b"none of ours",
        b"\xc3",
        MARKER,
        MARKER + bytes(7),
        EVENT[:10],
        DUE[:-1],
        WORK + b"more",
        encode(
            "touch",
            {
                "touch_id": "t",
                "campaign_id": "c",
                "lead_id": "l",
                "channel": "sms",
                "to": "+12125550000",
                "variables": {},
                "attachments": [],
                "headers": {},
                "priority": 5,
                "metadata": {},
            },
        ),
    ],
)
@pytest.mark.parametrize("reader", READERS)
def test_what_no_version_of_ours_wrote_stops_nobody(reader, value, caplog):
    with caplog.at_level(logging.ERROR):
        step = READERS[reader](value, {})
    (letter,) = (each for each in step.outputs if each.topic != LANES)
    assert decode("dead_letter", letter.value)["value"] == value
    assert "[3]@17" in caplog.text


@given(st.binary(min_size=8, max_size=8), st.binary(max_size=30))
def test_any_unknown_fingerprint_is_a_newer_version(fingerprint, rest):
    assert schemas.name_of(fingerprint) is None
    with pytest.raises(UnknownVersion):
        decode_event(MARKER + fingerprint + rest)


def test_a_touch_left_unconfirmed_by_a_newer_version_says_so_too():
    with pytest.raises(UnknownVersion, match="claim"):
        decode_unconfirmed(
            encode(
                "unconfirmed",
                {
                    "touch_id": "t",
                    "channel": "sms",
                    "sender": "default",
                    "occurred_at": T0,
                    "error": "",
                    "claim": newer(CLAIM),
                    "resolution": None,
                    "resolved_at": None,
                    "provider_message_id": None,
                    "resent_as": None,
                },
            )
        )
