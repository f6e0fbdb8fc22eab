"""What producers really write: read as it was meant, or refused by its own name, at a cost that its length bounds."""

from __future__ import annotations

import base64
import gc
import gzip
import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.domain.attachment import NotBase64, decoded
from pipeline.domain.instant import NotAnInstant, instant_ms
from pipeline.records.framing import TouchReader, Undecodable
from pipeline.records.single_object import encode
from pipeline.stages.step import RepeatDropped
from tests.harness.route_rig import EMAIL, NOW, SMS, Entrance

AVRO = {**SMS, "variables": {}, "attachments": [], "headers": {}, "priority": 2, "metadata": {}}


def raw(member: str, **others: object) -> bytes:
    return json.dumps({**SMS, **others}).encode()[:-1] + b", " + member.encode() + b"}"


# --- numbers ----------------------------------------------------------------------------------------------------

NUMBERS = [
    "123456789012345678901234",
    "1.10",
    "1e400",
    "-0",
    "-0.0",
    "1E5",
    "1e5",
    "0.1",
    "3.0",
    "1e-400",
    "18446744073709551616",
    "-9223372036854775809",
    "0",
    "7",
    "100000000000000000000000.5",
    "9" * 3000,
    "0.30000000000000004",
    "1.7976931348623157e309",
]


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("room", ["variables", "metadata"])
def test_a_numbers_own_text_is_kept(number, room):
    datum = TouchReader().read(raw(f'"{room}": {{"n": {number}, "s": "1.10", "b": true, "x": null}}'))
    kept = datum[room]["n"]
    assert (kept if isinstance(kept, str) else json.dumps(kept)) == number
    assert (datum[room]["s"], datum[room]["b"], datum[room]["x"]) == ("1.10", True, None)


numbers_as_text = st.from_regex(r"-?(0|[1-9][0-9]{0,25})(\.[0-9]{1,20})?([eE][+-]?[0-9]{1,4})?", fullmatch=True)


@given(st.lists(numbers_as_text, max_size=5))
def test_whatever_the_number_its_text_arrives(numbers):
    inside = ", ".join(f'"k{at}": {number}' for at, number in enumerate(numbers))
    got = TouchReader().read(raw(f'"variables": {{{inside}}}'))["variables"]
    assert [v if isinstance(v, str) else json.dumps(v) for v in got.values()] == numbers


def test_a_number_arrives_in_the_message_and_in_the_status_as_it_was_written(door, tmp_path):
    (tmp_path / "hello" / "sms.txt").write_text("Order {{ n }}")
    touch = {k: v for k, v in SMS.items() if k != "body"}
    value = (
        json.dumps(touch)[:-1]
        + ', "template": "hello", "variables": {"n": 123456789012345678901234}, "metadata": {"p": 1.10}}'
    )
    door.give(value.encode(), value.replace("1.10", "1.1").encode())
    assert door.works[0][2].content.body == "Order 123456789012345678901234"
    assert door.events[0].metadata == {"p": "1.10"}
    assert door.step.counts[RepeatDropped("sms")] == 1


@pytest.mark.parametrize(
    "member",
    [
        '"variables": {"n": NaN}',
        '"variables": {"n": Infinity}',
        '"a": "\\ud800", "variables": {"n": 1e400}',
        '"variables": {"n": 01}',
        '"variables": {"n": 1.}',
        '"variables": {"n": 1.1, "n": }',
        '"x": -Infinity, "y": 1e999',
    ],
)
def test_what_is_no_number_is_no_json(member):
    with pytest.raises(Undecodable):
        TouchReader().read(raw(member))


def test_the_last_of_two_members_with_one_name_counts_whichever_way_it_is_read():
    assert TouchReader().read(raw('"variables": {"n": 1, "n": 2}'))["variables"] == {"n": 2}
    assert TouchReader().read(raw('"variables": {"n": 1.10, "n": 2.20}'))["variables"] == {"n": "2.20"}


