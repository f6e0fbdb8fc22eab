"""Keeps what is not due yet, in the order of its time, and hands it back to its lane when it is."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

from pipeline.domain.story import Reason, State, event_of
from pipeline.flow import RESULTS, SCHEDULED, channel_topic
from pipeline.records import decode_scheduled, decode_work, encode_event
from pipeline.stage_io import Output, Overlay, Record, Table
from pipeline.stages.dead_letters import NO_OFFSET, PLAIN, STOPS, DeadLetterWriter, apply_each, bytes_of, told
from pipeline.stages.step import STEP_BYTES, StageStep

DEFERRED = b"d"
PER_STEP = 500
"""Handed back per transaction: 100,000 due in one second are 200 of them, and other partitions go on in between."""
SET_BACK_MS = 60_000
"""A clock set back by less makes a retry late by as much, which is nothing."""
LONGEST_RETRY_MS = 3_600_000
"""A retry is put off by a `Retry-After`, which is believed up to an hour, or by `retry.most`."""


class Scheduler:
    """The stage over one partition of `touches.scheduled`; its table is `deferred`, keyed due_ms ‖ touch_id."""

    def __init__(self, dead_letters: DeadLetterWriter = PLAIN, number: int = 0) -> None:
        self._dead_letters = dead_letters
        self._number = number
        """Of the partition."""
        self._served = DEFERRED
        """Everything below is handed back: scans start here, not among RocksDB's tombstones."""
        self._seen_ms = 0
        """What the clock showed at the last step."""
        self._last_offset = -1
        self._doubtful = _Doubtful()

    def step(self, batch: Sequence[Record], table: Table, now_ms: int) -> StageStep:
        """Take in what arrived, hand back what is due, and say when the next one is."""
        if now_ms < self._seen_ms - SET_BACK_MS:
            self._doubtful = _Doubtful(self._seen_ms + LONGEST_RETRY_MS, self._last_offset)
        self._seen_ms = now_ms
        if batch:
            self._last_offset = batch[-1].offset
        view = Overlay(table)
        step = apply_each(
            batch,
            view,
            self._take_in,
            (
                lambda record, error, _, step: self._refuse(record, error, step, now_ms),
                lambda record, error, _, step: self._dead_letters.put(step, record, error, now_ms),
            ),
        )
        step.wake_ms = self._hand_back(view, step, now_ms)
        step.changes = view.changes
        return step

    def _take_in(self, record: Record, view: Overlay, step: StageStep) -> None:
        del step
        due_ms = decode_scheduled(bytes_of(record)).due_ms
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
        """Put a record aside; its touch, where it can be read, has failed."""
        work = None
        with suppress(Exception):
            work = decode_work(decode_scheduled(bytes_of(record)).work)
        self._dead_letters.put(step, record, error, now_ms, None if work is None else work.touch_id)
        if work is not None:
            event = event_of(work, State.FAILED, now_ms, reason=Reason.INVALID, error=error)
            step.outputs.append(Output(RESULTS, work.origin, work.touch_id.encode(), encode_event(event)))


class _Doubtful(NamedTuple):
    """What was taken in while the clock was ahead: a retry of it may stand far in the future. Its lane decides anew."""

    until_ms: int = 0
    last_offset: int = -1

    def has(self, due_ms: int, key: bytes) -> bool:
        """Whether what is kept under `key` is to be handed back though it is not due."""
        return due_ms <= self.until_ms and int.from_bytes(key[9:17], "big") <= self.last_offset
