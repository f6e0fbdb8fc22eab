"""Gives an order: writes it, waits until every lane concerned obeys, and counts the touches that it concerns."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pipeline.console.order.count import count_open, matches
from pipeline.console.order.target import lanes_of
from pipeline.console.order.view import ShownOrder
from pipeline.domain.address_hash import key_fingerprint
from pipeline.domain.audit import Acted
from pipeline.domain.order import Action
from pipeline.kafka.audit import Auditor
from pipeline.kafka.cluster import CommandFailed
from pipeline.kafka.control import read_control, write_order
from pipeline.kafka.lanes import wait_for_lanes
from pipeline.records.registry import RegistryAway

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from pipeline.console.command_context import CommandContext
    from pipeline.domain.audit import Who
    from pipeline.domain.order import Order, PlacedOrder, Target
    from pipeline.kafka.control import ControlLog

SHORT_CANCEL_MS: Final = 5 * 60_000
"""A cancel takes what is accepted in this time to come, unless it names a campaign or a touch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Giving:
    """How an order is given."""

    patience_s: float | None
    """How long to wait until it is in force; None: not at all."""
    is_dry: bool
    """Nothing is written."""
    forgotten: Sequence[str] = ()
    """Keys of orders that nobody needs to know any more: they are deleted with it."""
    is_counted: bool
    """The touches concerned are counted meanwhile, which may take longer."""
    who: Who
    acted: Acted
    """What is recorded: a resume is a pause that ends now."""
    count_s: float | None = None
    """How long to wait, once it is in force, for the number of the touches concerned; None: until they are counted."""


async def current_orders(context: CommandContext, complain: Callable[[str], None]) -> ControlLog:
    """Return the present orders. Raises CommandFailed when Kafka is away, or the configured privacy.key is not the one in use."""
    log = await read_control(context.cluster, complain)
    log.check_key(key_fingerprint(context.privacy_key))
    return log


def end_of(acted: Acted, target: Target, said_ms: int | None, now_ms: int, remembered_ms: int) -> int | None:
    """Return the `until` of an order; `said_ms` is what was asked for, `remembered_ms` is `dedup_for`. Raises ValueError."""
    match acted:
        case Acted.RESUME:
            return now_ms if said_ms is None else said_ms
        case Acted.PAUSE:
            if said_ms is not None and said_ms <= now_ms:
                raise ValueError("a pause ends later than now; to end it: faust -A pipeline resume")
            return said_ms
        case _:
            if target.is_all:
                raise ValueError("all goes with pause and resume; cancel a channel, or a campaign")
            is_long = target.campaign is not None or target.touch is not None
            return now_ms + (remembered_ms if is_long else SHORT_CANCEL_MS) if said_ms is None else said_ms


def is_paused(log: ControlLog, target: Target, now_ms: int) -> bool:
    """Return whether there is a pause of this very target that is not over."""
    return any(placed.order.target == target for placed in pauses(log, now_ms))


def pauses(log: ControlLog, now_ms: int) -> list[PlacedOrder]:
    """Return the pauses that are not over, oldest first."""
    return [
        placed
        for placed in log.orders.values()
        if placed.order.action is Action.PAUSE and not placed.order.is_over(now_ms)
    ]


def forgotten(log: ControlLog, order: Order, remembered_ms: int) -> list[str]:
    """Return the keys of the orders that may be deleted when `order` is given."""
    return [
        key
        for key, placed in log.orders.items()
        if key != order.key and placed.order.is_forgotten(order.at_ms, remembered_ms=remembered_ms)
    ]


def holding(log: ControlLog, target: Target, now_ms: int) -> list[PlacedOrder]:
    """Return the pauses of other targets that hold touches of `target`, too."""
    return [
        placed
        for placed in pauses(log, now_ms)
        if placed.order.target != target and placed.order.target.overlaps(target)
    ]


async def present_pauses(context: CommandContext) -> list[Order]:
    """Return the pauses that are not over, oldest first; none if they cannot be read."""
    try:
        log = await read_control(context.cluster, lambda _: None)
    except CommandFailed:
        return []
    return [placed.order for placed in pauses(log, context.now_ms())]


async def orders_that_hold(context: CommandContext, told: Mapping[str, Any]) -> list[Order]:
    """Return the pauses that hold the touch of a status record, oldest first."""
    return [order for order in await present_pauses(context) if matches(order.target, told)]


async def give(
    context: CommandContext,
    order: Order,
    how: Giving,
    *,
    progress: Callable[[int], None],
    complain: Callable[[str], None],
) -> ShownOrder:
    """Write `order` and its audit record, and wait for it; `progress` gets how many lanes obey.

    Raises CommandFailed when Kafka is away.
    """
    lanes = lanes_of(order.target, context.policies)
    counting = asyncio.ensure_future(_count(context, order.target) if how.is_counted else _uncounted())
    try:
        offset = None if how.is_dry else await _write(context, order, how)
        missing = lanes
        if offset is not None and how.patience_s is not None:
            missing = await wait_for_lanes(
                context.cluster,
                lanes,
                lambda report: report.control_in_force > offset,
                within_s=how.patience_s,
                progress=progress,
                complain=complain,
            )
        counted, _ = await asyncio.wait([counting], timeout=how.count_s)
        touches = counting.result() if counted else None
    finally:
        counting.cancel()
        await asyncio.wait([counting])
    return ShownOrder(order=order, offset=offset, missing=missing, touches=touches)


async def _write(context: CommandContext, order: Order, how: Giving) -> int:
    audit = Auditor(context.stopping_writer(), how.who, order.at_ms).record(how.acted, order.key, order.note)
    return await write_order(context.cluster, order, audit, how.forgotten)


async def _uncounted() -> None:
    """Count nothing."""


async def _count(context: CommandContext, target: Target) -> int | None:
    try:
        counted = await count_open(context.cluster, context.read_status, [target])
    except (CommandFailed, RegistryAway):  # the order stands, whatever becomes of its figures
        return None
    return None if counted is None else counted[0]
