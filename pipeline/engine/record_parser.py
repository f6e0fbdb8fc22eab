"""Parses the records of a batch one by one: aiokafka stops at the first record that it cannot parse."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

from aiokafka.errors import CorruptRecordException

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pipeline.stage_io import Headers

HEADER_V2 = struct.Struct(">qiibIhiqqqhii")
"""Base offset, length, leader epoch, format, checksum, attributes, last offset delta, first and last timestamp,
producer's id and epoch, base sequence, number of records (Kafka protocol, record batch)."""
APPEND_TIME = 0x08
ERROR_CHARACTERS = 300


class UnreadableRecord(NamedTuple):
    """A record, or a whole batch, that cannot be parsed; `value` holds the bytes that could be read."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    flaw: str
    """Why it cannot be parsed."""
    headers: tuple[()] = ()


class ParsedRecord(NamedTuple):
    """A parsed record."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Headers


def parse_records(raw: memoryview, body: bytes) -> Iterator[ParsedRecord | UnreadableRecord]:
    """Yield each record in `body`, the uncompressed payload of batch `raw` (format 2), parsed or with its flaw."""
    base, _, _, _, _, attributes, last_delta, first_ms, last_ms, *_ = HEADER_V2.unpack_from(raw)
    at, expected = 0, base
    while at < len(body):
        try:
            start, end = _bounds(body, at)
        except Exception as error:  # noqa: BLE001 - the start of the next record is unknown
            last = max(expected, base + last_delta)
            yield UnreadableRecord(
                last, first_ms, None, body[at:], f"offsets {expected} to {last} cannot be read: {error_line(error)}"
            )
            return
        row = _parse(body[start:end], base, first_ms, expected)
        yield row if not attributes & APPEND_TIME else row._replace(timestamp=last_ms)
        at, expected = end, row.offset + 1


def _bounds(body: bytes, at: int) -> tuple[int, int]:
    length, start = _varint(body, at)
    if not 0 <= length <= len(body) - start:
        raise CorruptRecordException(f"a record of {length} bytes does not fit into its batch")
    return start, start + length


def _parse(body: bytes, base: int, first_ms: int, expected: int) -> ParsedRecord | UnreadableRecord:
    offset, timestamp, key, value = expected, first_ms, None, None
    try:
        delta_ms, at = _varint(body, 1)
        delta, at = _varint(body, at)
        offset, timestamp = max(base + delta, expected), first_ms + delta_ms
        key, at = _bytes(body, at)
        value, at = _bytes(body, at)
        headers = _headers(body, at)
    except Exception as error:  # noqa: BLE001 - damaged bytes can raise anything
        flaw = f"the record cannot be read: {error_line(error)}"
        return UnreadableRecord(offset, timestamp, key, body if value is None else value, flaw)
    return ParsedRecord(offset, timestamp, key, value, headers)


def _headers(body: bytes, at: int) -> Headers:
    count, at = _varint(body, at)
    if not 0 <= count <= len(body) - at:
        raise CorruptRecordException(f"{count} headers")
    found: list[tuple[str, bytes | None]] = []
    for _ in range(count):
        name, at = _bytes(body, at)
        if name is None:
            raise CorruptRecordException("a header without a name")
        value, at = _bytes(body, at)
        found.append((name.decode(), value))
    if at != len(body):
        raise CorruptRecordException("it has bytes behind its last header")
    return found  # type: ignore[return-value]  # Kafka allows a header without a value


def _bytes(body: bytes, at: int) -> tuple[bytes | None, int]:
    length, at = _varint(body, at)
    if length > len(body) - at:
        raise CorruptRecordException(f"{length} bytes do not fit into the record")
    return (None, at) if length < 0 else (body[at : at + length], at + length)


def _varint(body: bytes, at: int) -> tuple[int, int]:
    """Return (the zigzag-encoded number at `at`, the index behind it) (Protocol Buffers, encoding)."""
    value = shift = 0
    while True:
        byte = body[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:  # noqa: PLR2004
            return (value >> 1) ^ -(value & 1), at
        shift += 7
        if shift > 63:  # noqa: PLR2004
            raise CorruptRecordException("a number without an end")


def error_line(error: Exception) -> str:
    """Return `error` on one line of at most ERROR_CHARACTERS."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:ERROR_CHARACTERS]
