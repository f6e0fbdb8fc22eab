"""Our own records are read in any of their three forms."""

from __future__ import annotations

from io import BytesIO

import pytest
from fastavro import schemaless_writer

from pipeline.console.status.view import occurred_ms
from pipeline.records import schemas
from pipeline.records.published import UndecodableValue, ValueReader
from pipeline.records.single_object import encode
from tests.harness.registry import FakeRegistry

AT = 1_795_521_784_567
TOLD = {
    "touch_id": "t-1",
    "campaign_id": "c",
    "lead_id": "l",
    "channel": "sms",
    "state": "sent",
    "reason": None,
    "attempt": 1,
    "sequence": 2,
    "sender": "main",
    "provider_message_id": "SM1",
    "error_code": None,
    "error": None,
    "next_attempt_at": None,
    "metadata": {"k": "v"},
    "occurred_at": AT,
    "recipient": "4b1d",
    "order": None,
}


def confluent(number: int, version: str = "status") -> bytes:
    out = BytesIO()
    schemaless_writer(out, schemas.current(version).parsed, TOLD)
    return b"\x00" + number.to_bytes(4) + out.getvalue()


def test_a_single_object_is_read():
    assert ValueReader("status")(encode("status", TOLD)) == TOLD


def test_json_is_read():
    told = ValueReader("status")(b'{"touch_id":"t-1","state":"sent","occurred_at":1795521784567}')
    assert (told["touch_id"], occurred_ms(told)) == ("t-1", 1_795_521_784_567)


def test_confluent_is_read_and_each_schema_fetched_once():
    registry = FakeRegistry("status")
    reader = ValueReader("status", registry)
    assert [reader(confluent(7)), reader(confluent(7))] == [TOLD, TOLD]
    assert registry.asked == [7]


@pytest.mark.parametrize(
    "value", [None, b"", b"[1]", b"{nope", b"\xc3\x01" + b"\x00" * 8, b"\xc3\x01", encode("status", TOLD)[:-4]]
)
def test_what_is_none_of_ours_is_illegible(value: bytes | None):
    with pytest.raises(UndecodableValue):
        ValueReader("status")(value)


def test_confluent_without_a_registry_is_illegible_and_says_why():
    with pytest.raises(UndecodableValue, match="schema_registry_url"):
        ValueReader("status")(confluent(7))


def test_a_truncated_confluent_record_is_illegible():
    with pytest.raises(UndecodableValue):
        ValueReader("status", FakeRegistry("status"))(confluent(7)[:-4])


def test_a_schema_that_the_registry_does_not_have_is_no_end_of_the_reading():
    with pytest.raises(UndecodableValue, match="the registry does not know it"):
        ValueReader("status", FakeRegistry("status"))(confluent(404))
