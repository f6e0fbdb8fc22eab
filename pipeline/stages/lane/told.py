"""What a lane tells of itself in `touches.lanes`: how far it obeys at once, all else when it changes and not too often."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from pipeline.domain.hours import Never, own_hours
from pipeline.domain.window import Closed, Open
from pipeline.flow import LANES
from pipeline.records.lane_report import LaneReport, encode_lane_report
from pipeline.stage_io import Output
from pipeline.stages.lane.draft import StepDraft

TELL_MS: Final = 5_000
"""What changes is told this long after the last report at the earliest."""
STILL_MS: Final = 60_000
"""A lane that has something to do says at least this often that it is still so."""
ORDERS_TOLD: Final = 20
"""Most keys of orders in a report."""


def tell(draft: StepDraft) -> None:
    """Add a report to the step if one is due, and ask for the step in which the next one is.

    A lane without a sender tells nothing. A lane with nothing to do tells nothing twice.
    """
    index, step, now_ms = draft.index, draft.step, draft.now_ms
    if draft.config.sender is None:
        return
    known = (*draft.state.control[:2], *draft.state.suppressions[:2])
    is_obeying = index.obeys_told == known
    if is_obeying and index.told_ms <= now_ms < index.told_ms + TELL_MS:
        step.tell_ms = index.told_ms + TELL_MS
        return
    hours = own_hours(draft.policy.window, draft.policy.calendar, now_ms)
    report = _report(draft, hours)
    is_busy = bool(report.backlog or report.open_claims)
    if not is_obeying or index.told != replace(report, at_ms=0) or (is_busy and now_ms >= index.told_ms + STILL_MS):
        index.obeys_told, index.told, index.told_ms = known, replace(report, at_ms=0), now_ms
        step.outputs.append(Output(LANES, 0, report.key.encode(), encode_lane_report(report)))
    edges = [index.told_ms + STILL_MS if is_busy else None, None if isinstance(hours, Never) else hours.until_ms]
    step.tell_ms = min((each for each in edges if each is not None), default=None)


def _report(draft: StepDraft, hours: Open | Closed | Never) -> LaneReport:
    state, step, sender = draft.state, draft.step, draft.config.sender
    assert sender is not None
    return LaneReport(
        channel=draft.policy.channel,
        sender=sender.name,
        lane=draft.config.lane,
        control_seen=state.control.seen,
        control_in_force=state.control.in_force,
        suppressions_seen=state.suppressions.seen,
        suppressions_in_force=state.suppressions.in_force,
        parked=state.parked,
        at_ms=draft.now_ms,
        backlog=state.waiting,
        open_claims=len(draft.index.claims),
        held_by=tuple(sorted(each.value for each in step.held_by)),
        held_until_ms=_held_until_ms(draft),
        orders=tuple(each.key for each in draft.orders.holds[:ORDERS_TOLD]),
        window_open=isinstance(hours, Open),
        next_opens_ms=hours.until_ms if isinstance(hours, Closed) else None,
        last_sent_ms=state.last_success_ms or None,
    )


def _held_until_ms(draft: StepDraft) -> int | None:
    """Return when what holds the lane ends at the earliest."""
    hold, pauses = draft.step.hold, draft.orders.holds
    if pauses:
        ends = [each.until_ms for each in pauses]
        return None if None in ends else max(each for each in ends if each is not None)
    if hold is not None:
        return hold.until_ms
    return draft.step.breaker_until_ms
