"""Touches out of a file: NDJSON or CSV, line by line in bounded memory, each line a row or a complaint."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, assert_never

import orjson

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from io import FileIO
    from typing import BinaryIO

    Stream = BinaryIO | FileIO

LARGEST_VALUE = 1024 * 1024
"""Bytes of one touch (contract section 1)."""
LONGEST_LINE = 4 * LARGEST_VALUE
"""Bytes kept of one line: what is longer is cut, and then too large as a value."""
CHUNK = 1024 * 1024
BOM = b"\xef\xbb\xbf"
MAPS = frozenset({"variables", "metadata", "headers"})
NUMBERS = frozenset({"priority", "not_before", "expires_at", "created_at"})
"""Columns in which digits mean a number; anything else in them stays text (ISO 8601, or the pipeline refuses it)."""


class Form(StrEnum):
    """How touches are written in a file."""

    NDJSON = "ndjson"
    CSV = "csv"


@dataclass(frozen=True, slots=True)
class Row:
    """One touch, ready to produce."""

    line: int
    """Where it begins, from 1."""
    key: bytes
    value: bytes


@dataclass(frozen=True, slots=True)
class Broken:
    """One line that is no touch."""

    line: int
    why: str


class Unreadable(Exception):
    """The file as a whole cannot be read; the message says why."""


def rows(stream: Stream, form: Form, before_read: Callable[[], None] = lambda: None) -> Iterator[Row | Broken]:
    """Yield what each line holds; `before_read` is called before each read that may have to wait.

    Raises Unreadable for a CSV whose header is unusable.
    """
    lines = _lines(stream, before_read)
    match form:
        case Form.NDJSON:
            return _ndjson(lines)
        case Form.CSV:
            return _csv(lines)
        case _:
            assert_never(form)


def _lines(stream: Stream, before_read: Callable[[], None]) -> Iterator[bytes]:
    """Yield lines with their ends, without the BOM; of one longer than LONGEST_LINE the rest is left out."""
    read = getattr(stream, "read1", stream.read)  # read1: what is there, so that a pipe's touches go at once
    rest, is_first = b"", True
    while chunk := _read(read, before_read):
        *whole, rest_of_chunk = chunk.split(b"\n")
        for line in whole:
            full, rest = rest + line, b""
            yield (full.removeprefix(BOM) if is_first else full)[:LONGEST_LINE] + b"\n"
            is_first = False
        rest = (rest + rest_of_chunk)[: LONGEST_LINE + 1]
    if rest:
        yield rest.removeprefix(BOM) if is_first else rest


def _read(read: Callable[[int], bytes], before_read: Callable[[], None]) -> bytes:
    before_read()
    return read(CHUNK)


def _ndjson(lines: Iterator[bytes]) -> Iterator[Row | Broken]:
    for number, line in enumerate(lines, 1):
        if value := line.strip():
            yield _judge(number, value)


def _judge(number: int, value: bytes) -> Row | Broken:
    if len(value) > LARGEST_VALUE:
        return Broken(number, "larger than 1 MiB")
    try:
        touch = orjson.loads(value)
    except orjson.JSONDecodeError as error:
        # A line is one line: only the column says something.
        return Broken(number, f"no JSON: {error.msg} (column {error.colno})")
    return _row(number, touch, value)


def _row(number: int, touch: Any, value: bytes) -> Row | Broken:
    if not isinstance(touch, dict):
        return Broken(number, "no JSON object")
    touch_id = touch.get("touch_id")
    if touch_id is None:
        return Broken(number, "no touch_id")
    if not isinstance(touch_id, str) or not touch_id:
        return Broken(number, "touch_id is empty or no text")
    return Row(number, touch_id.encode(), value)


def _csv(lines: Iterator[bytes]) -> Iterator[Row | Broken]:
    csv.field_size_limit(LONGEST_LINE)
    header_line = next(lines, b"")
    delimiter = max(",;\t", key=header_line.decode("utf-8", "replace").count)
    columns = _columns(_text(header_line), delimiter)
    reader = csv.reader(map(_text, lines), delimiter=delimiter, strict=True)
    while True:
        number = reader.line_num + 2  # the header, and counting from 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield Broken(number, f"no CSV: {error}")
            continue
        if any(cells):
            yield _touch_of(number, columns, cells)


def _text(line: bytes) -> str:
    return line.decode("utf-8", "surrogateescape")  # found again, and named, when the row is written as JSON


def _columns(header: str, delimiter: str) -> list[str]:
    try:
        columns = [name.strip() for name in next(csv.reader([header], delimiter=delimiter, strict=True), [])]
    except csv.Error as error:
        raise Unreadable(f"line 1: no CSV header: {error}") from None
    if "touch_id" not in columns:
        raise Unreadable("line 1: the CSV header has no column touch_id")
    if repeated := sorted({name for name in columns if not name or columns.count(name) > 1}):
        raise Unreadable(f"line 1: the CSV header has columns twice, or without a name: {', '.join(map(repr, repeated))}")
    return columns


def _touch_of(number: int, columns: list[str], cells: list[str]) -> Row | Broken:
    if len(cells) != len(columns):
        return Broken(number, f"{len(cells)} cells, but the header has {len(columns)}")
    touch: dict[str, Any] = {}
    for column, cell in zip(columns, cells, strict=True):
        if cell:  # empty is absent: an empty variable would leave a hole in a message
            _set(touch, column, cell)
    try:
        value = orjson.dumps(touch)
    except TypeError:
        return Broken(number, "no UTF-8")
    if len(value) > LARGEST_VALUE:
        return Broken(number, "larger than 1 MiB")
    return _row(number, touch, value)


def _set(touch: dict[str, Any], column: str, cell: str) -> None:
    room, dot, name = column.partition(".")
    if dot and room in MAPS:
        touch.setdefault(room, {})[name] = cell
    elif column in NUMBERS and re.fullmatch(r"-?[0-9]{1,18}", cell):
        touch[column] = int(cell)
    elif column == "attachments":
        touch[column] = _json_or_text(cell)
    else:
        touch[column] = cell


def _json_or_text(cell: str) -> Any:
    try:
        return orjson.loads(cell)
    except orjson.JSONDecodeError:
        return cell
