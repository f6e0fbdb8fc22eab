"""Records that wait for a writer schema: kept in the router's table, so that later records are not delayed."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

from pipeline.records.registry import SchemaNotHere
from pipeline.stage_io import Overlay, Record

ROOM = b"w"
"""Key prefix, beside those of stages/ttl.py."""
MOST_RECORDS = 1_000
MOST_BYTES = 16 * 1024 * 1024
"""Most bytes per partition; further records wait in their topic."""
PER_STEP = 200


class SchemaWait:
    """The waiting records of one open table, counted by schema."""

    def __init__(self) -> None:
        self._counts: Counter[int] | None = None
        self._bytes = 0

    def schemas(self, view: Overlay) -> list[int]:
        """Return the ids of the missing schemas."""
        return list(self._counted(view))

    def put(self, view: Overlay, record: Record, missing: SchemaNotHere) -> None:
        """Keep `record` until its schema is loaded. Raises `missing` if there is no room."""
        counts, kept = self._counted(view), _packed(record)
        if counts.total() >= MOST_RECORDS or self._bytes + len(kept) > MOST_BYTES:
            raise missing
        view.put(_key(missing.schema_id, record.offset), kept)
        counts[missing.schema_id] += 1
        self._bytes += len(kept)

    def recount(self) -> None:
        """Count again from the table, because changes since the last commit were discarded."""
        self._counts, self._bytes = None, 0

    def take(self, view: Overlay, is_there: Callable[[int], bool]) -> Iterator[Record]:
        """Remove and yield at most PER_STEP records whose schema is loaded now."""
        counts = self._counted(view)
        ready = [schema_id for schema_id in counts if is_there(schema_id)]
        left = PER_STEP
        for schema_id in ready:
            for key, kept in list(islice(view.scan(_key(schema_id, 0), _key(schema_id + 1, 0)), left)):
                view.delete(key)
                self._bytes -= len(kept)
                counts[schema_id] -= 1
                left -= 1
                yield _unpacked(kept)
            if not counts[schema_id]:
                del counts[schema_id]

    def _counted(self, view: Overlay) -> Counter[int]:
        if self._counts is None:
            self._counts = Counter()
            for key, kept in view.scan(ROOM, ROOM + b"\xff"):
                self._counts[int.from_bytes(key[1:5], "big")] += 1
                self._bytes += len(kept)
        return self._counts


def _key(schema_id: int, offset: int) -> bytes:
    return ROOM + schema_id.to_bytes(4, "big") + offset.to_bytes(8, "big")


def _packed(record: Record) -> bytes:
    headers = [(name, _text(value)) for name, value in record.headers]
    return json.dumps([*record[:4], _text(record.key), _text(record.value), headers]).encode()


def _unpacked(kept: bytes) -> Record:
    topic, partition, offset, timestamp_ms, key, value, headers = json.loads(kept)
    read: Any = tuple((name, _bytes(each)) for name, each in headers)
    return Record(topic, partition, offset, timestamp_ms, _bytes(key), _bytes(value), read)


def _text(value: bytes | None) -> str | None:
    return None if value is None else b64encode(value).decode("ascii")


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else b64decode(text)
