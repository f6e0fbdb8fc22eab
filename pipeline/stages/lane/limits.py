"""When the next call may start, and what the limit must remember of the last ones."""

from __future__ import annotations

from pipeline.domain.limit import Limit, PastCall, calls_to_remember, limit_at, next_start_ms
from pipeline.stages.lane import shelf
from pipeline.stages.lane.cycle import Cycle


def limit_now(cycle: Cycle) -> Limit | None:
    """Return the limit in force; None is none."""
    sender = cycle.mind.sender
    started_ms = cycle.state.first_send_ms
    if sender is not None and sender.started_on_ms is not None:
        started_ms = sender.started_on_ms
    return limit_at(cycle.policy.limit, cycle.policy.warm_up, started_ms, cycle.now_ms)


def next_call_ms(cycle: Cycle) -> int:
    """Return the first instant, now or later, at which a call may start."""
    limit = limit_now(cycle)
    if limit is None:
        return cycle.now_ms
    return next_start_ms(limit, [call for call, _ in cycle.mind.calls.values()], cycle.now_ms)


def note_call(cycle: Cycle, claim_id: str, lease_until_ms: int) -> None:
    """Count a call that is claimed now; until its answer comes it may be running."""
    state, mind = cycle.state, cycle.mind
    if state.first_send_ms is None:
        state.first_send_ms = cycle.now_ms
    keep = calls_to_remember(cycle.policy.limit, cycle.policy.warm_up)
    if keep == 0:
        return
    state.calls += 1
    call = PastCall(cycle.now_ms, cycle.call_over_ms(lease_until_ms))
    mind.calls[state.calls] = (call, claim_id)
    shelf.keep_call(cycle.view, state.calls, call, claim_id)
    while len(mind.calls) > keep:
        oldest = min(mind.calls)
        del mind.calls[oldest]
        shelf.drop_call(cycle.view, oldest)
