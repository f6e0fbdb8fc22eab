"""When the next call may start, and what the limit must remember of the last ones."""

from __future__ import annotations

from pipeline.domain.limit import PastCall, WarmUpStep, calls_to_remember, next_start_ms
from pipeline.stages.lane import shelf
from pipeline.stages.lane.cycle import CLOCK_ALLOWANCE_MS, Cycle


def next_call_ms(cycle: Cycle) -> int:
    """Return the first instant, now or later, at which a call may start; or at which another limit holds."""
    started_ms = _started_ms(cycle)
    step = _step_now(cycle, started_ms)
    limit = cycle.policy.limit if step is None else step.limit
    if limit is None:
        return cycle.now_ms
    start_ms = next_start_ms(limit, [call for call, _ in cycle.mind.calls.values()], cycle.now_ms)
    return start_ms if step is None or started_ms is None else min(start_ms, started_ms + step.until_ms)


def _started_ms(cycle: Cycle) -> int | None:
    """Return since when the sender is in use; None: it has not sent yet."""
    sender = cycle.mind.sender
    configured = None if sender is None else sender.started_on_ms
    return cycle.state.first_send_ms if configured is None else configured


def _step_now(cycle: Cycle, started_ms: int | None) -> WarmUpStep | None:
    warm_up = cycle.policy.warm_up
    return None if warm_up is None else warm_up.step_at(started_ms, cycle.now_ms)


def note_call(cycle: Cycle, claim_id: str, lease_until_ms: int) -> None:
    """Count a call that is claimed now; until its answer comes it may be running."""
    state, mind = cycle.state, cycle.mind
    if state.first_send_ms is None:
        state.first_send_ms = cycle.now_ms
    keep = calls_to_remember(cycle.policy.limit, cycle.policy.warm_up)
    if keep == 0:
        return
    state.calls += 1
    call = PastCall(cycle.now_ms, lease_until_ms + cycle.policy.request_timeout_ms + CLOCK_ALLOWANCE_MS)
    mind.calls[state.calls] = (call, claim_id)
    shelf.keep_call(cycle.view, state.calls, call, claim_id)
    while len(mind.calls) > keep:
        oldest = min(mind.calls)
        del mind.calls[oldest]
        shelf.drop_call(cycle.view, oldest)
