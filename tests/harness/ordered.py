"""Orders and suppressions given by hand, as a stage sees them."""

from __future__ import annotations

from collections import defaultdict

from pipeline.domain.instant import FARTHEST_MS
from pipeline.domain.order import Action, Order, Target
from pipeline.domain.suppression import Scope, Suppression, SuppressionReason
from pipeline.stages.control import OrderBook


class Ordered:
    """A view that a test moves; each order and each entry takes two offsets, as a transaction does."""

    def __init__(self) -> None:
        self.book = OrderBook()
        self.entries: dict[str, dict[str, Suppression]] = defaultdict(dict)
        self.control_offset = self.control_read = self.suppressions_offset = self.suppressions_read = 0

    def put(self, action: str, target: str, *, at_ms: int = 0, until_ms: int | None = None, note: str = "why") -> Order:
        order = Order(Action(action), Target.parse(target), note=note, by="me", at_ms=at_ms, until_ms=until_ms)
        self.book.put(self.control_read, order)
        self._move_control()
        return order

    def pause(self, target: str, until_ms: int | None = None) -> Order:
        return self.put("pause", target, until_ms=until_ms)

    def resume(self, target: str) -> Order:
        return self.put("pause", target, at_ms=5, until_ms=5)

    def cancel(self, target: str, until_ms: int = FARTHEST_MS) -> Order:
        return self.put("cancel", target, until_ms=until_ms)

    def forget(self, key: str) -> None:
        self.book.remove(key)
        self._move_control()

    def suppress(self, whom: str, reason: str = "manual", *, scope: str = "*", note: str = "because") -> None:
        """`whom` is a hash, or a lead as "lead:ID"."""
        lead = whom.removeprefix("lead:") if whom.startswith("lead:") else None
        entry = Suppression(
            Scope(scope),
            address_hash=None if lead else whom,
            lead_id=lead,
            reason=SuppressionReason(reason),
            note=note,
            by="me",
            at_ms=0,
        )
        self.entries[whom][entry.key] = entry
        self._move_suppressions()

    def lift(self, whom: str) -> None:
        self.entries.pop(whom)
        self._move_suppressions()

    def _move_control(self) -> None:
        self.control_offset = self.control_read + 1
        self.control_read += 2

    def _move_suppressions(self) -> None:
        self.suppressions_offset = self.suppressions_read + 1
        self.suppressions_read += 2

    def orders_on(self, work):
        return self.book.on(work)

    def orders_of_lane(self, channel, sender):
        return self.book.of_lane(channel, sender)

    def orders_from(self, offset):
        return self.book.since(offset)

    def entries_on(self, work):
        return [*self.entries[work.recipient].values(), *self.entries[f"lead:{work.lead_id}"].values()]
