"""The latest calls of a lane, which its limits need: in the index and in the table."""

from __future__ import annotations

from pipeline.domain.limit import PastCall
from pipeline.stage_io import Overlay
from pipeline.stages.lane import table
from pipeline.stages.lane.index import LaneIndex


def add(view: Overlay, index: LaneIndex, call: PastCall, claim_id: str, keep: int) -> None:
    """Note a new call, and delete all but the `keep` that end last: one that hangs counts for longest."""
    index.state.calls += 1
    put(view, index, index.state.calls, call, claim_id)
    calls = index.calls
    while len(calls) > keep:
        delete(view, index, min(calls, key=lambda number: calls[number][0].end_ms))


def end(view: Overlay, index: LaneIndex, claim_id: str, ended_ms: int) -> None:
    """Note when the latest call of a claim was answered or given up."""
    if (number := _latest(index, claim_id)) is not None:
        start_ms = index.calls[number][0].start_ms
        put(view, index, number, PastCall(start_ms, max(start_ms, ended_ms)), claim_id)


def delete_latest(view: Overlay, index: LaneIndex, claim_id: str) -> None:
    """Delete the latest call of a claim: nothing of it was written."""
    if (number := _latest(index, claim_id)) is not None:
        delete(view, index, number)


def put(view: Overlay, index: LaneIndex, number: int, call: PastCall, claim_id: str) -> None:
    """Write call `number`."""
    index.calls[number] = (call, claim_id)
    table.put_call(view, number, call, claim_id)


def delete(view: Overlay, index: LaneIndex, number: int) -> None:
    """Delete call `number`."""
    del index.calls[number]
    table.delete_call(view, number)


def _latest(index: LaneIndex, claim_id: str) -> int | None:
    return max((number for number, (_, each) in index.calls.items() if each == claim_id), default=None)
