"""Finds the orders there are, the lanes that do not obey them yet, and so their states."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from pipeline.console.order.count import count_open
from pipeline.console.order.target import lanes_of
from pipeline.console.order.view import ShownOrder
from pipeline.console.order.work import current_orders
from pipeline.kafka.lanes import read_lanes
from pipeline.records.registry import RegistryAway

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pipeline.console.command_context import CommandContext
    from pipeline.domain.order import PlacedOrder
    from pipeline.records.lane_report import LaneReport


class OrderState(StrEnum):
    """How far an order has come."""

    PENDING = "pending"
    """Committed, not in force."""
    IN_FORCE = "in_force"
    ENDED = "ended"


async def listed_orders(
    context: CommandContext, complain: Callable[[str], None], *, is_ended_too: bool, is_counted: bool
) -> list[tuple[ShownOrder, OrderState]]:
    """Return the orders by offset, each with its state. Raises CommandFailed when Kafka is away."""
    log = await current_orders(context, complain)
    reports = await read_lanes(context.cluster, complain)
    found = [(placed, missing_lanes(context, placed, reports)) for placed in log.orders.values()]
    stated = [(placed, missing, state_of(context, placed, missing)) for placed, missing in found]
    chosen = [each for each in stated if is_ended_too or each[2] is not OrderState.ENDED]
    counts = await _counts(context, [placed for placed, *_ in chosen]) if is_counted else None
    return [
        (
            ShownOrder(
                order=placed.order,
                offset=placed.offset,
                missing=missing,
                touches=None if counts is None else counts[at],
            ),
            state,
        )
        for at, (placed, missing, state) in enumerate(chosen)
    ]


def missing_lanes(context: CommandContext, placed: PlacedOrder, reports: Mapping[str, LaneReport]) -> list[str]:
    """Return the lanes concerned that have not reported that they obey."""
    return [
        lane
        for lane in lanes_of(placed.order.target, context.policies)
        if lane not in reports or reports[lane].control_in_force <= placed.offset
    ]


def state_of(context: CommandContext, placed: PlacedOrder, missing: list[str]) -> OrderState:
    """Return how far an order has come; `missing` are the lanes that do not obey it yet."""
    if missing:
        return OrderState.PENDING
    is_over = placed.order.is_over(context.now_ms(), remembered_ms=context.dedup_for_ms)
    return OrderState.ENDED if is_over else OrderState.IN_FORCE


async def _counts(context: CommandContext, chosen: list[PlacedOrder]) -> list[int] | None:
    if not chosen:
        return []
    try:
        return await count_open(context.cluster, context.read_status, [placed.order.target for placed in chosen])
    except RegistryAway:  # which orders there are can be told without it
        return None
