"""A Confluent schema registry: writer schemas by id, and registration of the pipeline's own schemas."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any

import httpx

from pipeline.records import schemas
from pipeline.secret import Address

TIMEOUT_S = 5.0
HTTP_NOT_FOUND = 404
AT_ONCE = 8
BELIEVED_S = 60.0
MOST_MISSING = 10_000


class RegistryAway(Exception):
    """The registry does not answer. Cached schemas can be used; records of others must wait."""


class RegistryRefuses(RegistryAway):
    """The registry answers with an error or with something else."""


class SchemaNotHere(Exception):
    """The schema has not been fetched yet: fetch it, then decode again."""

    def __init__(self, schema_id: int) -> None:
        super().__init__(f"schema {schema_id} was not fetched yet")
        self.schema_id = schema_id


class Registry:
    """Fetches each schema id once and caches it: an id never changes its meaning.

    That the registry has no schema under an id is remembered for a minute: a replica may be some seconds late, and garbage
    comes in crowds.
    """

    def __init__(self, address: Address, now_s: Callable[[], float] = time.monotonic) -> None:
        self._url = address.url.rstrip("/")
        self._http = httpx.Client(timeout=TIMEOUT_S, auth=address.basic)
        self._now_s = now_s
        self._known: dict[int, Any] = {}
        self._missing: dict[int, tuple[str, float]] = {}
        """Ids without a schema: why, and until when this is cached."""

    def writer(self, schema_id: int) -> Any:
        """Return the parsed schema `schema_id` from the cache.

        Raises LookupError when the registry has none under this id, SchemaNotHere when it must be fetched first.
        """
        if (found := self._known.get(schema_id)) is not None:
            return found
        why, until_s = self._missing.get(schema_id, ("", 0.0))
        if self._now_s() < until_s:
            raise LookupError(why)
        raise SchemaNotHere(schema_id)

    def has(self, schema_id: int) -> bool:
        """Whether `writer` has an answer now."""
        return schema_id in self._known or self._now_s() < self._missing.get(schema_id, ("", 0.0))[1]

    def fetch_all(self, schema_ids: Iterable[int]) -> None:
        """Ask the registry for schemas, several at once (blocking). Raises RegistryAway as soon as it cannot tell."""
        with ThreadPoolExecutor(AT_ONCE) as pool:
            asked = [pool.submit(self.fetch, schema_id) for schema_id in schema_ids if not self.has(schema_id)]
            try:
                for each in as_completed(asked):
                    each.result()
            except RegistryAway:
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def fetch(self, schema_id: int) -> None:
        """Ask the registry for a schema (blocking, 5 s at most). Raises RegistryAway when it cannot tell."""
        answer = self._ask("GET", f"/schemas/ids/{schema_id}")
        if answer.status_code == HTTP_NOT_FOUND:
            self._miss(schema_id, "the registry does not know it")
            return
        found = self._json(answer)
        if (kind := found.get("schemaType", "AVRO")) != "AVRO":
            self._miss(schema_id, f"it is a schema of type {kind!s:.20}; send Avro")
            return
        try:
            self._known[schema_id] = schemas.parse(str(found.get("schema")))
        except Exception as error:  # noqa: BLE001 - avro has exceptions of its own
            self._miss(schema_id, f"not an Avro schema: {error!s:.200}")

    def _miss(self, schema_id: int, why: str) -> None:
        while len(self._missing) >= MOST_MISSING:
            self._missing.pop(next(iter(self._missing)), None)
        self._missing[schema_id] = why, self._now_s() + BELIEVED_S

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
        try:
            found = answer.json()
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise RegistryRefuses(f"schema registry {self._url} answers what is no JSON object: {answer.text[:200]}")
        return found
