"""Bytes and text of others, made fit for people: as legible as they are, and unable to steer a terminal."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import orjson

from pipeline.records.framing import CONFLUENT
from pipeline.records.plain_json import BOM
from pipeline.records.single_object import MARKER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    ReadTouch = Callable[[bytes | None], Mapping[str, Any]]
    """Decodes a Touch; raises whatever damaged bytes lead to."""

ROW = 16
"""Bytes in a row of a dump."""


def legible(value: bytes, read_touch: ReadTouch) -> tuple[str, Iterator[str]]:
    """Return how `value` is written, and its lines: pretty JSON, else escaped text, else a dump."""
    is_avro = value.startswith((MARKER, CONFLUENT))
    try:
        datum = read_touch(value) if is_avro else orjson.loads(value.removeprefix(BOM))
        text = orjson.dumps(datum, option=orjson.OPT_INDENT_2, default=as_base64).decode()
        return "Avro" if is_avro else "JSON", map(json_escaped, text.split("\n"))
    except Exception as error:  # noqa: BLE001 - damaged bytes lead to whatever
        why = f"not readable: {escaped(str(error))}" if is_avro else "no JSON"
    try:
        return why, map(escaped, value.decode().split("\n"))
    except UnicodeDecodeError:
        return why, _dump(value)


def short(value: bytes | None) -> str:
    """Return bytes that are mostly text, escaped, on one line."""
    return "null" if value is None else escaped(value.decode("utf-8", "backslashreplace"))


def escaped(text: str) -> str:
    """Return `text` on one line, with escapes for what is not printable."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def json_escaped(line: str) -> str:
    """Return a line of JSON that says the same, with escapes for what is not printable."""
    return "".join(c if c.isprintable() else "".join(f"\\u{unit:04x}" for unit in _units(c)) for c in line)


def _units(character: str) -> Iterator[int]:
    encoded = character.encode("utf-16-be")
    return (int.from_bytes(encoded[at : at + 2]) for at in range(0, len(encoded), 2))


def as_base64(value: Any) -> str:
    """Return bytes as JSON writes them; a `default` for orjson. Raises TypeError for anything else."""
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    raise TypeError(type(value).__name__)


def _dump(value: bytes) -> Iterator[str]:
    for at in range(0, len(value), ROW):
        row = value[at : at + ROW]
        shown = "".join(chr(byte) if chr(byte).isascii() and chr(byte).isprintable() else "." for byte in row)
        yield f"{at:08x}  {row.hex(' '):<{3 * ROW - 1}}  {shown}"
