"""A lane's table for the forecast: sorted in memory, without what is known of touches taken in before."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator

from pipeline.stage_io import LOCAL, Changes
from pipeline.stages.ttl import ENTRY, INDEX

FORGOTTEN = (ENTRY, INDEX, LOCAL)
"""What has ended is of no account here: nothing in a backlog comes a second time but under another key."""
SLACK = 1_000


class SortedTable:
    """A table in memory whose keys stay sorted, however often it changes: a step costs the same in any backlog."""

    def __init__(self, rows: dict[bytes, bytes]) -> None:
        self._rows = {key: value for key, value in rows.items() if not key.startswith(FORGOTTEN)}
        self._keys = sorted(self._rows)
        """Deleted ones among them, until they are too many."""

    def get(self, key: bytes) -> bytes | None:
        """Return the value under `key`, or None."""
        return self._rows.get(key)

    def scan(self, start: bytes, end: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Yield (key, value) with `start` <= key < `end`, in key order."""
        keys, rows = self._keys, self._rows
        for at in range(bisect_left(keys, start), bisect_left(keys, end)):
            if (value := rows.get(keys[at])) is not None:
                yield keys[at], value

    def apply(self, changes: Changes) -> None:
        """Apply what a step changed."""
        for key, value in changes.items():
            if value is None:
                self._rows.pop(key, None)
            elif not key.startswith(FORGOTTEN):
                self._put(key, value)
        if len(self._keys) > 2 * len(self._rows) + SLACK:
            self._keys = sorted(self._rows)

    def _put(self, key: bytes, value: bytes) -> None:
        if key not in self._rows:
            at = bisect_left(self._keys, key)
            if at == len(self._keys) or self._keys[at] != key:
                self._keys.insert(at, key)
        self._rows[key] = value
