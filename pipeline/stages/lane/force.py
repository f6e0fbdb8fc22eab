"""How far a lane obeys: what it has seen of orders and suppressions, and since when no call can begin without it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from pipeline.domain.work import Claim, Phase
from pipeline.stages.control import ControlView
from pipeline.stages.lane.draft import StepDraft
from pipeline.stages.lane.index import LaneConfig
from pipeline.stages.lane.table import LaneState, Looked

LONGEST_TIMEOUT_MS: Final = 60_000
"""How long after its lease a call may run at a worker that has another `request_timeout`, as far as its claim says so."""


class ViewTooShort(Exception):
    """A topic has less than what a lane has looked at: what was ordered is not known any more."""


def check_view(view: ControlView, state: LaneState) -> None:
    """Check that what this lane has looked at before is known. Raises ViewTooShort."""
    for topic, read, seen in (
        ("touches.control", view.control_read, state.control.seen),
        ("touches.suppressions", view.suppressions_read, state.suppressions.seen),
    ):
        if read < seen:
            raise ViewTooShort(
                f"{topic} ends at {read}, but lanes have looked at it up to {seen}: it was deleted, created anew or "
                "truncated, and what was ordered there is lost; touches could be sent against it"
            )


def calls_at_large(config: LaneConfig, claims: Mapping[str, Claim]) -> dict[str, int]:
    """Return, by claim id, until when a call that another process has begun may still run."""
    return {claim_id: _over_ms(config, claim) for claim_id, claim in claims.items()}


def _over_ms(config: LaneConfig, claim: Claim) -> int:
    # The worker that made the call may have had a longer request timeout; its bound is in the claim until the first look.
    bound_ms = min(claim.next_look_ms, claim.lease_until_ms + LONGEST_TIMEOUT_MS)
    return max(config.call_over_ms(claim.lease_until_ms), bound_ms)


def follow(draft: StepDraft) -> None:
    """Decide from now on with all that the view knows."""
    state, view = draft.state, draft.orders.view
    if view.control_offset > state.control.seen:
        state.control = state.control._replace(seen=view.control_offset)
    if view.suppressions_offset > state.suppressions.seen:
        state.suppressions = state.suppressions._replace(seen=view.suppressions_offset)


def note(draft: StepDraft) -> None:
    """Note what is in force now."""
    index, state = draft.index, draft.state
    index.at_large = {
        claim_id: over_ms
        for claim_id, over_ms in index.at_large.items()
        if over_ms > draft.now_ms and claim_id in index.claims and claim_id not in index.under_way
    }
    if any(looked.in_force < looked.seen for looked in (state.control, state.suppressions)):
        running = _running(draft)
        state.control = _in_force(state.control, [claim.control_seen for claim in running])
        state.suppressions = _in_force(state.suppressions, [claim.suppressions_seen for claim in running])
        draft.wake_at(min(index.at_large.values(), default=None))
    draft.step.control_in_force = state.control.in_force


def _running(draft: StepDraft) -> list[Claim]:
    """Return the claims whose call may begin, or be running: here, or in a process that had this lane before."""
    index = draft.index
    return [
        claim
        for claim in index.claims.values()
        if claim.claim_id in index.at_large
        or (claim.claim_id in index.under_way and (claim.phase is Phase.CALLING or draft.config.replays))
    ]


def _in_force(looked: Looked, seen_by_running: list[int]) -> Looked:
    # What was in force stays so: a claim that was made with less can only be replayed, which is decided anew.
    return looked._replace(in_force=max(looked.in_force, min([looked.seen, *seen_by_running])))