# --- instants ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "at"),
    [
        (1_790_000_000_000, 1_790_000_000_000),
        (1_790_000_000_000.0, 1_790_000_000_000),
        ("2030-01-01T09:00:00+01:00", 1_893_484_800_000),
        ("2030-01-01T08:00:00Z", 1_893_484_800_000),
        ("2030-01-01t08:00:00z", 1_893_484_800_000),
        ("2030-01-01 08:00:00+00:00", 1_893_484_800_000),
        ("2030-01-01 08:00:00+00", 1_893_484_800_000),
        ("2030-01-01T08:00Z", 1_893_484_800_000),
        ("2030-01-01T08:00:00.000000000Z", 1_893_484_800_000),
        ("2030-01-01T09:00:00.000+0100", 1_893_484_800_000),
        ("9999-12-31T23:59:59.999Z", 253_402_300_799_999),
        (10**12, 10**12),
    ],
)
def test_an_instant_is_read(value, at):
    assert instant_ms(value) == at


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (1_790_000_000, "epoch seconds"),
        (1_790_000_000.0, "epoch seconds"),
        (999_999_999_9, "epoch seconds"),
        (1_790_000_000_000_000, "microseconds"),
        (1_790_000_000_000_000_000, "nanoseconds"),
        (0, "before 2001"),
        (-1, "before 2001"),
        (46_000, "day number"),
        (20_261_126, "before 2001"),
        (10**12 - 1, "before 2001"),
        ("1970-01-01T00:00:00Z", "before 2001"),
        ("0001-01-01T00:00:00Z", "before 2001"),
        (2**63 - 1, "nanoseconds"),
        (2**70, "further"),
        ("2030-01-01T09:00:00", "offset"),
        ("2030-01-01", "offset"),
        ("tomorrow", "offset"),
        (True, "milliseconds"),
        (1.5, "milliseconds"),
        ("2030-02-30T09:00:00Z", "offset"),
        ("1790000000000", "milliseconds"),
        ("2030-01-01T09:00:00+25:00", "offset"),
        ([], "offset"),
        (float("inf"), "offset"),
    ],
)
def test_an_instant_that_cannot_be_meant_is_refused_by_name(value, why):
    with pytest.raises(NotAnInstant, match=why):
        instant_ms(value)


def test_a_touch_with_such_an_instant_is_invalid_and_one_in_the_past_is_legal(door):
    door.give(
        {**SMS, "not_before": NOW // 1000},
        {**SMS, "touch_id": "b", "expires_at": NOW // 1000},
        {**SMS, "touch_id": "c", "not_before": NOW - 86_400_000},
        {**SMS, "touch_id": "d", "expires_at": NOW - 86_400_000},
        {**SMS, "touch_id": "e", "not_before": "2300-01-01T00:00:00Z"},
        {**SMS, "touch_id": "f", "expires_at": "9999-12-31T23:59:59Z"},
    )
    assert door.told() == [
        ("failed", "invalid"),
        ("failed", "invalid"),
        ("accepted", None),
        ("expired", "expires_at"),
        ("failed", "invalid"),
        ("accepted", None),
    ]
    assert "not_before" in door.events[0].error
    assert "epoch seconds" in door.events[0].error


# --- base64 and attachments -------------------------------------------------------------------------------------

SAID = bytes(range(256)) * 3
PLAIN = base64.b64encode(SAID).decode()


@pytest.mark.parametrize(
    "text",
    [
        PLAIN,
        base64.encodebytes(SAID).decode(),
        "\r\n".join(PLAIN[at : at + 64] for at in range(0, len(PLAIN), 64)),
        f" {PLAIN}\n",
        base64.urlsafe_b64encode(SAID).decode(),
        f"data:application/pdf;base64,{PLAIN}",
        f"DATA:;BASE64,{PLAIN}",
        f"data:text/plain;charset=utf-8;base64,{PLAIN}",
        "\t".join(PLAIN),
    ],
)
def test_base64_is_read_as_mailers_and_web_pages_write_it(text):
    assert decoded(text) == SAID


@given(st.binary(max_size=60), st.booleans(), st.booleans(), st.integers(1, 20))
def test_base64_in_any_dress_is_the_same_bytes_or_refused(said, url_safe, padded, width):
    text = (base64.urlsafe_b64encode if url_safe else base64.b64encode)(said).decode()
    text = text if padded else text.rstrip("=")
    assert decoded("\n".join(text[at : at + width] for at in range(0, len(text), width))) == said


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("%%", "alphabet"),
        ("a-b_c+d/", "two alphabets"),
        ("abcde", "cut off"),
        ("data:text/plain,hello", ";base64"),
        ("QUJD!", "alphabet"),
        ("QU=JD", "alphabet"),
        ("QUJDé", "alphabet"),
        ("data:,", ";base64"),
        ("<base64>", "alphabet"),
        ("QUJD\x00", "alphabet"),
    ],
)
def test_what_is_not_base64_says_why(text, why):
    with pytest.raises(NotBase64, match=why):
        decoded(text)


