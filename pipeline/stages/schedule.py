"""Keeps what is not due yet, in the order of its time, and hands it back to its lane when it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from pipeline.flow import channel_topic
from pipeline.log import Output, Overlay, Record, Table
from pipeline.records import decode_scheduled
from pipeline.stages.foreign import own_record
from pipeline.stages.step import Step

DEFERRED = b"d"
PER_STEP = 500
"""Handed back per transaction: 100,000 due in one second are 200 of them, and other partitions go on in between."""
SET_BACK_MS = 60_000
"""A clock set back by less makes a retry late by as much, which is nothing."""
LONGEST_RETRY_MS = 3_600_000
"""A retry is put off by a `Retry-After`, which is believed up to an hour, or by `retry.most`."""


class Scheduler:
    """The stage over one partition of `touches.scheduled`; its table is `deferred`, keyed due_ms ‖ touch_id."""

    def __init__(self) -> None:
        self._served = DEFERRED
        """Everything below is handed back: scans start here, not among RocksDB's tombstones."""
        self._seen_ms = 0
        """What the clock showed at the last step."""
        self._last_offset = -1
        self._doubtful = _Doubtful()

    def open(self) -> None:
        """Take over: nothing is known to be handed back."""
        self._served = DEFERRED

    def step(self, batch: Sequence[Record], table: Table, now_ms: int) -> Step:
        """Take in what arrived, hand back what is due, and say when the next one is."""
        view, step = Overlay(table), Step()
        if now_ms < self._seen_ms - SET_BACK_MS:
            self._doubtful = _Doubtful(self._seen_ms + LONGEST_RETRY_MS, self._last_offset)
        self._seen_ms = now_ms
        for record in batch:
            self._last_offset = record.offset
            scheduled = own_record(decode_scheduled, record)
            if scheduled is None:
                continue
            due_ms = scheduled.due_ms
            # The offset keeps two schedulings of one touch apart: each is handed back, the lane knows its own.
            key = DEFERRED + due_ms.to_bytes(8, "big") + record.offset.to_bytes(8, "big")
            view.put(key, record.value or b"")
            self._served = min(self._served, key)
        step.wake_ms = self._hand_back(view, step, now_ms)
        step.changes = view.changes
        return step

    def _hand_back(self, view: Overlay, step: Step, now_ms: int) -> int | None:
        due: list[bytes] = []
        wake_ms = None
        for key, value in view.scan(self._served, DEFERRED + b"\xff"):
            due_ms = int.from_bytes(key[1:9], "big")
            is_due = due_ms <= now_ms or self._doubtful.has(due_ms, key)
            if len(due) >= PER_STEP or (not is_due and due_ms > self._doubtful.until_ms):
                wake_ms = max(due_ms, now_ms) if wake_ms is None else wake_ms
                break
            if not is_due:
                wake_ms = due_ms if wake_ms is None else wake_ms
                continue
            due.append(key)
            scheduled = decode_scheduled(value)
            step.outputs.append(Output(channel_topic(scheduled.channel), scheduled.lane,
                                       scheduled.touch_id.encode(), scheduled.work))  # fmt: skip
        for key in due:
            view.delete(key)
            if int.from_bytes(key[1:9], "big") <= now_ms:
                self._served = key
        if len(due) < PER_STEP:
            self._doubtful = _Doubtful()
            return wake_ms
        return now_ms


class _Doubtful(NamedTuple):
    """What was taken in while the clock was ahead: a retry of it may stand far in the future. Its lane decides anew."""

    until_ms: int = 0
    last_offset: int = -1

    def has(self, due_ms: int, key: bytes) -> bool:
        """Whether what is kept under `key` is to be handed back though it is not due."""
        return due_ms <= self.until_ms and int.from_bytes(key[9:17], "big") <= self.last_offset
