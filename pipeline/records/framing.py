"""Touches in: three framings, told apart by their first bytes, each a datum or Undecodable with its reason."""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO
from typing import Any, Protocol

import orjson
from fastavro import schemaless_reader

from pipeline.records import schemas
from pipeline.records.codec import HEADER_BYTES, MARKER

CONFLUENT = b"\x00"
CONFLUENT_BYTES = 5
"""Magic byte and schema id (Confluent wire format)."""
BOM = b"\xef\xbb\xbf"
DEEPEST = 20
"""A touch is two levels deep; what is deeper than this was made to hurt."""


class Undecodable(Exception):
    """No touch can be read from these bytes; the message says why."""


class WriterSchemas(Protocol):
    """Where the schemas of Confluent-framed records come from."""

    def writer(self, schema_id: int) -> Any:
        """Return the parsed schema; raise LookupError when there is none, SchemaNotHere when it must be fetched first."""


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
        if value[:1] == CONFLUENT and self._registry is not None:
            return self._confluent(value, self._registry)
        return _json(value)

    def unknown_members(self, datum: Mapping[str, Any]) -> int:
        """Return how many members of `datum` no touch has."""
        return sum(1 for name in datum if name not in self._members)

    def _single_object(self, value: bytes) -> dict[str, Any]:
        writer = schemas.published("touch").get(value[2:HEADER_BYTES])
        if writer is None:
            raise Undecodable(f"no published schema of Touch has the fingerprint {value[2:HEADER_BYTES].hex()}")
        return self._avro(value, HEADER_BYTES, writer.parsed)

    def _confluent(self, value: bytes, registry: WriterSchemas) -> dict[str, Any]:
        if len(value) < CONFLUENT_BYTES:
            raise Undecodable("the record ends within its schema id")
        schema_id = int.from_bytes(value[1:CONFLUENT_BYTES], "big")
        try:
            writer = registry.writer(schema_id)
        except LookupError as error:
            raise Undecodable(f"schema {schema_id}: {error}") from None
        return self._avro(value, CONFLUENT_BYTES, writer)

    def _avro(self, value: bytes, start: int, writer: Any) -> dict[str, Any]:
        source = BytesIO(value)
        source.seek(start)
        try:
            datum: Any = schemaless_reader(source, writer, self._touch.parsed)
        except Exception as error:  # noqa: BLE001 - fastavro raises whatever the damaged bytes lead to
            raise Undecodable(f"the record does not fit its schema: {type(error).__name__}: {error}") from None
        if source.read(1):
            raise Undecodable("bytes follow the end of the record")
        if not isinstance(datum, dict):
            raise Undecodable("the record's schema is not a Touch")
        return datum


def _json(value: bytes) -> dict[str, Any]:
    try:
        datum = orjson.loads(value.removeprefix(BOM))
    except orjson.JSONDecodeError as error:
        raise Undecodable(f"neither Avro nor JSON: {error}") from None
    if not isinstance(datum, dict):
        raise Undecodable("the JSON is not an object")
    if _is_too_deep(datum):
        raise Undecodable(f"the JSON is nested deeper than {DEEPEST} levels")
    return datum


def _is_too_deep(datum: dict[str, Any]) -> bool:
    level: list[Any] = [datum]
    for _ in range(DEEPEST):
        level = [inner for each in level for inner in (each.values() if isinstance(each, dict) else each)
                 if isinstance(inner, dict | list)]  # fmt: skip
        if not level:
            return False
    return True