@pytest.mark.parametrize(
    ("attachment", "names"),
    [
        ({"content": "eA=="}, "attachments[1].filename is null"),
        ({"filename": "", "content": "eA=="}, 'attachments[1].filename is ""'),
        ({"filename": 5, "content": "eA=="}, "attachments[1].filename is 5"),
        ({"filename": "a\r\nb", "content": "eA=="}, "attachments[1].filename"),
        ({"filename": "a" * 300, "content": "eA=="}, "attachments[1].filename"),
        ({"filename": "a", "content": "%%"}, 'attachments[1].content is "%%"'),
        ({"filename": "a", "content": 5}, "attachments[1].content is 5"),
        ({"filename": "a", "content": [1]}, "attachments[1].content is a list of 1"),
        ({"filename": "a"}, "has neither"),
        ({"filename": "a", "content": "eA==", "url": "https://x.example"}, "has both"),
        ({"filename": "a", "url": "ftp://x.example"}, "attachments[1].url"),
        ({"filename": "a", "url": "https://x.example\r\nX: y"}, "attachments[1].url"),
        ({"filename": "a", "url": "https://x.example/" + "y" * 9000}, "attachments[1].url"),
        ("a", 'attachments[1] is "a"'),
        ({"filename": "a", "content": "eA==", "content_type": "text/plain\r\nX: y"}, "attachments[1].content_type"),
        ({"filename": "a", "content": "eA==", "content_type": 5}, "attachments[1].content_type is 5"),
    ],
)
def test_each_fault_of_an_attachment_has_a_sentence_of_its_own(door, attachment, names):
    door.give({**EMAIL, "attachments": [{"filename": "good", "content": "eA=="}, attachment]})
    assert door.told() == [("failed", "invalid")]
    assert names in door.events[0].error
    assert len(door.events[0].error) < 400


@pytest.mark.parametrize("url", ["https://x.example/\r\nX: y", "https://x.example/\x00", "https://x.example/\u2028"])
def test_a_link_is_one_line_wherever_it_may_lead(tmp_path, url):
    door = Entrance(tmp_path, attachment_urls="any")
    door.give({**EMAIL, "attachments": [{"filename": "a", "url": url}]})
    assert door.told() == [("failed", "invalid")]
    assert "attachments[0].url" in door.events[0].error


# --- what is no touch -------------------------------------------------------------------------------------------


def bare(datum: dict) -> bytes:
    return encode("touch", datum)[10:]


