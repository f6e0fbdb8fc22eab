"""May a call go now? Rate limit, warm-up, gap between calls, daily cap. Reads only."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.domain.held_by import HeldBy
from pipeline.domain.limit import PastCall, WarmUpStep, next_start_ms
from pipeline.domain.work import Claim
from pipeline.domain.zone import day_end_ms, local_day
from pipeline.stages.lane.index import LaneConfig, LaneIndex
from pipeline.stages.lane.step import Hold


def hold(config: LaneConfig, index: LaneIndex, now_ms: int, messages: int) -> Hold | None:
    """Return what prevents a call with `messages` new messages for longest; None: it may start now.

    At the end of the hold ask again: another limit may hold by then.
    """
    return max(
        (each for each in _holds(config, index, now_ms, messages) if each.until_ms > now_ms),
        default=None,
        key=lambda each: each.until_ms,
    )


def messages_left(config: LaneConfig, index: LaneIndex, now_ms: int) -> int | None:
    """Return how many messages may still be claimed today; None: any number."""
    cap = daily_cap(config)
    if cap is None:
        return None
    spent = index.state.messages if index.state.day >= today(config, now_ms) else 0
    return max(cap - spent, 0)


def day_bound_ms(config: LaneConfig, now_ms: int) -> int | None:
    """Return the end of today, before which a call that counts for today must begin. None without a daily cap."""
    return None if daily_cap(config) is None else day_end_ms(config.policy.day_zone, now_ms)


def new_messages(config: LaneConfig, claim: Claim, now_ms: int) -> int:
    """Return how many messages a replay of `claim` adds to today: none if its last call was counted today."""
    return 0 if day_of(config, claim) >= today(config, now_ms) else len(claim.works)


def day_of(config: LaneConfig, claim: Claim) -> int:
    """Return the day for which the claim's last call was counted: its lease ends within that day."""
    return local_day(config.policy.day_zone, claim.lease_until_ms - 1)


def today(config: LaneConfig, now_ms: int) -> int:
    """Return the calendar day of the daily cap, in days since 1970."""
    return local_day(config.policy.day_zone, now_ms)


def daily_cap(config: LaneConfig) -> int | None:
    """Return how many messages the sender may send per day; None: any number."""
    return None if config.sender is None else config.sender.daily_cap


def _holds(config: LaneConfig, index: LaneIndex, now_ms: int, messages: int) -> Iterator[Hold]:
    calls = [call for call, _ in index.calls.values()]
    yield from _limit_holds(config, index, now_ms, calls)
    if config.policy.gap is not None and calls:
        yield Hold("gap", max(call.end_ms for call in calls) + index.state.gap_ms, by=HeldBy.GAP)
    left = messages_left(config, index, now_ms)
    if left is not None and messages > left:
        until_ms = day_end_ms(config.policy.day_zone, now_ms)
        yield Hold(f"daily cap of {daily_cap(config)}", until_ms, by=HeldBy.DAILY_CAP)


def _limit_holds(config: LaneConfig, index: LaneIndex, now_ms: int, calls: list[PastCall]) -> Iterator[Hold]:
    """Yield the holds of the limit and, as well, of the warm-up: a young sender keeps both."""
    limit, started_ms = config.policy.limit, _started_ms(config, index)
    step = _step_now(config, started_ms, now_ms)
    if limit is not None:
        yield Hold(str(limit), next_start_ms(limit, calls, now_ms))
    if step is not None:
        start_ms = next_start_ms(step.limit, calls, now_ms)
        warm_ms = start_ms if started_ms is None else started_ms + step.until_ms
        yield Hold(f"warm-up, {step.limit}", min(start_ms, warm_ms))


def _started_ms(config: LaneConfig, index: LaneIndex) -> int | None:
    """Return since when the sender is in use; None: it has not sent yet."""
    configured = None if config.sender is None else config.sender.started_on_ms
    return index.state.first_send_ms if configured is None else configured


def _step_now(config: LaneConfig, started_ms: int | None, now_ms: int) -> WarmUpStep | None:
    warm_up = config.policy.warm_up
    return None if warm_up is None else warm_up.step_at(started_ms, now_ms)
