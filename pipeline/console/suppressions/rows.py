"""Entries out of a file: NDJSON or CSV, line by line, each an entry or a complaint."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

import orjson

from pipeline.console.lines import Broken, CsvHead, UnreadableInput, lines_of
from pipeline.console.suppressions.target import Recipient
from pipeline.domain.address import BadAddress
from pipeline.domain.address_hash import read_address
from pipeline.domain.rules import is_touch_id
from pipeline.domain.suppression import SuppressionReason
from pipeline.records.control import LONGEST_BY, LONGEST_NOTE, suppression_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from pipeline.console.lines import Stream
    from pipeline.domain.suppression import Suppression

_WHOM: Final = ("address", "address_hash", "lead_id")
_WHOLE: Final = re.compile(r"[0-9]{1,20}")


@dataclass(frozen=True, slots=True)
class EntryRow:
    """One entry of a file."""

    line: int
    entry: Suppression


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportDefaults:
    """What stands in for what a line does not say."""

    by: str
    at_ms: int
    privacy_key: bytes


def entry_rows(
    stream: Stream, defaults: ImportDefaults, before_read: Callable[[], None] = lambda: None
) -> Iterator[EntryRow | Broken]:
    """Yield what each line holds. It is CSV if its first line does not begin with a brace.

    Raises UnreadableInput for a CSV whose header names nobody.
    """
    lines = lines_of(stream, before_read)
    first: list[bytes] = []
    for line in lines:
        first.append(line)
        if line.strip():
            break
    lines = chain(first, lines)
    is_json = bool(first) and first[-1].lstrip().startswith(b"{")
    for number, datum in _objects(lines) if is_json else _csv(lines):
        yield datum if isinstance(datum, Broken) else _row(number, datum, defaults)


def _objects(lines: Iterator[bytes]) -> Iterator[tuple[int, dict[str, Any] | Broken]]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            datum = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            yield number, Broken(number, f"no JSON: {error.msg} (column {error.colno})")
            continue
        yield number, datum if isinstance(datum, dict) else Broken(number, "no JSON object")


def _csv(lines: Iterator[bytes]) -> Iterator[tuple[int, dict[str, Any] | Broken]]:
    head = CsvHead(lines)
    if not head.header.strip():
        return
    columns = _columns(head)
    if not set(_WHOM) & set(columns):
        raise UnreadableInput(f"line {head.number}: the CSV header has no column address, address_hash or lead_id")
    for number, cells in head.rows(lines):
        yield number, cells if isinstance(cells, Broken) else _datum(number, columns, cells)


def _columns(head: CsvHead) -> list[str]:
    try:
        return [
            name.strip().lower().replace(" ", "_")
            for name in next(csv.reader([head.header], delimiter=head.delimiter), [])
        ]
    except csv.Error as error:
        raise UnreadableInput(f"line {head.number}: no CSV header: {error}") from None


def _datum(number: int, columns: list[str], cells: list[str]) -> dict[str, Any] | Broken:
    if any(cell.strip() for cell in cells[len(columns) :]):
        return Broken(number, f"{len(cells)} cells, but the header has {len(columns)}")
    said = {column: cell.strip() for column, cell in zip(columns, cells, strict=False) if column and cell.strip()}
    if any("\ud800" <= c <= "\udfff" for cell in said.values() for c in cell):
        return Broken(number, "no UTF-8")
    at = said.get("at")
    return {**said, "at": int(at)} if at is not None and _WHOLE.fullmatch(at) else said


def _row(number: int, datum: Mapping[str, Any], defaults: ImportDefaults) -> EntryRow | Broken:
    try:
        return EntryRow(number, entry_of(datum, defaults))
    except ValueError as error:
        return Broken(number, str(error))


def entry_of(datum: Mapping[str, Any], defaults: ImportDefaults) -> Suppression:
    """Return the entry that a line describes. Raises ValueError, whose message has no address."""
    recipient = _recipient(datum, defaults.privacy_key)
    for name, most in (("note", LONGEST_NOTE), ("by", LONGEST_BY)):
        if isinstance(datum.get(name), str) and len(datum[name]) > most:
            raise ValueError(f"{name} must not be longer than {most} characters")
    if datum.get("touch_id") is not None and not is_touch_id(datum["touch_id"]):
        raise ValueError("touch_id must be 1 to 128 of A-Z a-z 0-9 . _ : -")
    whole = {
        **datum,
        "address_hash": recipient.hashed,
        "lead_id": recipient.lead,
        "scope": recipient.scope(datum.get("scope")).value,
        "reason": datum.get("reason") or SuppressionReason.MANUAL.value,
    }
    return suppression_of(whole, at_ms=defaults.at_ms, by=defaults.by)


def _recipient(datum: Mapping[str, Any], key: bytes) -> Recipient:
    named = [name for name in _WHOM if datum.get(name) is not None]
    if len(named) != 1:
        raise ValueError("one of address, address_hash and lead_id is needed")
    value = datum[named[0]]
    if not isinstance(value, str):
        raise ValueError(f"{named[0]} must be text")  # noqa: TRY004 - a line that cannot be used, as any other
    if named[0] != "address":
        return Recipient(value if named[0] == "address_hash" else None, value if named[0] == "lead_id" else None)
    try:
        return Recipient.by_address(read_address(value), key)
    except BadAddress as error:
        raise ValueError(str(error)) from None
