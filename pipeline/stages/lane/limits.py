"""What keeps the next call back, and what must be remembered of the last ones: limit, warm-up, pause, daily cap."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.domain.limit import PastCall, WarmUpStep, calls_to_remember, next_start_ms
from pipeline.domain.work import Claim
from pipeline.domain.zone import day_end_ms, local_day
from pipeline.stages.lane import shelf
from pipeline.stages.lane.cycle import Cycle
from pipeline.stages.lane.step import Hold


def hold(cycle: Cycle, messages: int) -> Hold | None:
    """Return what keeps a call with so many new messages back for longest; None: it may start now.

    At the hold's end it must be asked again: another limit may hold by then.
    """
    return max(
        (each for each in _holds(cycle, messages) if each.until_ms > cycle.now_ms),
        default=None,
        key=lambda each: each.until_ms,
    )


def messages_left(cycle: Cycle) -> int | None:
    """Return how many messages may still be claimed today; None: any number."""
    cap = _cap(cycle)
    if cap is None:
        return None
    spent = cycle.state.messages if cycle.state.day >= local_day(cycle.policy.day_zone, cycle.now_ms) else 0
    return max(cap - spent, 0)


def day_bound_ms(cycle: Cycle) -> int | None:
    """Return when today ends: a call that counts for today begins before. None without a daily cap."""
    return None if _cap(cycle) is None else day_end_ms(cycle.policy.day_zone, cycle.now_ms)


def new_messages(cycle: Cycle, claim: Claim) -> int:
    """Return how many messages a replay of `claim` adds to today's: none when its last call was counted today."""
    return 0 if _day_of(cycle, claim) >= local_day(cycle.policy.day_zone, cycle.now_ms) else len(claim.works)


def note_call(cycle: Cycle, claim_id: str, lease_until_ms: int, messages: int) -> None:
    """Count a call that is claimed now, with so many new messages; until its answer comes it may be running."""
    state, mind, policy = cycle.state, cycle.mind, cycle.policy
    if state.first_send_ms is None:
        state.first_send_ms = cycle.now_ms
    _count(cycle, messages)
    if policy.gap is not None:
        state.gap_ms = policy.gap.drawn_ms(cycle.draw())
    keep = calls_to_remember(policy.limit, policy.warm_up, policy.gap)
    if keep == 0:
        return
    state.calls += 1
    call = PastCall(cycle.now_ms, cycle.call_over_ms(lease_until_ms))
    mind.calls[state.calls] = (call, claim_id)
    shelf.keep_call(cycle.view, state.calls, call, claim_id)
    while len(mind.calls) > keep:
        over = min(mind.calls, key=lambda number: mind.calls[number][0].end_ms)
        del mind.calls[over]
        shelf.drop_call(cycle.view, over)


def give_back(cycle: Cycle, claim: Claim) -> None:
    """Take the messages of `claim`, which the provider did not take, off its day's count."""
    if _day_of(cycle, claim) == cycle.state.day:
        cycle.state.messages = max(cycle.state.messages - len(claim.works), 0)


def _holds(cycle: Cycle, messages: int) -> Iterator[Hold]:
    calls = [call for call, _ in cycle.mind.calls.values()]
    yield from _limit_holds(cycle, calls)
    if cycle.policy.gap is not None and calls:
        yield Hold("gap", max(call.end_ms for call in calls) + cycle.state.gap_ms)
    left = messages_left(cycle)
    if left is not None and messages > left:
        yield Hold(f"daily cap of {_cap(cycle)}", day_end_ms(cycle.policy.day_zone, cycle.now_ms))


def _limit_holds(cycle: Cycle, calls: list[PastCall]) -> Iterator[Hold]:
    """The limit, and the warm-up's besides: a young sender keeps both."""
    limit, started_ms = cycle.policy.limit, _started_ms(cycle)
    step = _step_now(cycle, started_ms)
    if limit is not None:
        yield Hold(str(limit), next_start_ms(limit, calls, cycle.now_ms))
    if step is not None:
        start_ms = next_start_ms(step.limit, calls, cycle.now_ms)
        warm_ms = start_ms if started_ms is None else started_ms + step.until_ms
        yield Hold(f"warm-up, {step.limit}", min(start_ms, warm_ms))


def _started_ms(cycle: Cycle) -> int | None:
    """Return since when the sender is in use; None: it has not sent yet."""
    sender = cycle.mind.sender
    configured = None if sender is None else sender.started_on_ms
    return cycle.state.first_send_ms if configured is None else configured


def _step_now(cycle: Cycle, started_ms: int | None) -> WarmUpStep | None:
    warm_up = cycle.policy.warm_up
    return None if warm_up is None else warm_up.step_at(started_ms, cycle.now_ms)


def _cap(cycle: Cycle) -> int | None:
    return None if cycle.mind.sender is None else cycle.mind.sender.daily_cap


def _count(cycle: Cycle, messages: int) -> None:
    if _cap(cycle) is None or messages == 0:
        return
    today = local_day(cycle.policy.day_zone, cycle.now_ms)
    if today > cycle.state.day:
        cycle.state.day, cycle.state.messages = today, 0
    cycle.state.messages += messages


def _day_of(cycle: Cycle, claim: Claim) -> int:
    """Return the day for which the claim's last call was counted: its lease ends with that day at the latest."""
    return local_day(cycle.policy.day_zone, claim.lease_until_ms - 1)
