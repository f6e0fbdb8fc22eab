"""What the copy answers about orders, suppressions and lanes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from pipeline.domain.order import PlacedOrder, escaped_id
from pipeline.lookup import keys
from pipeline.lookup.control_rows import order_value
from pipeline.lookup.paging import PAGE, Listing, Page
from pipeline.records.control import decode_order
from pipeline.records.lane_report import decode_lane_report

if TYPE_CHECKING:
    from pipeline.lookup.draft import Rows
    from pipeline.records.lane_report import LaneReport


class ControlQueries:
    """Answers from the rows that `control_rows` writes."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    def orders(self) -> list[PlacedOrder]:
        """Return the latest order under each key, the last one first; those that are over, too."""
        found = [_placed(key, row) for key, row in self._rows.rows(keys.ORDER)]
        return sorted(found, key=lambda placed: -placed.offset)

    def order(self, key: str) -> PlacedOrder | None:
        """Return the latest order under a key, None if there is none; one that is over, too."""
        name = key.encode(errors="surrogatepass")
        row = self._rows.get(keys.ORDER + name)
        return None if row is None else _placed(name, row)

    def suppressions(
        self, *, recipient: str | None = None, lead: str | None = None, limit: int = PAGE, after: str | None = None
    ) -> Page:
        """Return the entries in effect, the last one first; with `recipient` (address hash) or `lead`, those for it.

        Members: those of schemas/suppression.avsc, `key` and `offset`. Raises ValueError if both are given.
        """
        if recipient is not None and lead is not None:
            raise ValueError("one of recipient and lead at most")
        listing = Listing("suppressions", recipient, lead)
        start = listing.start(after)
        if recipient is None and lead is None:
            found, following = listing.page(self._rows.rows(keys.ENTRY, start), limit)
            return [msgspec.msgpack.decode(value) for value in found], following
        whom = recipient if lead is None else f"lead:{escaped_id(lead)}"
        rows = self._rows.rows(keys.ENTRY_OF + keys.name(whom or ""), start)
        places, following = listing.page(((at, at) for at, _ in rows), limit)
        entries = [self._entry(at) for at in places]
        return [each for each in entries if each is not None], following

    def suppression(self, key: str) -> dict[str, Any] | None:
        """Return the entry under a key, with the same members; None if there is none."""
        offset = self._rows.get(keys.ENTRY_OFFSET + key.encode(errors="surrogatepass"))
        return None if offset is None else self._entry(keys.newest(int.from_bytes(offset)))

    def _entry(self, at: bytes) -> dict[str, Any] | None:
        value = self._rows.get(keys.ENTRY + at)
        return None if value is None else msgspec.msgpack.decode(value)

    def lanes(self) -> dict[str, LaneReport]:
        """Return the latest report of each lane by `<channel>/<sender>`."""
        return {key.decode(): decode_lane_report(value) for key, value in self._rows.rows(keys.LANE)}


def _placed(key: bytes, row: bytes) -> PlacedOrder:
    offset, value = order_value(row)
    return PlacedOrder(offset, decode_order(key, value))
