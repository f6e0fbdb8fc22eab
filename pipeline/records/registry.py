"""A Confluent schema registry: writer schemas by id, our own schemas registered at the start."""

from __future__ import annotations

from typing import Any

import httpx

from pipeline.records import schemas
from pipeline.secret import Address

TIMEOUT_S = 5.0
HTTP_NOT_FOUND = 404


class RegistryAway(Exception):
    """The registry does not answer; what is cached goes on, what is not must wait."""


class RegistryRefuses(RegistryAway):
    """The registry answers, and not with what was asked for."""


class SchemaNotHere(Exception):
    """A schema that was not fetched yet: fetch it, then read again."""

    def __init__(self, schema_id: int) -> None:
        super().__init__(f"schema {schema_id} was not fetched yet")
        self.schema_id = schema_id


class Registry:
    """Asks the registry once per schema id, and remembers the answer: ids never change their meaning."""

    def __init__(self, address: Address) -> None:
        self._url = address.url.rstrip("/")
        self._http = httpx.Client(timeout=TIMEOUT_S, auth=address.basic)
        self._known: dict[int, Any] = {}
        self._unknown: dict[int, str] = {}

    def writer(self, schema_id: int) -> Any:
        """Return the parsed schema `schema_id`; asks nobody.

        Raises LookupError when the registry has none under this id, SchemaNotHere when it must be fetched first.
        """
        if schema_id in self._unknown:
            raise LookupError(self._unknown.pop(schema_id))
        if schema_id not in self._known:
            raise SchemaNotHere(schema_id)
        return self._known[schema_id]

    def fetch(self, schema_id: int) -> None:
        """Ask the registry for a schema (blocking, 5 s at most). Raises RegistryAway when it cannot tell."""
        answer = self._ask("GET", f"/schemas/ids/{schema_id}")
        if answer.status_code == HTTP_NOT_FOUND:
            self._unknown[schema_id] = "the registry does not know it"
            return
        found = self._json(answer)
        if (kind := found.get("schemaType", "AVRO")) != "AVRO":
            self._unknown[schema_id] = f"it is a schema of type {kind!s:.20}; send Avro"
            return
        text = str(found.get("schema"))
        try:
            self._known[schema_id] = schemas.parse(text)
        except Exception as error:  # noqa: BLE001 - avro raises its own for what is not Avro
            self._unknown[schema_id] = f"not an Avro schema: {error}"

    def register(self, topic: str, name: str) -> int:
        """Register schema `name` under `<topic>-value` and return its id. Raises RegistryAway."""
        body = {"schema": schemas.current(name).text, "schemaType": "AVRO"}
        return int(self._json(self._ask("POST", f"/subjects/{topic}-value/versions", body))["id"])

    def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> httpx.Response:
        try:
            return self._http.request(method, self._url + path, json=body)
        except httpx.HTTPError as error:
            raise RegistryAway(f"schema registry {self._url} does not answer: {error!r}") from None

    def _json(self, answer: httpx.Response) -> dict[str, Any]:
        if answer.is_error:
            raise RegistryRefuses(f"schema registry {self._url} answers {answer.status_code}: {answer.text[:200]}")
        found: dict[str, Any] = answer.json()
        return found
