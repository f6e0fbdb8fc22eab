"""How long a lane was held back, and by what: added up as it happens, told once a minute."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline.stages.lane import Hold

TELL_MS = 60_000


class HeldBack:
    """The account of one lane. Instants are epoch milliseconds."""

    def __init__(self) -> None:
        self._hold: Hold | None = None
        self._since_ms = 0
        """Up to here all is accounted for."""
        self._begun_ms: int | None = None
        """When what is to be told next began; None: nothing is."""
        self._spent_ms: Counter[str] = Counter()

    @property
    def is_open(self) -> bool:
        """Whether there is something to tell, at the end of its minute."""
        return self._begun_ms is not None

    def note(self, hold: Hold | None, now_ms: int) -> int:
        """Learn what holds the lane from now on; return how many ms a limit of ours has held it since last asked."""
        spent_ms = self._spend(now_ms)
        limited_ms = spent_ms if self._hold is not None and self._hold.is_limit else 0
        self._hold = hold
        if hold is not None and self._begun_ms is None:
            self._begun_ms = now_ms
        return limited_ms

    def account(self, now_ms: int) -> int:
        """Return how many ms a limit of ours has held the lane since last asked."""
        return self.note(self._hold, now_ms)

    def tell(self, now_ms: int) -> str | None:
        """Return what has held the lane back, once a minute at most; None: nothing, or not yet."""
        if self._begun_ms is None or now_ms < self._begun_ms + TELL_MS:
            return None
        causes = ", ".join(f"{why} ({spent / 1000:.1f} s)" for why, spent in self._spent_ms.most_common())
        said = (
            f"held back for {self._spent_ms.total() / 1000:.1f} s of {(now_ms - self._begun_ms) / 1000:.1f} s: {causes}"
        )
        self._begun_ms = None if self._hold is None else now_ms
        self._spent_ms.clear()
        return said

    def _spend(self, now_ms: int) -> int:
        spent_ms = max(now_ms - self._since_ms, 0)
        self._since_ms = now_ms
        if self._hold is None:
            return 0
        self._spent_ms[self._hold.why] += spent_ms
        return spent_ms
