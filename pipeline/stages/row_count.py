"""How many rows a table has: counted once in slices when it is opened, then kept up with what each step changes."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from pipeline.stage_io import Changes, Table

SLICE: Final = 2_000
"""Rows counted per step, some milliseconds."""


class RowCount:
    """The rows with keys from `first` to `end`, each of which is put once and deleted once."""

    def __init__(self, first: bytes, end: bytes, beside: Collection[bytes] = ()) -> None:
        """`beside` are the keys of all other rows of the table."""
        self._end = end
        self._beside = beside
        self._rows = 0
        self._next: bytes | None = first
        """Rows from this key on are not counted yet; None: all are counted."""

    @property
    def total(self) -> int | None:
        """How many rows there are; None: they are still being counted."""
        return self._rows if self._next is None else None

    def go_on(self, committed: Table, changes: Changes) -> bool:
        """Count `changes`, which follow on `committed`, and the next slice; return whether there is more to count."""
        if self._next is not None:
            self._count_slice(committed, self._next)
            known = {key: value for key, value in changes.items() if self._next is None or key < self._next}
        else:
            known = changes
        self._rows += len(known) - 2 * list(known.values()).count(None)
        self._rows -= sum(key in known for key in self._beside)
        return self._next is not None

    def _count_slice(self, committed: Table, start: bytes) -> None:
        counted, self._next = 0, None
        for key, _ in committed.scan(start, self._end):
            if counted == SLICE:
                self._next = key
                break
            counted += 1
        self._rows += counted