FOREIGN = [
    (b"\x00\x00\x00\x00\x07" + bare(AVRO), "schema registry (schema 7)"),
    (b"\x00\x00\x00\x00\x07" + json.dumps(SMS).encode(), "JSON Schema (schema 7)"),
    (b"Obj\x01" + b"x" * 100, "Avro container"),
    (bare(AVRO), "bare Avro"),
    (gzip.compress(json.dumps(SMS).encode()), "gzip"),
    (json.dumps(SMS).encode("utf-16"), "UTF-16"),
    (json.dumps(SMS).encode("utf-16-be"), "UTF-16"),
    (json.dumps(SMS).encode("utf-16-le"), "UTF-16"),
    (json.dumps(json.dumps(SMS)).encode(), "encoded twice"),
    (json.dumps([SMS]).encode(), "not an object"),
    (b"\x00\x00\x01", "schema id"),
    (json.dumps({**SMS, "body": "ü"}, ensure_ascii=False).encode("latin-1"), "neither Avro nor JSON"),
    (b"touch_id,to\nt1,+1", "neither Avro nor JSON"),
    (b"<touch/>", "neither Avro nor JSON"),
    (b"PK\x03\x04" + b"\x00" * 50, "ZIP"),
    (b"PAR1", "Parquet"),
    (b"\x28\xb5\x2f\xfd\x00", "zstd"),
    (b"", "neither"),
    (b"x" * 100_000, "neither"),
    (b"\xc3\x01" + b"\x11" * 60_000, "fingerprint"),
]


@pytest.mark.parametrize(("value", "name"), FOREIGN)
def test_what_is_no_touch_is_refused_by_its_own_name_in_a_line(door, value, name):
    door.give(value)
    (letter,) = door.dead
    assert letter["reason"] == "undecodable"
    assert name in letter["error"]
    assert len(letter["error"]) < 600


def test_a_damaged_record_is_told_in_a_line_however_large_it_is(door):
    value = encode("touch", {**AVRO, "metadata": {f"k{n}": "v" * 100 for n in range(900)}})
    for cut in (11, 500, len(value) - 1):
        assert len(door.give(value[:cut]).dead[0]["error"]) < 600


# --- bounds -----------------------------------------------------------------------------------------------------

LARGE = "x" * 900_000
EXPENSIVE = {
    "attachments": {**EMAIL, "attachments": [{"filename": "a", "content": "eA=="}] * 20_000},
    "broken attachments": {**EMAIL, "attachments": [[]] * 250_000},
    "empty lists": json.dumps(SMS).encode()[:-1] + b', "x": [' + b"[]," * 300_000 + b"[]]}",
    "nested lists": json.dumps(SMS).encode()[:-1] + b', "x": ' + b"[" * 400_000 + b"]" * 400_000 + b"}",
    "empty objects": json.dumps(SMS).encode()[:-1] + b', "x": [' + b"{}," * 300_000 + b"{}]}",
    "headers": {**EMAIL, "headers": {f"X-{n}": "v" for n in range(50_000)}},
    "variables": {**SMS, "variables": {f"v{n}": "v" for n in range(50_000)}},
    "metadata with floats": {**SMS, "metadata": {f"v{n}": 1.5 for n in range(50_000)}},
    "metadata with lists": {**SMS, "metadata": {f"v{n}": [] for n in range(19_000)}},
    "unknown members": {**SMS, **{f"m{n}": 0 for n in range(60_000)}},
    "zone": {**SMS, "time_zone": "Eastern Standard Time"},
    "long zone": {**SMS, "time_zone": LARGE},
    "to": {**SMS, "to": LARGE},
    "digits": {**SMS, "to": "+" + "1" * 900_000},
    "e-mail": {**EMAIL, "to": "a@" + "b." * 400_000 + "c"},
    "reply_to": {**EMAIL, "reply_to": '"' * 900_000},
    "from": {**EMAIL, "from": LARGE},
    "subject": {**EMAIL, "subject": LARGE},
    "header": {**EMAIL, "headers": {"List-Unsubscribe": "<mailto:" * 100_000}},
    "header name": {**EMAIL, "headers": {LARGE: "x"}},
    "key": {**SMS, "metadata": {LARGE: "x"}},
    "sender": {**SMS, "sender": LARGE},
    "template": {**SMS, "template": LARGE},
    "lead": {**SMS, "lead_id": LARGE},
    "touch_id": {**SMS, "touch_id": LARGE},
    "channel": {**SMS, "channel": LARGE},
    "filename": {**EMAIL, "attachments": [{"filename": LARGE, "content": ""}]},
    "base64": {**EMAIL, "attachments": [{"filename": "a", "content": "_+" * 450_000}]},
    "instant": {**SMS, "not_before": LARGE},
    "digits for an instant": raw('"not_before": ' + "9" * 900_000),
    "bytes": b"\x02" * 1_000_000,
    "zeros": b"\x00" * 1_000_000,
    "quotes": b'{"a":"' + b'\\"' * 450_000,
    "brackets in a string": raw(f'"x": "{"[{" * 400_000}"'),
    "open quotes": b'"[' * 400_000,
}


