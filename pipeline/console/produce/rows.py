"""Touches out of a file: NDJSON or CSV, line by line in bounded memory, each line a row or a complaint."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, assert_never

import orjson

from pipeline.console.lines import Broken, CsvHead, Form, UnreadableInput, lines_of
from pipeline.kafka.delivery import LARGEST_VALUE
from pipeline.records.plain_json import INFINITY, read_json
from pipeline.records.undecodable import Undecodable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pipeline.console.lines import Stream

MAPS = frozenset({"variables", "metadata", "headers"})
NUMBERS = frozenset({"priority", "not_before", "expires_at", "created_at"})
"""Columns in which digits mean a number; anything else in them stays text (ISO 8601, or the pipeline refuses it)."""


@dataclass(frozen=True, slots=True)
class InputRow:
    """One touch, ready to produce."""

    line: int
    """Where it begins, from 1."""
    key: bytes
    value: bytes


def rows(stream: Stream, form: Form, before_read: Callable[[], None] = lambda: None) -> Iterator[InputRow | Broken]:
    """Yield what each line holds; `before_read` is called before each read that may have to wait.

    Raises UnreadableInput for a CSV whose header is unusable.
    """
    lines = lines_of(stream, before_read)
    match form:
        case Form.NDJSON:
            return _ndjson(lines)
        case Form.CSV:
            return _csv(lines)
        case _:
            assert_never(form)


def _ndjson(lines: Iterator[bytes]) -> Iterator[InputRow | Broken]:
    for number, line in enumerate(lines, 1):
        if value := line.strip():
            yield _judge(number, value)


def _judge(number: int, value: bytes) -> InputRow | Broken:
    if len(value) > LARGEST_VALUE:
        return Broken(number, "larger than 1 MiB")
    try:
        touch = orjson.loads(value)
    except orjson.JSONDecodeError as error:
        if INFINITY not in error.msg:
            # A line is one line: only the column says something.
            return Broken(number, f"no JSON: {error.msg} (column {error.colno})")
        touch = _exact(value)
    return _row(number, touch, value)


def _exact(value: bytes) -> Any:
    """Return a touch with a number that no float holds; None for what is none."""
    try:
        return read_json(value)
    except Undecodable:
        return None


def _row(number: int, touch: Any, value: bytes) -> InputRow | Broken:
    if not isinstance(touch, dict):
        return Broken(number, "no JSON object")
    touch_id = touch.get("touch_id")
    if touch_id is None:
        return Broken(number, "no touch_id")
    if not isinstance(touch_id, str) or not touch_id:
        return Broken(number, "touch_id is empty or no text")
    return InputRow(number, touch_id.encode(), value)


def _csv(lines: Iterator[bytes]) -> Iterator[InputRow | Broken]:
    head = CsvHead(lines)
    columns = _columns(head.header, head.delimiter, head.number)
    for number, cells in head.rows(lines):
        yield cells if isinstance(cells, Broken) else _touch_of(number, columns, cells)


def _columns(header: str, delimiter: str, number: int) -> list[str]:
    """Return the columns' names, "" for those without any, as members are written: trimmed, fixed ones in lower case."""
    try:
        columns = [_column(name) for name in next(csv.reader([header], delimiter=delimiter, strict=True), [])]
    except csv.Error as error:
        raise UnreadableInput(f"line {number}: no CSV header: {error}") from None
    if "touch_id" not in columns:
        raise UnreadableInput(f"line {number}: the CSV header has no column touch_id")
    if repeated := sorted({name for name in columns if name and columns.count(name) > 1}):
        raise UnreadableInput(f"line {number}: the CSV header has columns twice: {', '.join(map(repr, repeated))}")
    return columns


def _column(name: str) -> str:
    plain = name.strip().removeprefix("\ufeff").strip()
    room, dot, rest = plain.partition(".")
    if dot and room.lower() in MAPS:
        return f"{room.lower()}.{rest}"
    return known if (known := plain.lower().replace(" ", "_")) in _MEMBERS else plain


def _touch_of(number: int, columns: list[str], cells: list[str]) -> InputRow | Broken:
    """Return the touch of a row. Empty cells at the end may be missing, or be too many: programs differ."""
    more = cells[len(columns) :]
    if any(cell.strip() for cell in more):
        return Broken(number, f"{len(cells)} cells, but the header has {len(columns)}")
    touch: dict[str, Any] = {}
    for at, (column, cell) in enumerate(zip(columns, cells, strict=False)):
        if (
            not column and cell.strip() and not (at == 0 and cell.isdecimal())
        ):  # the first may be a data frame's row number
            return Broken(number, f"a cell under no column: {cell[:40]!r}")
        if column and cell:  # empty is absent: an empty variable would leave a hole in a message
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
    elif column in NUMBERS:
        if (plain := cell.strip()) not in _NOTHING:
            whole = _WHOLE.fullmatch(plain)
            touch[column] = cell if whole is None else int(whole[1])
    elif column in _IDS:
        touch[column] = cell.strip()
    elif column == "attachments":
        touch[column] = _json_or_text(cell)
    else:
        touch[column] = cell


_WHOLE = re.compile(r"(-?[0-9]{1,18})(?:\.0+)?")
"""A data frame's column with an empty cell has decimals."""
_NOTHING = frozenset({"", "nan", "NaN", "None", "NaT", "NULL", "null", "<NA>", "#N/A"})
"""What pandas and databases write for nothing, where a number or an instant belongs."""
_IDS = frozenset({"touch_id", "channel", "purpose"})
_MEMBERS = frozenset(
    {
        "touch_id",
        "campaign_id",
        "lead_id",
        "channel",
        "to",
        "subject",
        "body",
        "text",
        "template",
        "sender",
        "time_zone",
        "not_before",
        "expires_at",
        "attachments",
        "from",
        "reply_to",
        "priority",
        "created_at",
        "purpose",
    }
)


def _json_or_text(cell: str) -> Any:
    try:
        return orjson.loads(cell)
    except orjson.JSONDecodeError:
        return cell
