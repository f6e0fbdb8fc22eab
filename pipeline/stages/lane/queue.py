"""The queue of a lane. The order of its keys is the order of service: priority, turn, arrival."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from pipeline.domain.work import Work
from pipeline.stage_io import Overlay
from pipeline.stages.lane import table
from pipeline.stages.lane.index import LaneIndex
from pipeline.stages.lane.table import FLOW, WAITING, LaneState
from pipeline.stages.step import STEP_BYTES

LOOKED_AT: Final = 500
"""Touches looked at per step, at most."""


def enqueue(view: Overlay, state: LaneState, work: Work, value: bytes) -> bytes:
    """Put `work` (as record `value`) in the queue and return its key.

    Campaigns of one priority take turns: a touch stands behind those of its own campaign, one turn after the last.
    """
    flow = _flow_key(work)
    served = state.served.get(str(work.priority), 0)
    last, count = _flow(view, flow)
    turn = max(served, last) + 1
    _put_flow(view, flow, turn, count + 1)
    return _put(view, state, work, turn, value)


def requeue(view: Overlay, state: LaneState, work: Work, value: bytes) -> bytes:
    """Return `work`, which was claimed, to the head of its priority, and return its key."""
    flow = _flow_key(work)
    last, count = _flow(view, flow)
    _put_flow(view, flow, last, count + 1)
    return _put(view, state, work, state.served.get(str(work.priority), 0), value)


def take(view: Overlay, state: LaneState, key: bytes, work: Work) -> None:
    """Remove `work`, whose turn it is, from the queue: it is served, deferred or has ended."""
    state.served[str(work.priority)] = max(state.served.get(str(work.priority), 0), int.from_bytes(key[2:10], "big"))
    leave(view, state, key, work)


def leave(view: Overlay, state: LaneState, key: bytes, work: Work) -> None:
    """Remove `work` from the queue although it may not be its turn: the others keep theirs."""
    view.delete(key)
    state.waiting -= 1
    flow = _flow_key(work)
    last, count = _flow(view, flow)
    if count > 1:
        _put_flow(view, flow, last, count - 1)
    else:
        view.delete(flow)


def _put(view: Overlay, state: LaneState, work: Work, turn: int, value: bytes) -> bytes:
    state.arrivals += 1
    state.waiting += 1
    key = WAITING + bytes((work.priority,)) + turn.to_bytes(8, "big") + state.arrivals.to_bytes(8, "big")
    view.put(key, value)
    return key


def _flow_key(work: Work) -> bytes:
    # Retries take turns with the first attempts of their campaign: neither starves the other.
    kind = b"r" if work.attempt else b"f"
    return FLOW + bytes((work.priority,)) + kind + work.campaign_id.encode()


def _flow(view: Overlay, key: bytes) -> tuple[int, int]:
    """Return (turn of the campaign's last touch, how many wait)."""
    value = view.get(key)
    return (0, 0) if value is None else (int.from_bytes(value[:8], "big"), int.from_bytes(value[8:], "big"))


def _put_flow(view: Overlay, key: bytes, last: int, count: int) -> None:
    view.put(key, last.to_bytes(8, "big") + count.to_bytes(8, "big"))


class QueuedTouch(NamedTuple):
    """One touch in the queue."""

    key: bytes
    work: Work
    size: int
    """Bytes of its record."""


class Cursor:
    """Goes through the queue in the order of service; a touch can be looked at before it is taken."""

    def __init__(self, view: Overlay, index: LaneIndex, suspects: list[bytes]) -> None:
        self._view = view
        self._index = index
        self._suspects = suspects
        """Holds the key of the touch looked at, for those who find out what an error came from."""
        self._rows: Iterator[tuple[bytes, bytes]] = view.scan(max(index.head, WAITING), WAITING + table.END)
        self._next: QueuedTouch | None = None
        self._looked_at = 0
        self._room = STEP_BYTES
        self.taken = 0

    def peek(self) -> QueuedTouch | None:
        """Return the next touch, or None at the end of the queue, or of what one step looks at."""
        if self._next is None and not self.is_cut:
            row = next(self._rows, None)
            if row is not None:
                self._next = self._read(*row)
        return self._next

    def _read(self, key: bytes, value: bytes) -> QueuedTouch:
        self._suspects[:] = [key]
        self._room -= len(value)
        decoded = self._index.decoded.get(key)
        return QueuedTouch(key, table.decode_waiting(value) if decoded is None else decoded, len(value))

    def skip(self) -> None:
        """Leave the touch looked at in the queue, and go on behind it."""
        self._next = None
        self._looked_at += 1

    def take(self) -> None:
        """Remove the touch looked at from the queue, and go on behind it."""
        assert self._next is not None
        take(self._view, self._index.state, self._next.key, self._next.work)
        self.taken += 1
        self.skip()

    @property
    def is_cut(self) -> bool:
        """Whether the cursor has looked at as many touches, or bytes, as one step may."""
        return self._looked_at >= LOOKED_AT or self._room < 0
