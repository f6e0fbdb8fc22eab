"""Applies each event once to the state of its touch, in a legal order, and writes a numbered status for each change."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import NamedTuple

from pipeline.domain.lifecycle import TOUCH
from pipeline.domain.story import TERMINAL, Event, State
from pipeline.flow import STATUS
from pipeline.records import decode_event, one_of
from pipeline.stage_io import Output, Overlay, Record, Table
from pipeline.stages.dead_letters import PLAIN, DeadLetterWriter, apply_each, bytes_of
from pipeline.stages.deliveries import SentMarks
from pipeline.stages.step import StageStep, StatusWritten, rest_ms
from pipeline.stages.ttl import ENTRY, TtlSweep, recall, remember
from pipeline.state_machine import is_valid_transition

MOST_REST_MS = 500
"""Longest time for which events of a busy partition wait for each other: no call waits for a status."""
StatusEncoder = Callable[[Event, int], bytes]
"""(event, sequence) -> value of `touches.status`."""


class TouchState(NamedTuple):
    """State of a touch; as a table value: sequence (4 bytes, big-endian), state."""

    sequence: int
    state: State

    def pack(self) -> bytes:
        """Return the table's value."""
        return self.sequence.to_bytes(4, "big") + self.state.value.encode()

    @classmethod
    def unpack(cls, value: bytes) -> TouchState:
        """Return the state that a table value holds."""
        return cls(int.from_bytes(value[:4], "big"), one_of(State, value[4:].decode()))


class Dedup:
    """The stage over one partition of `touches.results`; its table is `states`."""

    def __init__(
        self,
        encode: StatusEncoder,
        dedup_for_ms: int,
        dead_letters: DeadLetterWriter = PLAIN,
        marks: SentMarks | None = None,
    ) -> None:
        """Write statuses; `marks` also tells the stage of deliveries what was sent (None: no callbacks are on)."""
        self._marks = marks
        self._dead_letters = dead_letters
        self._encode = encode
        self._dedup_for_ms = dedup_for_ms
        self._ttl = TtlSweep()

    def step(self, batch: Sequence[Record], table: Table, now_ms: int) -> StageStep:
        """Write a status for each change of state, drop repeated events, delete states that ended `dedup_for` ago."""

        def tell(record: Record, view: Overlay, step: StageStep) -> None:
            self._tell(decode_event(bytes_of(record)), record, view, step, now_ms)

        view = Overlay(table)
        step = apply_each(
            batch,
            view,
            tell,
            (
                lambda record, error, view, step: self._tell_less(record, error, view, step, now_ms),
                lambda record, error, _, step: self._dead_letters.put(step, record, error, now_ms),
            ),
        )
        step.wake_ms = self._ttl.forget(view, now_ms)
        step.changes = view.changes
        step.rest_ms = rest_ms(len(batch), MOST_REST_MS)
        return step

    def _tell_less(self, record: Record, error: str, view: Overlay, step: StageStep, now_ms: int) -> None:
        """Write a dead letter, and the touch's state without the optional fields, so that the touch still reaches its end."""
        event = None
        with suppress(Exception):
            event = decode_event(bytes_of(record))
        self._dead_letters.put(step, record, error, now_ms, None if event is None else event.touch_id)
        if event is None:
            return
        bare = Event(
            event.touch_id,
            event.campaign_id,
            event.lead_id,
            event.channel,
            event.state,
            event.occurred_at_ms,
            event.reason,
            event.attempt,
            event.sender,
            error=error,
        )
        self._tell(bare, record, view, step, now_ms)

    def _tell(self, event: Event, record: Record, view: Overlay, step: StageStep, now_ms: int) -> None:
        key = event.touch_id.encode()
        known = recall(view, key)
        known_state = None if known is None else TouchState.unpack(known)
        if not _is_news(event, known_state):
            return
        told = TouchState(1 if known_state is None else known_state.sequence + 1, event.state)
        if event.state in TERMINAL:
            remember(view, key, told.pack(), now_ms + self._dedup_for_ms)
        else:
            view.put(ENTRY + key, told.pack())
        step.outputs.append(Output(STATUS, record.partition, key, self._encode(event, told.sequence)))
        step.counts[StatusWritten(event.channel, event.state, event.reason)] += 1
        if self._marks is not None and event.state is State.SENT:
            self._marks.put(step, event, record.partition)


def _is_news(event: Event, known_state: TouchState | None) -> bool:
    """Return whether `event` is a legal transition; a repeated event, or one after a terminal state, is not."""
    return known_state is None or is_valid_transition(TOUCH, known_state.state, event.state)
