"""How long a lane was held back, and by what: added up as it happens, reported once a minute."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline.stages.lane import Hold

REPORT_MS = 60_000


class ThrottleLog:
    """The holds of one lane. Instants are epoch milliseconds."""

    def __init__(self) -> None:
        self._hold: Hold | None = None
        self._since_ms = 0
        """Time up to this instant is accounted for."""
        self._begun_ms: int | None = None
        """Begin of the period that the next report is about; None: there is nothing to report."""
        self._spent_ms: Counter[str] = Counter()

    @property
    def is_open(self) -> bool:
        """Whether there will be a report at the end of its minute."""
        return self._begun_ms is not None

    def note(self, hold: Hold | None, now_ms: int) -> int:
        """Note what holds the lane back from now on; return the ms for which a limit has held it back since the last call."""
        spent_ms = self._spend(now_ms)
        limited_ms = spent_ms if self._hold is not None and self._hold.is_limit else 0
        self._hold = hold
        if hold is not None and self._begun_ms is None:
            self._begun_ms = now_ms
        return limited_ms

    def limited_ms(self, now_ms: int) -> int:
        """Return the ms for which a limit has held the lane back since the last call of this or `note`."""
        return self.note(self._hold, now_ms)

    def report(self, now_ms: int) -> str | None:
        """Return what has held the lane back, once a minute at most; None: nothing, or the minute is not over."""
        if self._begun_ms is None or now_ms < self._begun_ms + REPORT_MS:
            return None
        causes = ", ".join(f"{why} ({spent / 1000:.1f} s)" for why, spent in self._spent_ms.most_common())
        report = (
            f"held back for {self._spent_ms.total() / 1000:.1f} s of {(now_ms - self._begun_ms) / 1000:.1f} s: {causes}"
        )
        self._begun_ms = None if self._hold is None else now_ms
        self._spent_ms.clear()
        return report

    def _spend(self, now_ms: int) -> int:
        spent_ms = max(now_ms - self._since_ms, 0)
        self._since_ms = now_ms
        if self._hold is None:
            return 0
        self._spent_ms[self._hold.why] += spent_ms
        return spent_ms
