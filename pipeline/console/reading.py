"""Reads what we publish (Status, DeadLetter) in any of its three forms: single object, Confluent, JSON."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Any

import httpx
import orjson
from fastavro import schemaless_reader

from pipeline.console.cluster import Failed
from pipeline.records import schemas
from pipeline.records.codec import MARKER, UnknownVersion, decode

if TYPE_CHECKING:
    from collections.abc import Callable

    from pipeline.secret import Address

    FetchSchema = Callable[[int], str]
    """Returns the schema with an id, as text; raises Failed when the registry is away."""

CONFLUENT_MARKER = b"\x00"
CONFLUENT_HEADER_BYTES = 5
REGISTRY_PATIENCE_S = 10.0


class UndecodableValue(Exception):
    """A record that is none of ours; the message says why."""


class ValueReader:
    """Decodes the values of one topic. Instants come as epoch milliseconds, or as what an older writer gave."""

    def __init__(self, name: str, fetch_schema: FetchSchema | None = None) -> None:
        """Read records of schema `name` ("status", "dead_letter"); without `fetch_schema` no Confluent framing."""
        self._name = name
        self._fetch = fetch_schema
        self._writers: dict[int, Any] = {}

    def __call__(self, value: bytes | None) -> dict[str, Any]:
        """Return the record. Raises UndecodableValue, or Failed when the registry is away."""
        if not value:
            raise UndecodableValue("no value")
        try:
            if value.startswith(MARKER):
                return decode(self._name, value)
            datum = self._confluent(value) if value.startswith(CONFLUENT_MARKER) else orjson.loads(value)
        except (UnknownVersion, ValueError, EOFError, IndexError, TypeError, KeyError) as error:
            raise UndecodableValue(f"no {self._name}: {error}") from error
        if not isinstance(datum, dict):
            raise UndecodableValue(f"no {self._name}: {type(datum).__name__}")
        return datum

    def _confluent(self, value: bytes) -> Any:
        if self._fetch is None:
            raise ValueError("in Confluent's framing, but no kafka.schema_registry_url is configured")
        number = int.from_bytes(value[1:CONFLUENT_HEADER_BYTES])
        if number not in self._writers:
            self._writers[number] = schemas.parse(self._fetch(number))
        body = BytesIO(value[CONFLUENT_HEADER_BYTES:])
        return schemaless_reader(body, self._writers[number], schemas.current(self._name).parsed)


def registry(address: Address) -> FetchSchema:
    """Return a function that asks the Confluent schema registry at `address`."""

    def fetch(number: int) -> str:
        try:
            answer = httpx.get(
                f"{address.url.rstrip('/')}/schemas/ids/{number}", auth=address.basic, timeout=REGISTRY_PATIENCE_S
            )
            return str(answer.raise_for_status().json()["schema"])
        except (httpx.HTTPError, ValueError, KeyError) as error:
            raise Failed(
                f"the schema registry does not give schema {number}: {type(error).__name__}: {error}"
            ) from error

    return fetch
