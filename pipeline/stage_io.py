"""The input and output of a stage: records in, state changes and outputs out. Imports no other module."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple, Protocol

Headers = Sequence[tuple[str, bytes]]
Changes = dict[bytes, bytes | None]
"""State changes by key; None deletes."""


LOCAL: Final = b"\xfe"
"""First byte of the keys of rows that follow from other rows: they are in every store and in no changelog."""
EXPIRES: Final = b"\x00\xff"
"""First bytes of a value that has an expiry, epoch milliseconds in the next 8 bytes."""
EXPIRY_END: Final = len(EXPIRES) + 8
_DIGEST_BYTES: Final = 16
"""A value of this length is an older version's digest, which may begin with any bytes."""


def expiry_row(key: bytes, value: bytes | None) -> bytes | None:
    """Return the key of the local row that puts the row (`key`, `value`) in the order of its expiry; None: it has none."""
    if value is None or value[:2] != EXPIRES or len(value) == _DIGEST_BYTES:
        return None
    return LOCAL + value[len(EXPIRES) : EXPIRY_END] + key


class Record(NamedTuple):
    """One consumed record, undecoded."""

    topic: str
    """Logical name (without `kafka.topic_prefix`)."""
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: Headers = ()
    flaw: str | None = None
    """Why the record, or the batch that begins at `offset`, could not be parsed; `value` holds the bytes that could be read."""


class Output(NamedTuple):
    """One record to produce, in the transaction of its step."""

    topic: str
    """Logical name (without `kafka.topic_prefix`)."""
    partition: int
    key: bytes | None
    value: bytes | None
    headers: Headers = ()


class TableFailed(Exception):
    """The committed state cannot be read or written, so no further decision can be trusted: the process must end."""


class Table(Protocol):
    """The committed state of one owned partition, ordered by key."""

    def get(self, key: bytes) -> bytes | None:
        """Return the value under `key`, or None."""

    def scan(self, start: bytes, end: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Yield (key, value) with `start` <= key < `end`, in key order."""


class Overlay:
    """A table with uncommitted changes on top; `changes` is what to commit."""

    __slots__ = ("_table", "changes")

    def __init__(self, table: Table) -> None:
        self._table = table
        self.changes: Changes = {}

    def get(self, key: bytes) -> bytes | None:
        """Return the value under `key` as it will be after the commit, or None."""
        return self.changes[key] if key in self.changes else self._table.get(key)

    def put(self, key: bytes, value: bytes) -> None:
        """Set `key`."""
        self.changes[key] = value

    def delete(self, key: bytes) -> None:
        """Delete `key`; a key that was never committed is not part of `changes`."""
        if self._table.get(key) is None:
            self.changes.pop(key, None)
        else:
            self.changes[key] = None

    def scan(self, start: bytes, end: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Yield (key, value) with `start` <= key < `end` as it will be after the commit, in key order.

        Changes made while iterating are not seen.
        """
        changed = sorted((k, v) for k, v in self.changes.items() if start <= k < end)
        return _merge(self._table.scan(start, end), changed)


def _merge(
    committed: Iterable[tuple[bytes, bytes]], changed: Sequence[tuple[bytes, bytes | None]]
) -> Iterator[tuple[bytes, bytes]]:
    at = 0
    for key, value in committed:
        while at < len(changed) and changed[at][0] < key:
            if (new := changed[at][1]) is not None:
                yield changed[at][0], new
            at += 1
        if at < len(changed) and changed[at][0] == key:
            if (new := changed[at][1]) is not None:
                yield key, new
            at += 1
        else:
            yield key, value
    for key, changed_value in changed[at:]:
        if changed_value is not None:
            yield key, changed_value


class MemoryTable:
    """A table in memory, for tests and the simulation."""

    def __init__(self, rows: dict[bytes, bytes] | None = None) -> None:
        self._rows: dict[bytes, bytes] = {} if rows is None else rows
        self._rows.update({row: b"" for row in map(expiry_row, self._rows, self._rows.values()) if row is not None})
        self._keys: list[bytes] | None = None

    def get(self, key: bytes) -> bytes | None:
        """Return the value under `key`, or None."""
        return self._rows.get(key)

    def scan(self, start: bytes, end: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Yield (key, value) with `start` <= key < `end`, in key order."""
        if self._keys is None:
            self._keys = sorted(self._rows)
        keys, rows = self._keys, self._rows
        for at in range(bisect_left(keys, start), bisect_left(keys, end)):
            if keys[at] in rows:
                yield keys[at], rows[keys[at]]

    def apply(self, changes: Changes) -> None:
        """Apply committed changes."""
        for key, value in changes.items():
            if value is None:
                self._rows.pop(key, None)
            else:
                self._rows[key] = value
                if (row := expiry_row(key, value)) is not None:
                    self._rows[row] = b""
        self._keys = None
