"""As of when the copy is complete, and how far behind it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Place = tuple[str, int]
"""Logical topic and partition."""


class Mark(NamedTuple):
    """The ends that partitions had at an instant or after it; what was committed before stands before them."""

    at_ms: int
    ends: Mapping[Place, int]


class Freshness:
    """Follows marks: one is passed when everything before its ends is in the copy, and then the next one is set.

    Ends are those of all records, open transactions included: a transaction that was committed behind one which is still
    open cannot be read yet, and the copy must not claim to have it.
    """

    def __init__(self, now_ms: Callable[[], int], keep_ms: int) -> None:
        self._now_ms = now_ms
        self._keep_ms = keep_ms
        self.as_of_ms = 0
        """All that was committed before is in the copy; 0 until a first mark is passed."""
        self._mark: Mark | None = None
        self._ends: dict[Place, int] = {}
        self._positions: dict[Place, int] = {}

    @property
    def needs_mark(self) -> bool:
        """Whether the last mark is passed."""
        return self._mark is None

    def begin(self, as_of_ms: int, positions: Mapping[Place, int]) -> None:
        """Begin to read at these positions, with what is known from before; 0: nothing."""
        self.as_of_ms = as_of_ms
        self._mark = None
        self._ends = {}
        self._positions = dict(positions)

    def set_mark(self, mark: Mark) -> None:
        """Set the mark to be passed next."""
        self._mark = mark
        self._ends = dict(mark.ends)
        self._pass()

    def move(self, positions: Mapping[Place, int]) -> None:
        """Note that everything before `positions` is in the copy."""
        self._positions.update(positions)
        self._pass()

    def _pass(self) -> None:
        if self._mark is not None and not self.lag_records:
            self.as_of_ms = max(self.as_of_ms, self._mark.at_ms)
            self._mark = None

    @property
    def positions(self) -> Mapping[Place, int]:
        """The next offset of each partition."""
        return self._positions

    @property
    def lag_records(self) -> int:
        """Offsets that are missing up to the ends of the last mark."""
        return sum(max(0, end - self._positions.get(tp, 0)) for tp, end in self._ends.items())

    @property
    def lag_s(self) -> float:
        """Age of `as_of_ms` in seconds; at most `keep`, which is all that there can be."""
        return min(max(0, self._now_ms() - self.as_of_ms), self._keep_ms) / 1000