@pytest.mark.parametrize("name", EXPENSIVE)
def test_no_input_costs_much_more_than_its_length(door, name):
    touch = EXPENSIVE[name]
    value = touch if isinstance(touch, bytes) else json.dumps(touch).encode()
    door.give({**SMS, "touch_id": "warm", "time_zone": "Europe/Berlin"}, {**EMAIL, "touch_id": "warm-2"})
    gc.collect()
    began = time.thread_time()
    door.give(value)
    cost = time.thread_time() - began
    assert cost < 0.3, f"{cost * 1000:.0f} ms"
    for text in [d["error"] for d in door.dead] + [e.error or "" for e in door.events]:
        assert len(text) < 1_200, len(text)
    for event in door.events:
        assert len(event.campaign_id) + len(event.lead_id) + len(event.channel) < 800


def test_a_campaign_with_a_wrong_zone_costs_no_more_than_another(door):
    door.give({**SMS, "touch_id": "warm", "time_zone": "Europe/Berlin"})
    began = time.thread_time()
    door.give(*[{**SMS, "touch_id": f"t{n}", "time_zone": f"Eastern Standard Time {n}"} for n in range(300)])
    assert time.thread_time() - began < 0.6, "a look at the disk for each took two seconds and more"
    assert door.told() == [("failed", "invalid")] * 300


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({"attachments": [{"filename": "a", "content": "eA=="}] * 101}, "attachments has 101 entries"),
        ({"headers": {f"X-{n}": "v" for n in range(101)}}, "headers has 101 entries"),
        ({"variables": {f"v{n}": "v" for n in range(1001)}}, "variables has 1001 entries"),
        ({"metadata": {f"v{n}": "v" for n in range(1001)}}, "metadata has 1001 entries"),
        ({"metadata": {"k" * 257: "v"}}, "metadata has a key of 257 characters"),
        ({"subject": "s" * 1001}, "subject"),
        ({"sender": "s" * 1001}, "sender"),
        ({"to": ""}, "to is"),
    ],
)
def test_a_bound_is_told_by_name(door, change, names):
    door.give({**EMAIL, **change})
    assert door.told() == [("failed", "invalid")]
    assert names in door.events[0].error


def test_an_error_lists_faults_until_it_is_full(door):
    door.give({**EMAIL, "metadata": {f"{n:03}" + "k" * 90: [] for n in range(200)}})
    error = door.events[0].error
    assert 500 < len(error) < 1_100
    assert error.startswith("metadata.000k")
    assert error.endswith(" more")


def test_what_is_within_its_bounds_is_taken(door):
    door.give(
        {
            **EMAIL,
            "attachments": [{"filename": "a", "content": "eA=="}] * 100,
            "headers": {f"X-{n}": "v" for n in range(100)},
            "variables": {f"v{n}": "v" for n in range(1000)},
            "metadata": {f"v{n}": "v" for n in range(1000)},
            "subject": "s" * 1000,
            "priority": 3.0,
            "body": "[{" * 30_000,
        }
    )
    assert door.told() == [("accepted", None)]
