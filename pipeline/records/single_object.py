"""Avro single-object encoding (Avro specification): a marker, the schema's fingerprint, the body."""

from __future__ import annotations

from enum import Enum
from io import BytesIO
from typing import Any, TypeVar

from fastavro import schemaless_reader, schemaless_writer

from pipeline.records import schemas

MARKER = b"\xc3\x01"
"""Two bytes that say "single-object encoding" (Avro specification)."""
HEADER_BYTES = 10

ValueT = TypeVar("ValueT", bound=Enum)


class UnknownSchema(ValueError):
    """Not a single-object record, or a record of another schema."""


class UnknownVersion(Exception):
    """A record that a newer version of the pipeline wrote; skipping it would lose its touch."""

    def __init__(self, what: str, where: str = "") -> None:
        self.what = what
        super().__init__(
            f"{where or 'a record'} was written by a newer version of the pipeline ({what}): upgrade this worker"
        )


def encode(name: str, datum: dict[str, Any]) -> bytes:
    """Return `datum` as a single object of today's schema `name`."""
    known = schemas.current(name)
    out = BytesIO()
    out.write(MARKER)
    out.write(known.fingerprint)
    schemaless_writer(out, known.parsed, datum)
    return out.getvalue()


def decode(name: str, value: bytes) -> dict[str, Any]:
    """Return the datum of a single object, whichever published version of schema `name` wrote it.

    Raises UnknownSchema, UnknownVersion; ValueError or EOFError for a record that is cut off or goes on behind its end.
    """
    writer = schemas.published(name).get(value[2:HEADER_BYTES])
    if value[:2] != MARKER or writer is None:
        raise unknown(name, value)
    source = BytesIO(value)
    source.seek(HEADER_BYTES)
    today = schemas.current(name)
    reader = None if writer.fingerprint == today.fingerprint else today.parsed  # resolving doubles the cost
    datum: Any = schemaless_reader(source, writer.parsed, reader)
    if source.read(1):
        raise ValueError("bytes behind the end of the record")
    return datum  # type: ignore[no-any-return]


def unknown(name: str, value: bytes) -> UnknownSchema | UnknownVersion:
    """Return the error for a record that no published version of `name` wrote."""
    fingerprint = value[2:HEADER_BYTES]
    what = f"no published version of {name} has fingerprint {fingerprint.hex()}"
    is_stranger = value[:2] != MARKER or len(fingerprint) < HEADER_BYTES - 2 or schemas.name_of(fingerprint) is not None
    return UnknownSchema(what) if is_stranger else UnknownVersion(what)


def one_of(kind: type[ValueT], value: str) -> ValueT:
    """Return the member of a closed set that a record names. Raises UnknownVersion for one that was added later."""
    try:
        return kind(value)
    except ValueError:
        raise UnknownVersion(f"it has the {kind.__name__.lower()} {value!r}") from None
