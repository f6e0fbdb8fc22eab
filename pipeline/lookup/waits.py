"""Why a touch has not gone yet, now: from its latest status, the orders that hold it, and what its lane last told."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Any

from pipeline.domain.held_by import HeldBy
from pipeline.domain.hours import Never
from pipeline.domain.order import Action
from pipeline.domain.story import TERMINAL, Reason
from pipeline.domain.window import Closed, Open

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pipeline.domain.order import Order, PlacedOrder
    from pipeline.records.lane_report import LaneReport

Hours = Open | Closed | Never


class Why(StrEnum):
    """Why a touch has not gone yet."""

    ORDER = "order"
    OUTAGE = "outage"
    WINDOW = "window"
    NOT_BEFORE = "not_before"
    BACKOFF = "backoff"
    LOOKING_UP = "looking_up"
    LIMIT = "limit"
    DAILY_CAP = "daily_cap"
    GAP = "gap"
    TURN = "turn"
    """Others are before it, or its call is under way."""


_DEFERRED = {Reason.WINDOW: Why.WINDOW, Reason.NOT_BEFORE: Why.NOT_BEFORE, Reason.BACKOFF: Why.BACKOFF}
"""What a touch that the scheduler keeps waits for, until its `next_attempt_at`."""
_OF_LANE = {
    HeldBy.OUTAGE: Why.OUTAGE,
    HeldBy.WINDOW: Why.WINDOW,
    HeldBy.DAILY_CAP: Why.DAILY_CAP,
    HeldBy.LIMIT: Why.LIMIT,
    HeldBy.GAP: Why.GAP,
}
"""What a touch in its lane waits for, the strongest first. What holds by an order is seen from the orders."""


def waits(
    touch: Mapping[str, Any], orders: Iterable[PlacedOrder], lane: LaneReport | None, hours: Hours | None, now_ms: int
) -> dict[str, Any] | None:
    """Return `why` (a word of Why), `until` (epoch ms, the earliest; None: nobody knows) and `orders` (keys, the oldest first).

    `touch` has the members of LookupCopy.touch. `orders` may hold others' orders, too. `lane` is the latest report of the
    touch's sender, `hours` what `own_hours` says of its channel; None: not known. None if the touch has ended, or has no
    status any more.
    """
    statuses = touch["statuses"]
    if not statuses or touch["state"] is None or touch["state"] in TERMINAL:
        return None
    last, reason = statuses[-1], touch["reason"]
    next_ms = last.get("next_attempt_at")
    is_later = next_ms is not None and next_ms > now_ms
    is_asked = lane is None or lane.open_claims != 0  # what was not sent is back in line, and no status says so
    if reason == Reason.LOOKING_UP and (is_later or is_asked):
        return _answer(Why.LOOKING_UP, next_ms if is_later else None)
    if pauses := _pauses_on(touch, orders, now_ms):
        ends = [each.until_ms for each in pauses]
        until_ms = None if None in ends else max(each for each in ends if each is not None)
        return _answer(Why.ORDER, until_ms, [each.key for each in pauses])
    if is_later and reason in _DEFERRED:
        return _answer(_DEFERRED[Reason(reason)], next_ms)
    if is_later and reason == Reason.OUTAGE:
        return _answer(Why.OUTAGE, next_ms)
    return _in_lane(lane, hours, now_ms)


def _pauses_on(touch: Mapping[str, Any], orders: Iterable[PlacedOrder], now_ms: int) -> list[Order]:
    """Return the pauses that hold the touch now, the oldest first."""
    found = [
        each
        for each in orders
        if each.order.action is Action.PAUSE
        and not each.order.is_over(now_ms)
        and each.order.target.matches(
            campaign_id=touch["campaign_id"],
            lead_id=touch["lead_id"],
            touch_id=touch["touch_id"],
            channel=touch["channel"],
            sender=touch["sender"] or "",
        )
    ]
    return [each.order for each in sorted(found, key=lambda each: each.offset)]


def _in_lane(lane: LaneReport | None, hours: Hours | None, now_ms: int) -> dict[str, Any]:
    """Return what keeps a touch whose turn it could be: what holds its lane, or those before it."""
    held = () if lane is None else lane.held_by or ()
    if isinstance(hours, Closed) and HeldBy.OUTAGE not in held:
        return _answer(Why.WINDOW, hours.until_ms)
    until_ms = None if lane is None else lane.held_until_ms
    if until_ms is not None and until_ms <= now_ms:
        until_ms = None
    for by, why in _OF_LANE.items():
        # A lane tells at most every few seconds: a window that has opened since holds no more.
        if by in held and not (by is HeldBy.WINDOW and until_ms is None):
            return _answer(why, until_ms)
    return _answer(Why.TURN, None)


def _answer(why: Why, until_ms: int | None, orders: list[str] | None = None) -> dict[str, Any]:
    return {"why": why.value, "until": until_ms, "orders": orders or []}
