"""What became of a call: look it up, or send the same request again, until there is an answer or the time is over."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

from pipeline.domain.value import replace
from pipeline.domain.work import Claim, Phase
from pipeline.stages.lane import limits, table
from pipeline.stages.lane.claim import call_slots, calls_under_way
from pipeline.stages.lane.draft import StepDraft
from pipeline.stages.lane.gate import HoursDecision, Pass, Wait, decide
from pipeline.stages.lane.settle import found_open, unconfirmed

LOOK_UPS: Final = 4
"""Look-ups under way at a time in one lane."""


def take_over(draft: StepDraft, claim: Claim) -> None:
    """Look up a claim that was found calling when the lane opened."""
    draft.apply(found_open(claim, draft.facts))


def ask(draft: StepDraft, refuse: Callable[[Claim, Exception], object], *, is_stopping: bool) -> None:
    """Ask about the claims that are due; end those whose time for look-ups is over."""
    due = sorted(looking_up(draft), key=lambda claim: claim.next_look_ms)
    draft.each(due, partial(_ask_about, draft, is_stopping=is_stopping), refuse)


def looking_up(draft: StepDraft) -> list[Claim]:
    """Return the claims whose outcome is unknown and about which nothing is under way."""
    return [
        claim
        for claim in draft.index.claims.values()
        if claim.phase is Phase.LOOKING_UP and claim.claim_id not in draft.index.under_way
    ]


def _ask_about(draft: StepDraft, claim: Claim, *, is_stopping: bool) -> None:
    if draft.now_ms >= claim.resolve_until_ms:
        error = claim.error or "the provider could not be asked in time"
        draft.apply(unconfirmed(claim, error, draft.facts))
        return
    if claim.next_look_ms > draft.now_ms:
        draft.wake_at(min(claim.resolve_until_ms, claim.next_look_ms))
        return
    draft.wake_at(claim.resolve_until_ms)
    if draft.config.sender is None or is_stopping:
        return
    if draft.config.replays:
        _replay(draft, claim)
    elif len(draft.index.under_way) < LOOK_UPS + calls_under_way(draft):
        by_text = draft.config.by_text
        draft.ask(claim, table.known_ids(draft.view, claim.works[0]) if by_text else frozenset())


def _replay(draft: StepDraft, claim: Claim) -> None:
    """Send the same request again: a call like any other, so slots, breaker, window, limits and lease apply."""
    if calls_under_way(draft) >= call_slots(draft):
        return
    if draft.orders.forbids_replay(claim):
        return
    if draft.state.breaker.until_ms > draft.now_ms:
        draft.wake_at(draft.state.breaker.until_ms)
        return
    decisions = [
        decide(draft.policy, replace(work, expires_at_ms=None, not_before_ms=None), draft.now_ms)
        for work in claim.works
    ]
    opens_ms = _opens_ms(decisions, claim)
    if opens_ms is not None:
        draft.put_claim(replace(claim, next_look_ms=opens_ms))
        draft.wake_at(min(opens_ms, claim.resolve_until_ms))
        return
    messages = limits.new_messages(draft.config, claim, draft.now_ms)
    if (held := limits.hold(draft.config, draft.index, draft.now_ms, messages)) is not None:
        draft.wake_at(held.until_ms)
        return
    until_ms = _lease_until_ms(draft, claim, decisions)
    renewed = replace(
        claim,
        lease_until_ms=until_ms,
        next_look_ms=draft.config.call_over_ms(until_ms),
        control_seen=draft.state.control.seen,
        suppressions_seen=draft.state.suppressions.seen,
    )
    draft.step.replays_of_suppressed += draft.orders.suppressed_in(claim)
    draft.start_call(renewed, messages)
    draft.put_claim(renewed)
    draft.ask(renewed)


def _opens_ms(decisions: list[HoursDecision], claim: Claim) -> int | None:
    """Return when all touches of `claim` may go, at the latest when look-ups end; None: now."""
    closed = [decision for decision in decisions if not isinstance(decision, Pass)]
    if not closed:
        return None
    return max(decision.at_ms if isinstance(decision, Wait) else claim.resolve_until_ms for decision in closed)


def _lease_until_ms(draft: StepDraft, claim: Claim, decisions: list[HoursDecision]) -> int:
    """Return the instant before which the replay must begin: lease, windows, look-ups and the day of its count."""
    bounds = [decision.until_ms for decision in decisions if isinstance(decision, Pass)]
    bounds += [limits.day_bound_ms(draft.config, draft.now_ms)]
    known = (bound for bound in bounds if bound is not None)
    return min(draft.now_ms + draft.policy.lease_ms, claim.resolve_until_ms, *known)
