"""Files become rows and complaints, line by line."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.console.lines import Broken, Form, UnreadableInput
from pipeline.console.produce.rows import LARGEST_VALUE, InputRow, rows


class Trickle(io.RawIOBase):
    """A pipe that gives `size` bytes at a time."""

    def __init__(self, data: bytes, size: int) -> None:
        self._stream, self._size = io.BytesIO(data), size

    def read1(self, _: int = -1) -> bytes:
        return self._stream.read(self._size)


def ndjson(data: bytes, size: int = 1 << 20) -> list[InputRow | Broken]:
    return list(rows(Trickle(data, size), Form.NDJSON))


def from_csv(text: str | bytes) -> list[InputRow | Broken]:
    return list(rows(io.BytesIO(text if isinstance(text, bytes) else text.encode()), Form.CSV))


def values(found: list[InputRow | Broken]) -> list[dict]:
    return [json.loads(row.value) for row in found if isinstance(row, InputRow)]


def test_a_line_is_a_row_keyed_by_its_touch_id():
    assert ndjson(b'{"touch_id":"a", "x": 1}\n') == [InputRow(1, b"a", b'{"touch_id":"a", "x": 1}')]


def test_the_value_is_the_line_byte_for_byte_without_the_white_space_around():
    line = '{ "touch_id":"ä","body":"\\u0000 1.0e3"}'.encode()
    assert ndjson(b"  " + line + b"\r\n")[0].value == line


def test_a_last_line_without_its_end_counts():
    assert [row.key for row in ndjson(b'{"touch_id":"a"}\n{"touch_id":"b"}')] == [b"a", b"b"]


def test_a_byte_order_mark_and_blank_lines_are_no_touches():
    assert [row.line for row in ndjson(b'\xef\xbb\xbf{"touch_id":"a"}\n\n  \n{"touch_id":"b"}\n')] == [1, 4]


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b"{nope", "no JSON"),
        (b"[1]", "no JSON object"),
        (b'"a"', "no JSON object"),
        (b"{}", "no touch_id"),
        (b'{"touch_id":null}', "no touch_id"),
        (b'{"touch_id":""}', "touch_id is empty or no text"),
        (b'{"touch_id":7}', "touch_id is empty or no text"),
        (b'{"touch_id":"a","n":NaN}', "no JSON"),
        (b'{"touch_id":"\xff"}', "no JSON"),
        (b'{"touch_id":"\\ud800"}', "no JSON"),
        (b"[" * 5_000, "no JSON"),
    ],
)
def test_a_broken_line_is_named_with_its_number_and_the_next_one_lives(line: bytes, why: str):
    broken, after = ndjson(line + b'\n{"touch_id":"b"}\n')
    assert isinstance(broken, Broken)
    assert broken.line == 1
    assert broken.why.startswith(why)
    assert after == InputRow(2, b"b", b'{"touch_id":"b"}')


def test_a_line_of_a_mebibyte_is_a_touch_and_one_byte_more_is_not():
    def of_size(size: int) -> bytes:
        return b'{"touch_id":"a","body":"' + b"x" * (size - 26) + b'"}\n'

    assert isinstance(ndjson(of_size(LARGEST_VALUE))[0], InputRow)
    assert ndjson(of_size(LARGEST_VALUE + 1)) == [Broken(1, "larger than 1 MiB")]


def test_an_endless_line_is_cut_and_the_next_one_lives():
    data = b'{"touch_id":"' + b"x" * 9_000_000 + b'"}\n{"touch_id":"b"}\n'
    assert ndjson(data) == [Broken(1, "larger than 1 MiB"), InputRow(2, b"b", b'{"touch_id":"b"}')]


@given(st.lists(st.text(st.characters(codec="utf-8"), min_size=1), max_size=8), st.integers(1, 40))
def test_whatever_the_pipe_gives_at_once_the_lines_are_the_same(ids: list[str], size: int):
    data = b"".join(json.dumps({"touch_id": each}, ensure_ascii=False).encode() + b"\n" for each in ids)
    assert [row.key.decode() for row in ndjson(data, size)] == ids


def test_before_each_read_that_may_wait_the_reader_is_told():
    seen: list[int] = []
    got: list[object] = []
    for row in rows(Trickle(b'{"touch_id":"a"}\n{"touch_id":"b"}\n', 17), Form.NDJSON, lambda: seen.append(len(got))):
        got.append(row)  # noqa: PERF402
    assert seen == [0, 1, 2]


def test_csv_columns_are_members_and_maps_are_dotted():
    (touch,) = values(
        from_csv("touch_id,channel,variables.first,variables.last.name,metadata.k,headers.X-A\na,sms,Ann,Lee,v,h\n")
    )
    assert touch == {
        "touch_id": "a",
        "channel": "sms",
        "variables": {"first": "Ann", "last.name": "Lee"},
        "metadata": {"k": "v"},
        "headers": {"X-A": "h"},
    }


def test_an_empty_cell_is_absent_so_that_no_message_gets_a_hole():
    assert values(from_csv("touch_id,body,variables.first\na,,\n")) == [{"touch_id": "a"}]


def test_digits_are_numbers_only_where_a_number_belongs():
    (touch,) = values(
        from_csv(
            "touch_id,to,priority,expires_at,not_before,body\n7,12125550100,0,1790000000000,2026-01-01T00:00:00Z,12\n"
        )
    )
    assert touch == {
        "touch_id": "7",
        "to": "12125550100",
        "priority": 0,
        "expires_at": 1790000000000,
        "not_before": "2026-01-01T00:00:00Z",
        "body": "12",
    }


def test_attachments_are_json_in_their_cell():
    (touch,) = values(from_csv('touch_id,attachments\na,"[{""filename"":""f"",""content"":""eA==""}]"\n'))
    assert touch["attachments"] == [{"filename": "f", "content": "eA=="}]


def test_a_quoted_cell_may_span_lines_and_lines_keep_their_numbers():
    found = from_csv('touch_id,body\na,"one\ntwo"\nb,x,y\nc,x\n')
    assert values(found) == [{"touch_id": "a", "body": "one\ntwo"}, {"touch_id": "c", "body": "x"}]
    assert [row.line for row in found] == [2, 4, 5]
    assert found[1] == Broken(4, "3 cells, but the header has 2")


@pytest.mark.parametrize("delimiter", [";", "\t", ","])
def test_the_delimiter_is_read_off_the_header(delimiter: str):
    assert values(from_csv(f"touch_id{delimiter}to\r\na{delimiter}b\r\n")) == [{"touch_id": "a", "to": "b"}]


@pytest.mark.parametrize(
    ("row", "why"),
    [
        (b'a,"x" y', "no CSV"),
        (b"a,\xff", "no UTF-8"),
        (b",x", "no touch_id"),
        (b"a,b,c", "3 cells, but the header has 2"),
    ],
)
def test_a_broken_csv_row_is_named_and_the_next_one_lives(row: bytes, why: str):
    broken, after = from_csv(b"touch_id,body\n" + row + b"\nb,y\n")
    assert isinstance(broken, Broken)
    assert broken.line == 2
    assert broken.why.startswith(why)
    assert values([after]) == [{"touch_id": "b", "body": "y"}]


@pytest.mark.parametrize("header", ["", "id,body", "touch_id,body,body", "touch_id,Body,body", '"touch_id'])
def test_a_csv_without_a_usable_header_is_refused_as_a_whole(header: str):
    with pytest.raises(UnreadableInput, match=r"line [12]"):
        from_csv(header + "\na,b,c\n")


ANN = {"touch_id": "a", "to": "+491701234567", "body": "Grüße; x"}


@pytest.mark.parametrize(
    "data",
    [
        "touch_id,to,body,text\na,+491701234567,Grüße; x\n",
        "touch_id,to,body,text\na,+491701234567,Grüße; x,\n",
        "touch_id,to,body,,\na,+491701234567,Grüße; x,,\n",
        "touch_id,to,body\na,+491701234567,Grüße; x,,,\n",
        'sep=;\r\ntouch_id;to;body\r\na;+491701234567;"Grüße; x"\r\n',
        '"sep=,"\r\ntouch_id,to,body\r\na,+491701234567,Grüße; x\r\n',
        'touch_id;to;body\r\na;+491701234567;"Grüße; x"\r\n;;\r\n;;\r\n',
        "touch_id\tto\tbody\na\t+491701234567\tGrüße; x\n",
        "\ufefftouch_id,to,body\r\na,+491701234567,Grüße; x\r\n",
        '\ufeff"touch_id","to","body"\n"a","+491701234567","Grüße; x"\n',
        "\r\n\r\ntouch_id,to,body\r\n\r\na,+491701234567,Grüße; x\r\n , , \r\n",
        " Touch ID , To , BODY \na,+491701234567,Grüße; x\n",
        "TOUCH_ID,to,body\n a ,+491701234567,Grüße; x\n",
        ",touch_id,to,body\n0,a,+491701234567,Grüße; x\n",
        "touch_id|to|body\na|+491701234567|Grüße; x\n",
        "touch_id,to,body,priority,not_before\na,+491701234567,Grüße; x,nan,NaT\n",
        "touch_id,to,body\na,+491701234567,Grüße; x",
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_csv_is_read_as_excel_sheets_numbers_and_pandas_write_it(data: str, encoding: str):
    assert values(
        from_csv(data.encode(encoding) if encoding == "utf-8" else data.removeprefix("\ufeff").encode(encoding))
    ) == [ANN]


MEMBERS = [
    each["name"] for each in json.loads((Path(__file__).parents[4] / "schemas/touch.avsc").read_text())["fields"]
]


@pytest.mark.parametrize("member", [name for name in MEMBERS if name not in {"variables", "metadata", "headers"}])
def test_each_member_is_known_however_a_spreadsheet_writes_its_column(member: str):
    column = member.replace("_", " ").title()
    header = column if member == "touch_id" else f"Touch Id,{column}"
    (touch,) = values(from_csv(f"{header}\n{'x' if member == 'touch_id' else 'a,x'}\n"))
    assert touch[member] == "x"


def test_blanks_around_a_word_of_a_closed_set_do_not_count():
    (touch,) = values(from_csv("touch_id,channel,purpose\n a , sms , transactional \n"))
    assert touch == {"touch_id": "a", "channel": "sms", "purpose": "transactional"}


def test_a_text_that_comes_in_pieces_of_utf_16_is_whole():
    data = "touch_id\tbody\r\na\tGrüße 😀\r\n".encode("utf-16")
    for size in (1, 2, 3, 7):
        assert values(list(rows(Trickle(data, size), Form.CSV))) == [{"touch_id": "a", "body": "Grüße 😀"}]
    line = '{"touch_id": "ä"}\r\n'.encode("utf-16-be")
    assert [row.key.decode() for row in ndjson(b"\xfe\xff" + line, 3)] == ["ä"]


def test_a_number_with_the_decimals_of_a_data_frame_is_whole():
    (touch,) = values(
        from_csv("touch_id,priority,not_before,expires_at,created_at\na,5.0,1790000000000.0,2030-01-01T00:00:00Z,\n")
    )
    assert touch == {"touch_id": "a", "priority": 5, "not_before": 1790000000000, "expires_at": "2030-01-01T00:00:00Z"}


def test_what_only_looks_like_nothing_is_a_text_like_any_other():
    (touch,) = values(from_csv("touch_id,body,variables.name,lead_id\na,nan,None,NULL\n"))
    assert touch == {"touch_id": "a", "body": "nan", "variables": {"name": "None"}, "lead_id": "NULL"}


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ("a,b,c,d", "4 cells, but the header has 3"),
        ("a,b,,x", "4 cells"),
        ("a,b,x", "a cell under no column: 'x'"),
        (",b,", "no touch_id"),
    ],
)
def test_a_cell_that_belongs_nowhere_is_named_and_the_next_row_lives(row: str, why: str):
    broken, after = from_csv(f"touch_id,to,\n{row}\nb,c\n")
    assert isinstance(broken, Broken)
    assert broken.why.startswith(why)
    assert values([after]) == [{"touch_id": "b", "to": "c"}]


def test_lines_keep_their_numbers_behind_what_stands_before_the_header():
    found = from_csv("sep=,\n\ntouch_id,to\na,b\na,b,c\n")
    assert [(row.line, type(row)) for row in found] == [(4, InputRow), (5, Broken)]


def test_a_number_that_no_float_holds_is_produced_as_it_stands():
    line = b'{"touch_id":"a","variables":{"n":1e400}}'
    assert ndjson(line) == [InputRow(1, b"a", line)]
    assert [type(row) for row in ndjson(b'{"touch_id":"a","n":1e400,}\n[1e400]\n')] == [Broken, Broken]
