"""Passes over the touches that wait: new orders and entries end, park and free those that they concern, in slices."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from pipeline.domain.order import Action
from pipeline.domain.story import Reason, State
from pipeline.stages.control import Pause, Stop
from pipeline.stages.lane import queue, shelf, table
from pipeline.stages.lane.draft import StepDraft
from pipeline.stages.lane.fate import Ended, turned_away
from pipeline.stages.lane.gate import is_expired
from pipeline.stages.lane.index import Sweep
from pipeline.stages.lane.intake import line_up
from pipeline.stages.passes import LATEST_MS, REST_MS, SLICE, next_pass_ms
from pipeline.stages.step import STEP_BYTES


def expire(draft: StepDraft) -> None:
    """End the parked touches that have expired."""
    index, state = draft.index, draft.state
    if not state.parked:
        return
    due: list[tuple[bytes, bytes]] = []
    for at_ms, expiry, key in shelf.expiries(draft.view, index.expiry_from):
        if at_ms > draft.now_ms or len(due) >= SLICE:
            draft.wake_at(max(at_ms, draft.now_ms))
            break
        due.append((expiry, key))
    for expiry, key in due:
        value = draft.view.get(key)
        if value is None:
            draft.view.delete(expiry)
        else:
            draft.suspects[:] = [key]
            work = table.decode_waiting(value)
            shelf.leave(draft.view, state, key, work)
            draft.write(Ended(work, State.EXPIRED, Reason.EXPIRES_AT))
        index.expiry_from = expiry


def go_on(draft: StepDraft) -> None:
    """Do the next slice of the pass under way, or begin one if there is something new to look for."""
    index = draft.index
    if index.sweep is None:
        index.sweep = _begun(draft)
    if (sweep := index.sweep) is None:
        return
    if sweep.queue_from is not None:
        sweep = replace(sweep, queue_from=_sweep_queue(draft, sweep.queue_from))
    elif sweep.shelf_from is not None:
        sweep = replace(sweep, shelf_from=_sweep_shelf(draft, sweep.shelf_from))
    index.sweep = sweep
    if sweep.queue_from is None and sweep.shelf_from is None:
        _end(draft, sweep)
    else:
        draft.wake_at(draft.now_ms + REST_MS)


def _begun(draft: StepDraft) -> Sweep | None:
    """Return the pass that begins now, if there is one to begin."""
    index, state, now_ms = draft.index, draft.state, draft.now_ms
    has_news = (state.control.swept, state.suppressions.swept) != (state.control.seen, state.suppressions.seen)
    is_one_free = index.unpark_ms is not None and index.unpark_ms <= now_ms
    if has_news and not _is_of_this_lane(draft):
        _note_swept(draft, state.control.seen, state.suppressions.seen)
        has_news = False
    if has_news and now_ms < index.next_sweep_ms <= now_ms + LATEST_MS:
        draft.wake_at(index.next_sweep_ms)
        has_news = False
    if not has_news and not is_one_free:
        draft.wake_at(index.unpark_ms)
        return None
    index.unpark_ms = None
    queue_from = max(index.head, table.WAITING) if has_news and state.waiting else None
    seen = (state.control.seen, state.suppressions.seen) if has_news else (0, 0)
    return Sweep(now_ms, *seen, queue_from, table.PARKED if state.parked else None)


def _is_of_this_lane(draft: StepDraft) -> bool:
    """Return whether what is new can concern a touch that waits here."""
    state, sender = draft.state, draft.config.sender
    if state.parked:
        return True
    if not state.waiting or sender is None:
        return False
    if state.suppressions.swept != state.suppressions.seen:
        return True
    return any(
        order.target.has_lane(draft.policy.channel, sender.name)
        and (order.action is Action.CANCEL or not order.target.holds_lane)
        for _, order in draft.orders.view.orders_from(state.control.swept)
    )


def _end(draft: StepDraft, sweep: Sweep) -> None:
    index = draft.index
    index.sweep = None
    if sweep.control or sweep.suppressions:
        index.next_sweep_ms = next_pass_ms(sweep.began_ms, draft.now_ms)
    _note_swept(draft, sweep.control, sweep.suppressions)
    draft.wake_at(draft.now_ms + REST_MS)


def _note_swept(draft: StepDraft, control: int, suppressions: int) -> None:
    state = draft.state
    state.control = state.control._replace(swept=max(state.control.swept, control))
    state.suppressions = state.suppressions._replace(swept=max(state.suppressions.swept, suppressions))


def _sweep_queue(draft: StepDraft, start: bytes) -> bytes | None:
    """End and park the touches of one slice of the queue that must not go; return where the next begins, or None."""
    rows, behind = _slice(draft.view.scan(start, table.WAITING + table.END))
    for key, value in rows:
        draft.suspects[:] = [key]
        work = table.decode_waiting(value)
        if is_expired(work, draft.now_ms):
            continue  # told when its turn comes
        said = draft.orders.about(work)
        if isinstance(said, Stop | Pause):
            queue.leave(draft.view, draft.state, key, work)
            draft.write(turned_away(work, said))
    return behind


def _sweep_shelf(draft: StepDraft, start: bytes) -> bytes | None:
    """End the touches of one slice of the shelf that a cancel takes or an entry forbids; line up those that are free."""
    rows, behind = _slice(shelf.rows(draft.view, start))
    for key, value in rows:
        draft.suspects[:] = [key]
        work = table.decode_waiting(value)
        said = draft.orders.about(work)
        if isinstance(said, Pause) and not is_expired(work, draft.now_ms):
            draft.note_pause(said)
            continue
        shelf.leave(draft.view, draft.state, key, work)
        line_up(draft, work, value)
    return behind


def _slice(rows: Iterator[tuple[bytes, bytes]]) -> tuple[list[tuple[bytes, bytes]], bytes | None]:
    """Return the first rows, as many as one step looks at, and the key of the one behind them, if there is one."""
    found: list[tuple[bytes, bytes]] = []
    room = STEP_BYTES
    for key, value in rows:
        if len(found) >= SLICE or room < 0:
            return found, key
        found.append((key, value))
        room -= len(value)
    return found, None
