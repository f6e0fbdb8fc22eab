"""The scheduler: keeps touches in the order of their due time and returns each to its lane when it is due."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

from pipeline.domain.story import Reason, State, event_of
from pipeline.flow import RESULTS, SCHEDULED, channel_topic
from pipeline.records import decode_scheduled, decode_work, encode_event
from pipeline.stage_io import Output, Overlay, Record, Table
from pipeline.stages.control import NOTHING_ORDERED, ControlView
from pipeline.stages.dead_letters import NO_OFFSET, PLAIN, STOPS, DeadLetterWriter, apply_each, bytes_of, told
from pipeline.stages.handover import SWEPT, Handover
from pipeline.stages.row_count import RowCount
from pipeline.stages.step import STEP_BYTES, StageStep

DEFERRED = b"d"
AT_ONCE_MS = 1_000
"""When a touch goes back that a cancel or an entry concerns already: the lane that deferred it did not know it yet."""
PER_STEP = 500
"""Most touches returned per transaction; between two transactions other partitions get their turn."""
SET_BACK_MS = 60_000
"""A clock that was set back by less than this only delays a retry by the same time, which is accepted."""
LONGEST_RETRY_MS = 3_600_000
"""Longest delay of a retry: a `Retry-After` counts up to one hour, and `retry.most` is not longer."""


class Scheduler:
    """The stage over one partition of `touches.scheduled`; its table is `deferred`, keyed due_ms ‖ touch_id."""

    def __init__(
        self, dead_letters: DeadLetterWriter = PLAIN, number: int = 0, control: ControlView = NOTHING_ORDERED
    ) -> None:
        self._dead_letters = dead_letters
        self._handover = Handover(control, DEFERRED, DEFERRED + b"\xff")
        self._number = number
        """Number of the partition."""
        self._served = DEFERRED
        """Every key below this has been returned. Scans start here, so that they skip RocksDB's tombstones."""
        self._seen_ms = 0
        """Clock at the last step, epoch milliseconds."""
        self._last_offset = -1
        self._doubtful = _Doubtful()
        self._count = RowCount(DEFERRED, DEFERRED + b"\xff", (SWEPT,))

    @property
    def deferred(self) -> int | None:
        """How many touches wait here; None: they are still being counted, after this owner has opened the table."""
        return self._count.total

    def step(self, batch: Sequence[Record], table: Table, now_ms: int) -> StageStep:
        """Store new touches, return due ones to their lanes, and set the instant of the next due one."""
        if now_ms < self._seen_ms - SET_BACK_MS:
            self._doubtful = _Doubtful(self._seen_ms + LONGEST_RETRY_MS, self._last_offset)
        self._seen_ms = now_ms
        if batch:
            self._last_offset = batch[-1].offset
        view = Overlay(table)
        step = apply_each(
            batch,
            view,
            lambda record, view, step: self._take_in(record, view, step, now_ms),
            (
                lambda record, error, _, step: self._refuse(record, error, step, now_ms),
                lambda record, error, _, step: self._dead_letters.put(step, record, error, now_ms),
            ),
        )
        for key, value in self._handover.found(view, now_ms):
            self._hand_back_one(key, value, step, now_ms)
            view.delete(key)
        wakes = [self._hand_back(view, step, now_ms), self._handover.wake_ms]
        if self._count.go_on(table, view.changes):
            wakes.append(now_ms)
        step.wake_ms = min((each for each in wakes if each is not None), default=None)
        step.changes = view.changes
        return step

    def _take_in(self, record: Record, view: Overlay, step: StageStep, now_ms: int) -> None:
        del step
        scheduled = decode_scheduled(bytes_of(record))
        due_ms = scheduled.due_ms
        if self._handover.concerns(scheduled):
            due_ms = min(due_ms, now_ms + AT_ONCE_MS)
        # The offset keeps two schedulings of one touch apart: each is handed back, the lane knows its own.
        key = DEFERRED + due_ms.to_bytes(8, "big") + record.offset.to_bytes(8, "big")
        view.put(key, record.value or b"")
        self._served = min(self._served, key)

    def _hand_back(self, view: Overlay, step: StageStep, now_ms: int) -> int | None:
        due: list[bytes] = []
        wake_ms, room = None, STEP_BYTES
        for key, value in view.scan(self._served, DEFERRED + b"\xff"):
            due_ms = int.from_bytes(key[1:9], "big")
            is_due = due_ms <= now_ms or self._doubtful.has(due_ms, key)
            if len(due) >= PER_STEP or room < 0 or (not is_due and due_ms > self._doubtful.until_ms):
                wake_ms = max(due_ms, now_ms) if wake_ms is None else wake_ms
                break
            if not is_due:
                wake_ms = due_ms if wake_ms is None else wake_ms
                continue
            due.append(key)
            room -= len(value)
            self._hand_back_one(key, value, step, now_ms)
        for key in due:
            view.delete(key)
            if int.from_bytes(key[1:9], "big") <= now_ms:
                self._served = key
        if len(due) < PER_STEP and room >= 0:
            self._doubtful = _Doubtful()
            return wake_ms
        return now_ms

    def _hand_back_one(self, key: bytes, value: bytes, step: StageStep, now_ms: int) -> None:
        try:
            scheduled = decode_scheduled(value)
            step.outputs.append(
                Output(channel_topic(scheduled.channel), scheduled.lane, scheduled.touch_id.encode(), scheduled.work)
            )
        except STOPS:
            raise
        except Exception as error:  # noqa: BLE001 - one row must not hold up all that are due behind it
            row = Record(SCHEDULED, self._number, NO_OFFSET, now_ms, key, value)
            self._refuse(row, told(f"a row of {SCHEDULED}[{self._number}]", error), step, now_ms)

    def _refuse(self, record: Record, error: str, step: StageStep, now_ms: int) -> None:
        """Write a dead letter; if the touch can be decoded, it ends as failed."""
        work = None
        with suppress(Exception):
            work = decode_work(decode_scheduled(bytes_of(record)).work)
        self._dead_letters.put(step, record, error, now_ms, None if work is None else work.touch_id)
        if work is not None:
            event = event_of(work, State.FAILED, now_ms, reason=Reason.INVALID, error=error)
            step.outputs.append(Output(RESULTS, work.origin, work.touch_id.encode(), encode_event(event)))


class _Doubtful(NamedTuple):
    """Touches stored while the clock was ahead. Their due times may be too late, so they return to the lane, which decides again."""

    until_ms: int = 0
    last_offset: int = -1

    def has(self, due_ms: int, key: bytes) -> bool:
        """Return whether the touch under `key` must return to its lane although it is not due."""
        return due_ms <= self.until_ms and int.from_bytes(key[9:17], "big") <= self.last_offset
