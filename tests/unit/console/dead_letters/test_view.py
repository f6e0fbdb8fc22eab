"""A dead letter is read in all its forms, shown without steering a terminal, and chosen by reason and time."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from io import BytesIO
from typing import TYPE_CHECKING, Any

import pytest
from fastavro import schemaless_writer
from hypothesis import given
from hypothesis import strategies as st

from pipeline.console.dead_letters.view import LetterFilter, ShownLetter, json_of, letter_of, line_of, moment_ms, page
from pipeline.domain.dead_letter import DeadLetter, DeadReason
from pipeline.kafka.topic import RecordPosition
from pipeline.records import schemas
from pipeline.records.published import UndecodableValue, ValueReader
from pipeline.records.single_object import encode
from pipeline.records.writing import Confluent, dead_letter_value, json_object, single_object
from tests.harness.registry import FakeRegistry

if TYPE_CHECKING:
    from collections.abc import Callable

AT = 1_795_521_784_567
SPOT = RecordPosition(3, 17)
DEAD = DeadLetter(
    DeadReason.INVALID,
    "to is wrong",
    "p.touches",
    2,
    1234,
    b"t-1",
    b'{"touch_id":"t-1"}',
    [("source", b"\xff"), ("empty", None)],
    "t-1",
    AT,
)
TOUCH = {
    "touch_id": "t-1",
    "campaign_id": "c",
    "lead_id": "l",
    "channel": "sms",
    "to": "+1",
    "body": "Zo\u00eb",
    "variables": {},
    "attachments": [{"filename": "f", "content_type": "x/y", "content": b"\x00\x01", "url": None}],
    "headers": {},
    "priority": 5,
    "metadata": {},
}


def shown(**change: Any) -> list[str]:
    return list(page(ShownLetter(SPOT, replace(DEAD, **change)), ValueReader("touch")))


def value_of(**change: Any) -> tuple[str, str]:
    lines = shown(**change)
    at = lines.index("")
    return lines[at - 1], "\n".join(lines[at + 1 :])


@pytest.mark.parametrize("write", [single_object, json_object, Confluent({"dead_letter": 7})])
def test_a_letter_is_read_in_any_of_its_forms(write: Callable[[str, dict[str, Any]], bytes]):
    reader = ValueReader("dead_letter", FakeRegistry("dead_letter"))
    assert letter_of(SPOT, reader(dead_letter_value(write, DEAD))) == ShownLetter(SPOT, DEAD)
    bare = replace(DEAD, key=None, value=None, headers=[], touch_id=None)
    assert letter_of(SPOT, reader(dead_letter_value(write, bare))) == ShownLetter(SPOT, bare)


@pytest.mark.parametrize(
    "change",
    [
        {"reason": "other"},
        {"value": "no base64!"},
        {"headers": None},
        {"headers": [{}]},
        {"occurred_at": None},
        {"source_partition": "x"},
    ],
)
def test_what_is_no_letter_is_illegible(change: dict[str, Any]):
    datum = json.loads(dead_letter_value(json_object, DEAD))
    with pytest.raises(UndecodableValue):
        letter_of(SPOT, {**datum, **change})
    with pytest.raises(UndecodableValue):
        letter_of(SPOT, {})


def test_the_line_has_time_place_reason_source_touch_and_error():
    line = line_of(ShownLetter(SPOT, replace(DEAD, error="a\x1b[2J\nb")))
    assert line.split() == ["2026-11-24T12:03:04.567Z", "3/17", "invalid", "p.touches/2/1234", "t-1", "a?[2J?b"]
    assert line_of(ShownLetter(SPOT, replace(DEAD, touch_id=None))).split()[4] == "-"


def test_json_says_what_the_line_says_and_whole_adds_the_bytes():
    told = json.loads(json_of(ShownLetter(SPOT, DEAD)))
    assert told == {
        "place": "3/17",
        "occurred_at": AT,
        "reason": "invalid",
        "error": "to is wrong",
        "source_topic": "p.touches",
        "source_partition": 2,
        "source_offset": 1234,
        "touch_id": "t-1",
    }
    whole = json.loads(json_of(ShownLetter(SPOT, DEAD), whole=True))
    assert base64.b64decode(whole["value"]) == DEAD.value
    assert whole["headers"] == [{"name": "source", "value": "/w=="}, {"name": "empty", "value": None}]
    assert json_of(ShownLetter(SPOT, replace(DEAD, error="\x9b2J\u202e"))).isprintable()


def test_the_page_shows_everything():
    lines = shown()
    assert lines[:9] == [
        "place     3/17",
        "time      2026-11-24T12:03:04.567Z",
        "reason    invalid",
        "error     to is wrong",
        "source    p.touches/2/1234",
        "touch_id  t-1",
        "key       t-1",
        r"header    source: \xff",
        "header    empty: null",
    ]
    assert lines[9:] == ["value     18 bytes, JSON", "", "{", '  "touch_id": "t-1"', "}"]


def test_no_value_and_no_key_are_null():
    lines = shown(value=None, key=None)
    assert "key       null" in lines
    assert lines[-1] == "value     null"


def test_an_avro_touch_is_shown_as_json_in_both_framings():
    out = BytesIO()
    schemaless_writer(out, schemas.current("touch").parsed, TOUCH)
    fetching = ValueReader("touch", FakeRegistry("touch"))
    for value in (encode("touch", TOUCH), b"\x00\x00\x00\x00\x07" + out.getvalue()):
        lines = list(page(ShownLetter(SPOT, replace(DEAD, value=value)), fetching))
        at = lines.index("")
        assert lines[at - 1].endswith("bytes, Avro")
        told = json.loads("\n".join(lines[at + 1 :]))
        assert (told["body"], told["attachments"][0]["content"]) == ("Zo\u00eb", "AAE=")


def test_what_is_no_json_is_shown_as_text_or_as_a_dump():
    assert value_of(value=b'{"a": 1,\n\x1b[2J') == ("value     13 bytes, no JSON", '{"a": 1,\n\\x1b[2J')
    form, dump = value_of(value=b"\xc3\x01\xff<a>\x9b" + bytes(20))
    assert "not readable" in form
    assert dump.split("\n")[0] == "00000000  c3 01 ff 3c 61 3e 9b 00 00 00 00 00 00 00 00 00  ...<a>.........."
    assert len(dump.split("\n")) == 2
    assert value_of(value=b"\x00\xff")[1].startswith("00000000  00 ff ")
    assert value_of(value=b'{"a":' * 500 + b"1" + b"}" * 500)[1].startswith('{"a":{"a":')


def test_json_stays_the_same_json_when_it_is_escaped():
    said = {"a": "\u202e\x9b\u200d\U000e0001 \u00eb", "b": "\x1b"}
    _, text = value_of(value=json.dumps(said, ensure_ascii=False).encode())
    assert json.loads(text) == said
    assert "\u00eb" in text


@given(
    st.binary()
    | st.text().map(str.encode)
    | st.dictionaries(st.text(), st.text()).map(lambda d: json.dumps(d, ensure_ascii=True).encode()),
    st.text(),
)
def test_nothing_in_a_letter_steers_a_terminal(value: bytes, text: str):
    lines = shown(value=value, key=value, error=text, headers=[(text, value)], source_topic=text, touch_id=text)
    assert all(line.isprintable() for line in lines)
    assert line_of(ShownLetter(SPOT, replace(DEAD, error=text, source_topic=text, touch_id=text))).isprintable()


def test_letters_are_chosen_by_reason_and_time():
    letter = ShownLetter(SPOT, DEAD)
    assert letter in LetterFilter()
    assert letter in LetterFilter(frozenset({DeadReason.INVALID, DeadReason.CONFLICT}), AT, AT + 1)
    assert letter not in LetterFilter(frozenset({DeadReason.CONFLICT}))
    assert letter not in LetterFilter(since_ms=AT + 1)
    assert letter not in LetterFilter(until_ms=AT)


def test_a_moment_is_so_long_ago_or_an_instant_with_its_offset():
    assert moment_ms("10m", AT) == AT - 600_000
    assert moment_ms("2026-11-24T12:03:04.567Z", 0) == moment_ms("2026-11-24T14:03:04.567+02:00", 0) == AT
    for wrong in ("soon", "2026-11-24", "2026-11-24T12:03:04", "10", ""):
        with pytest.raises(ValueError, match="neither a duration"):
            moment_ms(wrong, AT)
