"""Keeps what is not due yet, in the order of its time, and hands it back to its lane when it is."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.flow import channel_topic
from pipeline.log import Output, Overlay, Record, Table
from pipeline.records import decode_scheduled
from pipeline.stages.foreign import own_record
from pipeline.stages.step import Step

DEFERRED = b"d"
PER_STEP = 500
"""Handed back per transaction: 100,000 due in one second are 200 of them, and other partitions go on in between."""


class Scheduler:
    """The stage over one partition of `touches.scheduled`; its table is `deferred`, keyed due_ms ‖ touch_id."""

    def __init__(self) -> None:
        self._served = DEFERRED
        """Everything below is handed back: scans start here, not among RocksDB's tombstones."""

    def open(self) -> None:
        """Take over: nothing is known to be handed back."""
        self._served = DEFERRED

    def step(self, batch: Sequence[Record], table: Table, now_ms: int) -> Step:
        """Take in what arrived, hand back what is due, and say when the next one is."""
        view, step = Overlay(table), Step()
        for record in batch:
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
            if due_ms > now_ms or len(due) >= PER_STEP:
                wake_ms = max(due_ms, now_ms)
                break
            due.append(key)
            scheduled = decode_scheduled(value)
            step.outputs.append(Output(channel_topic(scheduled.channel), scheduled.lane,
                                       scheduled.touch_id.encode(), scheduled.work))  # fmt: skip
        for key in due:
            view.delete(key)
            self._served = key
        return wake_ms
