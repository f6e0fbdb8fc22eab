"""Decodes the values of public topics in any of their three framings: single object, Confluent, JSON."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Any, Final

import orjson
from fastavro import schemaless_reader

from pipeline.records import schemas
from pipeline.records.framing import CONFLUENT, CONFLUENT_BYTES
from pipeline.records.registry import RegistryAway, SchemaNotHere
from pipeline.records.single_object import MARKER, decode

if TYPE_CHECKING:
    from pipeline.records.registry import Registry


LONGEST_WHY: Final = 300


class UndecodableValue(Exception):
    """A value that is no record of this topic; the message says why, in one short line that can steer no terminal."""

    def __init__(self, why: str) -> None:
        line = "".join(letter if letter.isprintable() else "?" for letter in why[: LONGEST_WHY + 1])
        super().__init__(line if len(line) <= LONGEST_WHY else line[:LONGEST_WHY] + "…")


class ValueReader:
    """Decodes the values of one topic. Instants come as epoch milliseconds, or as an older writer gave them."""

    def __init__(self, name: str, registry: Registry | None = None, *, fetches: bool = True) -> None:
        """Decode records of schema `name` ("status", "dead_letter", "touch"); Confluent framing needs a `registry`.

        With `fetches` it asks the registry for a schema that it does not know yet, and blocks meanwhile, 5 s at most.
        """
        self._name = name
        self._registry = registry
        self._fetches = fetches

    def __call__(self, value: bytes | None) -> dict[str, Any]:
        """Return the record. Raises UndecodableValue; RegistryAway when a schema cannot be fetched, or SchemaNotHere."""
        if not value:
            raise UndecodableValue("no value")
        try:
            if value.startswith(MARKER):
                return decode(self._name, value)
            datum = self._confluent(value) if value.startswith(CONFLUENT) else orjson.loads(value)
        except (RegistryAway, SchemaNotHere):
            raise
        except Exception as error:
            raise UndecodableValue(f"no {self._name}: {error}") from error
        if not isinstance(datum, dict):
            raise UndecodableValue(f"no {self._name}: {type(datum).__name__}")
        return datum

    def _confluent(self, value: bytes) -> Any:
        if self._registry is None:
            raise ValueError("in Confluent's framing, but no kafka.schema_registry_url is configured")
        schema_id = int.from_bytes(value[1:CONFLUENT_BYTES])
        try:
            writer = self._registry.writer(schema_id)
        except SchemaNotHere:
            if not self._fetches:
                raise
            self._registry.fetch(schema_id)
            writer = self._registry.writer(schema_id)
        return schemaless_reader(BytesIO(value[CONFLUENT_BYTES:]), writer, schemas.current(self._name).parsed)
