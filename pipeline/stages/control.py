"""What a stage sees of orders and suppressions: a view that another part keeps up to date, and what it says of a touch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple, Protocol

from pipeline.domain.order import Action, Order, PlacedOrder
from pipeline.domain.story import Reason, State
from pipeline.domain.suppression import Suppression, strongest
from pipeline.domain.work import Channel, Work


class ControlView(Protocol):
    """Orders and suppressions as far as this worker has read them. It moves between steps, never within one."""

    @property
    def control_offset(self) -> int:
        """The offset behind the last order that is known; 0: there has never been one."""

    @property
    def control_read(self) -> int:
        """The offset of `touches.control` up to which it was read."""

    @property
    def suppressions_offset(self) -> int:
        """The offset behind the last entry that is known; 0: there has never been one."""

    @property
    def suppressions_read(self) -> int:
        """The offset of `touches.suppressions` up to which it was read."""

    def orders_on(self, work: Work) -> Sequence[PlacedOrder]:
        """Return the orders whose target matches `work`, the oldest first; some may be over."""

    def orders_of_lane(self, channel: Channel, sender: str) -> Sequence[PlacedOrder]:
        """Return the pauses that hold a lane whole, the oldest first; some may be over."""

    def orders_from(self, offset: int) -> Iterable[PlacedOrder]:
        """Return the orders at `offset` and behind it."""

    def entries_on(self, work: Work) -> list[Suppression]:
        """Return the entries for the recipient of `work`, or its lead, whatever they concern."""


class OrderBook:
    """The latest order under each key, found by what its target names."""

    def __init__(self) -> None:
        self._orders: dict[str, PlacedOrder] = {}
        self._by_name: dict[tuple[str, str], dict[str, PlacedOrder]] = {}
        """Orders on a touch, a lead or a campaign, by (member, id): the narrowest of its target."""
        self._wide: dict[str, PlacedOrder] = {}
        """Orders on a sender, a channel or all."""

    def __len__(self) -> int:
        return len(self._orders)

    def put(self, offset: int, order: Order) -> None:
        """Let `order` count from now on under its key."""
        self.remove(order.key)
        placed = PlacedOrder(offset, order)
        self._orders[order.key] = placed
        self._shelf(order, make=True)[order.key] = placed

    def remove(self, key: str) -> None:
        """Forget the order under `key`, if there is one."""
        placed = self._orders.pop(key, None)
        if placed is None:
            return
        shelf = self._shelf(placed.order, make=False)
        del shelf[key]
        if not shelf and (name := _narrowest(placed.order)) is not None:
            del self._by_name[name]

    def forget_over(self, now_ms: int, remembered_ms: int) -> None:
        """Forget the cancels that can concern no touch any more."""
        over = [
            key
            for key, (_, order) in self._orders.items()
            if order.action is Action.CANCEL and order.is_over(now_ms, remembered_ms=remembered_ms)
        ]
        for key in over:
            self.remove(key)

    def on(self, work: Work) -> Sequence[PlacedOrder]:
        """Return the orders whose target matches `work`, the oldest first."""
        if not self._orders:
            return ()
        found = [
            placed
            for shelf in self._shelves_of(work)
            for placed in shelf.values()
            if placed.order.target.matches(
                campaign_id=work.campaign_id,
                lead_id=work.lead_id,
                touch_id=work.touch_id,
                channel=work.channel,
                sender=work.sender,
            )
        ]
        found.sort(key=_by_offset)
        return found

    def of_lane(self, channel: Channel, sender: str) -> Sequence[PlacedOrder]:
        """Return the pauses that hold the lane of `sender`, the oldest first."""
        found = [
            placed
            for placed in self._wide.values()
            if placed.order.action is Action.PAUSE and placed.order.target.has_lane(channel, sender)
        ]
        found.sort(key=_by_offset)
        return found

    def since(self, offset: int) -> Iterator[PlacedOrder]:
        """Yield the orders at `offset` and behind it."""
        return (placed for placed in self._orders.values() if placed.offset >= offset)

    def _shelves_of(self, work: Work) -> Iterator[dict[str, PlacedOrder]]:
        yield self._wide
        if self._by_name:
            for name in (("touch", work.touch_id), ("lead", work.lead_id), ("campaign", work.campaign_id)):
                if (shelf := self._by_name.get(name)) is not None:
                    yield shelf

    def _shelf(self, order: Order, *, make: bool) -> dict[str, PlacedOrder]:
        name = _narrowest(order)
        if name is None:
            return self._wide
        return self._by_name.setdefault(name, {}) if make else self._by_name[name]


class EmptyView:
    """The view in which there has never been an order or an entry."""

    control_offset = suppressions_offset = 0

    def __init__(self, read: int = 0) -> None:
        """Both topics were read up to `read`."""
        self.control_read = self.suppressions_read = read

    def orders_on(self, work: Work) -> Sequence[PlacedOrder]:
        """Return nothing."""
        del work
        return ()

    def orders_of_lane(self, channel: Channel, sender: str) -> Sequence[PlacedOrder]:
        """Return nothing."""
        del channel, sender
        return ()

    def orders_from(self, offset: int) -> Iterable[PlacedOrder]:
        """Return nothing."""
        del offset
        return ()

    def entries_on(self, work: Work) -> list[Suppression]:
        """Return nothing."""
        del work
        return []


NOTHING_ORDERED: Final = EmptyView()


class Stop(NamedTuple):
    """The touch must not go, ever: a cancel takes it, or an entry forbids it."""

    state: State
    reason: Reason
    note: str | None
    order: str | None
    """Key of the cancel."""


class Pause(NamedTuple):
    """The touch must not go for now: orders on its campaign, its lead or itself hold it."""

    order: str
    """Key of the oldest of them."""
    until_ms: int | None
    """When the last of them ends by itself; None: nobody knows."""


def stop_of(view: ControlView, work: Work) -> Stop | None:
    """Return what ends `work`: the oldest cancel that takes it, or else the strongest entry; None: nothing does."""
    return cancel_of(view, work) or suppression_of(view, work)


def cancel_of(view: ControlView, work: Work) -> Stop | None:
    """Return the oldest cancel that takes `work`."""
    for _, order in view.orders_on(work):
        if order.takes(work.accepted_ms):
            return Stop(State.CANCELLED, order.target.reason, order.note, order.key)
    return None


def suppression_of(view: ControlView, work: Work) -> Stop | None:
    """Return the strongest entry that forbids `work`."""
    if view.suppressions_offset == 0:
        return None
    entry = strongest(view.entries_on(work), work.channel, work.purpose)
    return None if entry is None else Stop(State.SUPPRESSED, Reason(entry.reason.value), entry.note, None)


def pause_of(view: ControlView, work: Work, now_ms: int) -> Pause | None:
    """Return what parks `work` at `now_ms`; pauses that hold its lane whole do not."""
    holding = [
        order
        for _, order in view.orders_on(work)
        if order.action is Action.PAUSE and not order.target.holds_lane and not order.is_over(now_ms)
    ]
    if not holding:
        return None
    ends = [order.until_ms for order in holding if order.until_ms is not None]
    return Pause(holding[0].key, max(ends) if len(ends) == len(holding) else None)


def lane_hold_of(view: ControlView, channel: Channel, sender: str, now_ms: int) -> list[Order]:
    """Return the pauses that hold a lane whole at `now_ms`, the oldest first."""
    return [order for _, order in view.orders_of_lane(channel, sender) if not order.is_over(now_ms)]


def _narrowest(order: Order) -> tuple[str, str] | None:
    named = order.target.named
    return next(((member, named[member]) for member in ("touch", "lead", "campaign") if member in named), None)


def _by_offset(placed: PlacedOrder) -> int:
    return placed.offset
