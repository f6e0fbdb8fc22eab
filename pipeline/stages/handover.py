"""Which deferred touches go back to their lane at once, because a cancel or an entry concerns them: in passes, in slices."""

from __future__ import annotations

from typing import Final

from pipeline.domain.order import Action
from pipeline.domain.work import Scheduled
from pipeline.records import decode_scheduled, decode_work
from pipeline.stage_io import Overlay
from pipeline.stages.control import ControlView, stop_of
from pipeline.stages.dead_letters import STOPS
from pipeline.stages.passes import LATEST_MS, next_pass_ms
from pipeline.stages.step import STEP_BYTES

SWEPT: Final = b"v"
"""Key of the row that has the offsets of both topics before which every row has been looked at."""
SLICE: Final = 200
"""Rows looked at per step, at most."""
REST_MS: Final = 50
"""Between two slices: the passes of eight partitions in one process look at a million rows in about a minute, and leave half of
it to the touches that are due meanwhile."""
LEAD_MS: Final = 500
"""A lane that does not know the order yet would defer the touch again: it learns of it at about the same time."""

Row = tuple[bytes, bytes]


class Handover:
    """The passes over the rows of one scheduler. All but the row under `SWEPT` begins anew with each owner."""

    def __init__(self, control: ControlView, first: bytes, end: bytes) -> None:
        """The rows have keys from `first` to `end`."""
        self._control = control
        self._first, self._end = first, end
        self._swept: tuple[int, int] | None = None
        self._target: tuple[int, int] = (0, 0)
        """What the pass under way looks for."""
        self._news_ms: int | None = None
        """Since when there is something new to look for."""
        self._next: bytes | None = None
        """Key from which the pass under way goes on; None: there is none under way."""
        self._rests_until_ms = 0
        self._began_ms = 0
        self._due_ms = 0
        """When the next pass may begin at the earliest."""
        self.wake_ms: int | None = None
        """When to look again; None: when the view moves."""

    def concerns(self, scheduled: Scheduled) -> bool:
        """Return whether a cancel or an entry ends a touch, so that it must not wait until it is due."""
        if self._is_silent:
            return False
        try:
            return stop_of(self._control, decode_work(scheduled.work)) is not None
        except STOPS:
            raise
        except Exception:  # noqa: BLE001 - its lane puts it aside when it is due
            return False

    @property
    def _is_silent(self) -> bool:
        """Whether there has never been an order or an entry."""
        return self._control.control_offset == 0 and self._control.suppressions_offset == 0

    def found(self, view: Overlay, now_ms: int) -> list[Row]:
        """Return the rows of this step's slice that must go back at once."""
        self.wake_ms = None
        if self._is_silent or self._rests(now_ms) or (self._next is None and not self._begins(view, now_ms)):
            return []
        found: list[Row] = []
        looked, room, start, self._next = 0, STEP_BYTES, self._next or self._first, None
        for key, value in view.scan(start, self._end):
            if looked >= SLICE or room < 0:
                self._next = key
                break
            looked, room = looked + 1, room - len(value)
            if self._is_concerned(value):
                found.append((key, value))
        if self._next is None:
            self._finish(view, now_ms)
        self.wake_ms = self._rests_until_ms = now_ms + REST_MS
        return found

    def _rests(self, now_ms: int) -> bool:
        """Return whether it is too soon after the last slice; a clock that was set back makes no rest longer."""
        if not now_ms < self._rests_until_ms <= now_ms + REST_MS:
            return False
        self.wake_ms = self._rests_until_ms
        return True

    def _begins(self, view: Overlay, now_ms: int) -> bool:
        """Return whether a pass begins now: something is new, and the last one is long enough ago."""
        if self._swept is None:
            row = view.get(SWEPT)
            self._swept = (0, 0) if row is None else (int.from_bytes(row[:8], "big"), int.from_bytes(row[8:], "big"))
        known = (self._control.control_offset, self._control.suppressions_offset)
        if known == self._swept or not self._has_news(self._swept):
            self._swept, self._news_ms = known, None
            return False
        if self._news_ms is None or self._news_ms > now_ms:
            self._news_ms = now_ms
        due_ms = max(min(self._due_ms, now_ms + LATEST_MS), self._news_ms + LEAD_MS)
        if now_ms < due_ms:
            self.wake_ms = due_ms
            return False
        self._began_ms, self._target, self._news_ms = now_ms, known, None
        return True

    def _has_news(self, swept: tuple[int, int]) -> bool:
        control, suppressions = swept
        return suppressions < self._control.suppressions_offset or any(
            order.action is Action.CANCEL for _, order in self._control.orders_from(control)
        )

    def _finish(self, view: Overlay, now_ms: int) -> None:
        self._swept = self._target
        view.put(SWEPT, b"".join(offset.to_bytes(8, "big") for offset in self._swept))
        self._due_ms = next_pass_ms(self._began_ms, now_ms)

    def _is_concerned(self, value: bytes) -> bool:
        try:
            scheduled = decode_scheduled(value)
        except STOPS:
            raise
        except Exception:  # noqa: BLE001 - it is put aside when it is due
            return False
        return self.concerns(scheduled)
