"""The shelf of a lane: the touches that orders have parked, in the order in which they were, and by when they expire."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.domain.work import Work
from pipeline.stage_io import Overlay
from pipeline.stages.lane.table import END, PARKED, PARKED_UNTIL, LaneState


def park(view: Overlay, state: LaneState, work: Work, value: bytes) -> bytes | None:
    """Put `work` (as record `value`) behind those that are parked; return its key among those that expire, or None."""
    state.parkings += 1
    state.parked += 1
    number = state.parkings.to_bytes(8, "big")
    view.put(PARKED + number, value)
    expiry = _expiry_key(work, number)
    if expiry is not None:
        view.put(expiry, b"\x01")
    return expiry


def leave(view: Overlay, state: LaneState, key: bytes, work: Work) -> None:
    """Take `work` off the shelf: it is free again, or has ended."""
    drop(view, state, key)
    if (expiry := _expiry_key(work, key[1:])) is not None:
        view.delete(expiry)


def drop(view: Overlay, state: LaneState, key: bytes) -> None:
    """Take off the shelf what cannot be decoded."""
    view.delete(key)
    state.parked -= 1


def rows(view: Overlay, start: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield (key, value) of the parked touches from `start` on, in the order in which they were parked."""
    return view.scan(start, PARKED + END)


def expiries(view: Overlay, start: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """Yield (expires_at in epoch ms, key among those that expire, key on the shelf) from `start` on, the first first."""
    for key, _ in view.scan(start, PARKED_UNTIL + END):
        yield int.from_bytes(key[1:9], "big"), key, PARKED + key[9:]


def _expiry_key(work: Work, number: bytes) -> bytes | None:
    if work.expires_at_ms is None:
        return None
    return PARKED_UNTIL + max(work.expires_at_ms, 0).to_bytes(8, "big") + number
