"""Decodes touches in three framings, distinguished by their first bytes; what cannot be decoded is Undecodable, with a reason."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from io import BytesIO
from typing import Any, Protocol

import orjson
from fastavro import schemaless_reader

from pipeline.domain.rules import is_touch_id
from pipeline.records import schemas
from pipeline.records.plain_json import read_json
from pipeline.records.single_object import HEADER_BYTES, MARKER
from pipeline.records.undecodable import Undecodable

__all__ = ["TouchReader", "Undecodable", "WriterSchemas"]

CONFLUENT = b"\x00"
CONFLUENT_BYTES = 5
"""Magic byte and schema id (Confluent wire format)."""
LARGEST_ID = 2**31 - 1
_KNOWN: tuple[tuple[bytes, str], ...] = (
    (
        b"Obj\x01",
        "an Avro container file; send each touch in single-object encoding (C3 01, the schema's fingerprint, the body)",
    ),
    (b"\x1f\x8b", "compressed with gzip by hand; use the producer's compression.type"),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd by hand; use the producer's compression.type"),
    (b"PAR1", "a Parquet file"),
    (b"PK\x03\x04", "a ZIP file (a spreadsheet, perhaps)"),
    (b"\xff\xfe", "UTF-16; JSON must be UTF-8"),
    (b"\xfe\xff", "UTF-16; JSON must be UTF-8"),
    (b"{\x00", "UTF-16; JSON must be UTF-8"),
    (b"\x00{\x00", "UTF-16; JSON must be UTF-8"),
    (b"\xac\xed\x00\x05", "Java's serialisation; send JSON or Avro"),
    (b"\x80\x04\x95", "Python's pickle; send JSON or Avro"),
)
"""Other formats that producers send by mistake, by their first bytes."""
_STARTS = tuple(start for start, _ in _KNOWN)


class WriterSchemas(Protocol):
    """The source of writer schemas for Confluent-framed records."""

    def writer(self, schema_id: int) -> Any:
        """Return the parsed schema; raise LookupError when there is none, SchemaNotHere when it must be fetched first."""

    def has(self, schema_id: int) -> bool:
        """Whether `writer` can answer now."""


class TouchReader:
    """Reads the value of a record of `touches`."""

    def __init__(self, registry: WriterSchemas | None = None) -> None:
        self._registry = registry
        self._touch = schemas.current("touch")
        self._members = {each["name"] for each in orjson.loads(self._touch.text)["fields"]}

    def read(self, value: bytes | None) -> dict[str, Any]:
        """Return the datum, with the schema's names. Raises Undecodable.

        With a registry, SchemaNotHere is raised for a schema that was not fetched yet: fetch it, and read again.
        """
        if value is None:
            raise Undecodable("the value is null")
        if value[:2] == MARKER:
            return self._single_object(value)
        if value.startswith(_STARTS):
            raise Undecodable("it is " + next(what for start, what in _KNOWN if value.startswith(start)))
        if value[:1] == CONFLUENT:
            return self._confluent(value)
        try:
            return read_json(value)
        except Undecodable as error:
            if value[:1] != b"{" and self._is_bare(value):
                raise Undecodable(
                    "it is a bare Avro body; put C3 01 and the fingerprint of its schema before it (single-object encoding)"
                ) from None
            raise error from None

    def _is_bare(self, value: bytes) -> bool:
        with suppress(Undecodable):
            return is_touch_id(self._avro(value, 0, self._touch.parsed)["touch_id"])
        return False

    def unknown_members(self, datum: Mapping[str, Any]) -> int:
        """Return how many members of `datum` are not in the schema."""
        return len(datum) - len(self._members.intersection(datum))

    def has_schema(self, schema_id: int) -> bool:
        """Whether records framed with this schema can be decoded now."""
        return self._registry is None or self._registry.has(schema_id)

    def _single_object(self, value: bytes) -> dict[str, Any]:
        writer = schemas.published("touch").get(value[2:HEADER_BYTES])
        if writer is None:
            raise Undecodable(f"no published schema of Touch has the fingerprint {value[2:HEADER_BYTES].hex()}")
        return self._avro(value, HEADER_BYTES, writer.parsed)

    def _confluent(self, value: bytes) -> dict[str, Any]:
        if len(value) < CONFLUENT_BYTES:
            raise Undecodable("the record ends within its schema id")
        schema_id = int.from_bytes(value[1:CONFLUENT_BYTES], "big")
        if self._registry is None:
            if value[CONFLUENT_BYTES:].lstrip()[:1] == b"{":
                raise Undecodable(f"it is framed as JSON Schema (schema {schema_id}); send plain JSON, or Avro")
            raise Undecodable(
                f"it is framed for a schema registry (schema {schema_id}), and none is configured: "
                "set kafka.schema_registry_url, or send JSON or single-object Avro"
            )
        if schema_id > LARGEST_ID:
            raise Undecodable(
                f"it begins like a record framed for a schema registry, but no registry numbers a schema {schema_id}"
            )
        try:
            writer = self._registry.writer(schema_id)
        except LookupError as error:
            raise Undecodable(f"schema {schema_id}: {error}") from None
        return self._avro(value, CONFLUENT_BYTES, writer)

    def _avro(self, value: bytes, start: int, writer: Any) -> dict[str, Any]:
        source = BytesIO(value)
        source.seek(start)
        try:
            datum: Any = schemaless_reader(source, writer, self._touch.parsed)
        except Exception as error:  # noqa: BLE001 - damaged bytes make fastavro raise any exception
            raise Undecodable(f"the record does not fit its schema: {type(error).__name__}: {error}") from None
        if source.read(1):
            raise Undecodable("bytes follow the end of the record")
        if not isinstance(datum, dict):
            raise Undecodable("the record's schema is not a Touch")
        return datum
