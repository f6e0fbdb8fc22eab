"""Orders and suppressions as one worker knows them: the view that its stages see, kept up to date by the engine's reader."""

from __future__ import annotations

import logging
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol

import orjson

from pipeline.domain.address_hash import address_hash
from pipeline.domain.order import escaped_id
from pipeline.engine.agent import FetchFirst
from pipeline.flow import CONTROL, SUPPRESSIONS
from pipeline.log_lines import SpacedLines
from pipeline.records.control import PRIVACY_KEY, decode_order, decode_suppression, suppression_datum, suppression_of
from pipeline.records.published import UndecodableValue
from pipeline.records.registry import RegistryAway, SchemaNotHere
from pipeline.stages.control import OrderBook

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from pipeline.domain.order import Order, PlacedOrder
    from pipeline.domain.suppression import Suppression
    from pipeline.domain.work import Channel, Work
    from pipeline.engine.store import StorePosition
    from pipeline.records.control import ReadValue
    from pipeline.stage_io import Record

log = logging.getLogger(__name__)

ENTRIES: Final = b"e"
"""Prefix of a row of entries: all that there are for one address hash or one lead, by their keys."""
COUNTS: Final = b"n"
"""Key of the row that counts the entries by scope and reason, and has the version."""
MOST_KNOWN: Final = 10_000
"""Recipients remembered as being without an entry: each touch is looked at three times, mostly within seconds."""


class EntryStore(Protocol):
    """Where entries are kept: RocksDB in a worker, a dictionary in the simulation."""

    identity: bytes

    def get(self, key: bytes) -> bytes | None:
        """Return the value under `key`, or None."""

    def write(self, changes: Iterable[tuple[bytes, bytes | None]], position: int) -> None:
        """Apply `changes` and the position behind them as one."""

    def position(self) -> StorePosition | None:
        """Return how far the topic has been read into it, or None."""

    def wipe(self) -> None:
        """Delete everything."""


class SkippedRecords:
    """Counts the records that cannot be read, and logs one line a minute about each topic."""

    def __init__(self, count: Callable[[str], None], now_ms: Callable[[], int]) -> None:
        self._count = count
        self._lines = SpacedLines(log, now_ms)

    def add(self, topic: str, offset: int, error: str) -> None:
        """Count one record."""
        self._count(topic)
        line = "%s: the record at offset %d is skipped: %s (pipeline_control_skipped_total counts them)"
        self._lines.warn(topic, line, topic, offset, error)


class Orders:
    """Keeps `touches.control` in memory: it is read anew at each start."""

    def __init__(self, skipped: SkippedRecords, now_ms: Callable[[], int], remembered_ms: int) -> None:
        self.book = OrderBook()
        self.offset = 0
        """The offset behind the last order; 0: there has never been one."""
        self.read = 0
        self._skipped = skipped
        self._now_ms = now_ms
        self._remembered_ms = remembered_ms
        self._forget_at = 1_000
        """Number of orders at which those that are over are forgotten."""

    def begin(self, identity: bytes) -> None:
        """Begin at the beginning."""
        del identity

    def forget(self) -> None:
        """Nothing is known before the beginning."""

    def apply(self, records: Sequence[Record], next_offset: int) -> bool:
        """Take orders in; return whether there are any."""
        before = self.offset
        for record in records:
            self._take(record)
        self.read = next_offset
        if len(self.book) >= self._forget_at:
            self.book.forget_over(self._now_ms(), self._remembered_ms)
            self._forget_at = max(1_000, 2 * len(self.book))
        return self.offset != before

    def skip(self, offset: int, error: str) -> None:
        """Count a record that cannot be read."""
        self._skipped.add(CONTROL, offset, error)

    def _take(self, record: Record) -> None:
        if record.key == PRIVACY_KEY:
            return
        if not record.value:
            self.book.remove((record.key or b"").decode(errors="replace"))
        else:
            try:
                order = decode_order(record.key, record.value)
            except UndecodableValue as error:
                self.skip(record.offset, str(error))
                return
            self.book.put(record.offset, order)
        self.offset = record.offset + 1


class Entries:
    """Keeps `touches.suppressions` in a store: one row for each address hash and each lead."""

    def __init__(
        self,
        open_store: Callable[[], EntryStore],
        read: ReadValue,
        skipped: SkippedRecords,
        fetch: Callable[[int], None] = lambda _: None,
    ) -> None:
        """`open_store` is called when the reading begins: not before this process has its data folder for itself.

        `read` raises SchemaNotHere; `fetch` gets that schema, blocks meanwhile, and raises RegistryAway.
        """
        self._open_store = open_store
        self._read_value = read
        self._fetch_schema = fetch
        self._skipped = skipped
        self._without: set[tuple[str, str]] = set()
        """(address hash, lead) of recipients for whom there is no entry now."""
        self.counts: Counter[tuple[str, str]] = Counter()
        """Entries by (scope, reason)."""
        self.offset = 0
        """The offset behind the last entry; 0: there has never been one."""
        self.read = 0

    def begin(self, identity: bytes) -> StorePosition | None:
        """Go on where the store ends."""
        self._store = self._open_store()
        self._store.identity = identity
        known = self._store.position()
        if known is not None:
            self.read = known.offset
            self._recall()
        return known

    def forget(self) -> None:
        """Empty the store."""
        self._store.wipe()
        self._without.clear()
        self.counts.clear()
        self.offset = self.read = 0

    def apply(self, records: Sequence[Record], next_offset: int) -> bool:
        """Take entries in; return whether any is new, or lifted. Raises FetchFirst when a writer's schema is not here yet."""
        before, counts_before, rows = self.offset, self.counts.copy(), dict[bytes, dict[str, Any]]()
        try:
            for record in records:
                self._take(record, rows)
        except SchemaNotHere as missing:
            self.offset, self.counts = before, counts_before
            raise FetchFirst(str(missing), partial(self._fetch, missing.schema_id)) from None
        changes: list[tuple[bytes, bytes | None]] = [
            (key, orjson.dumps(entries) if entries else None) for key, entries in rows.items()
        ]
        if self.offset != before:
            counts = [[scope, reason, count] for (scope, reason), count in self.counts.items() if count]
            changes.append((COUNTS, orjson.dumps({"offset": self.offset, "counts": counts})))
        self._store.write(changes, next_offset)
        if changes:
            self._without.clear()
        self.read = next_offset
        return self.offset != before

    def skip(self, offset: int, error: str) -> None:
        """Count a record that cannot be read."""
        self._skipped.add(SUPPRESSIONS, offset, error)

    def of(self, address: str, lead_id: str) -> list[Suppression]:
        """Return the entries for an address, by its hash, and for a lead."""
        if not self.counts or (address, lead_id) in self._without:
            return []
        found = []
        for key in (_row_of_address(address), _row_of_lead(lead_id)):
            if (value := self._store.get(key)) is not None:
                found += [suppression_of(each, at_ms=0) for each in orjson.loads(value).values()]
        if not found:
            if len(self._without) >= MOST_KNOWN:
                self._without.clear()
            self._without.add((address, lead_id))
        return found

    def _fetch(self, schema_id: int) -> str | None:
        try:
            self._fetch_schema(schema_id)
        except RegistryAway as away:
            return str(away)
        return None

    def _recall(self) -> None:
        value = self._store.get(COUNTS)
        if value is not None:
            known = orjson.loads(value)
            self.offset = known["offset"]
            self.counts.update({(scope, reason): count for scope, reason, count in known["counts"]})

    def _take(self, record: Record, rows: dict[bytes, dict[str, Any]]) -> None:
        key = (record.key or b"").decode(errors="replace")
        row = _row_of(key)
        if row is None:
            self.skip(record.offset, "its key is no entry's")
            return
        entry = None
        if record.value:
            try:
                entry = decode_suppression(self._read_value, record.key, record.value, record.timestamp_ms)
            except UndecodableValue as error:
                self.skip(record.offset, str(error))
                return
        known = rows.get(row)
        if known is None:
            value = self._store.get(row)
            known = rows[row] = {} if value is None else orjson.loads(value)
        if (before := known.pop(key, None)) is not None:
            self._count(before["scope"], before["reason"], -1)
        if entry is not None:
            known[key] = suppression_datum(entry)
            self._count(entry.scope.value, entry.reason.value, 1)
        self.offset = record.offset + 1

    def _count(self, scope: str, reason: str, more: int) -> None:
        self.counts[scope, reason] += more
        if not self.counts[scope, reason]:
            del self.counts[scope, reason]


class Forces:
    """Which orders the lanes of this process do not obey yet."""

    def __init__(self, orders: Orders, now_ms: Callable[[], int]) -> None:
        self._orders = orders
        self._now_ms = now_ms
        self._in_force: dict[tuple[str, str], int] = {}
        """By (channel, sender): the offset before which orders are in force."""

    def note(self, lane: tuple[str, str], in_force: int) -> None:
        """Note how far a lane of this process obeys."""
        self._in_force[lane] = in_force

    def forget(self, lane: tuple[str, str]) -> None:
        """Leave a lane out that another process has now."""
        self._in_force.pop(lane, None)

    def pending(self) -> list[Order]:
        """Return the orders that concern a lane of this process in which they are not in force yet."""
        found = {
            order.key: order
            for (channel, sender), in_force in self._in_force.items()
            if in_force < self._orders.offset
            for _, order in self._orders.book.since(in_force)
            if order.target.has_lane(channel, sender)
        }
        return list(found.values())

    def oldest_s(self) -> float:
        """Return the age of the oldest of them, in seconds; 0 without one."""
        return max(((self._now_ms() - order.at_ms) / 1000 for order in self.pending()), default=0.0)


class Control:
    """What this worker knows of both topics: the `ControlView` of its stages."""

    def __init__(self, orders: Orders, entries: Entries, privacy_key: bytes, now_ms: Callable[[], int]) -> None:
        self.orders = orders
        self.entries = entries
        self.forces = Forces(orders, now_ms)
        self._privacy_key = privacy_key

    @property
    def keepers(self) -> Mapping[str, Orders | Entries]:
        """What reads which topic."""
        return {CONTROL: self.orders, SUPPRESSIONS: self.entries}

    @property
    def control_offset(self) -> int:
        """The offset behind the last order; 0: there has never been one."""
        return self.orders.offset

    @property
    def control_read(self) -> int:
        """The offset of `touches.control` up to which it was read."""
        return self.orders.read

    @property
    def suppressions_offset(self) -> int:
        """The offset behind the last entry; 0: there has never been one."""
        return self.entries.offset

    @property
    def suppressions_read(self) -> int:
        """The offset of `touches.suppressions` up to which it was read."""
        return self.entries.read

    def orders_on(self, work: Work) -> Sequence[PlacedOrder]:
        """Return the orders whose target matches `work`, the oldest first."""
        return self.orders.book.on(work)

    def orders_of_lane(self, channel: Channel, sender: str) -> Sequence[PlacedOrder]:
        """Return the pauses that hold a lane whole, the oldest first."""
        return self.orders.book.of_lane(channel, sender)

    def orders_from(self, offset: int) -> Iterable[PlacedOrder]:
        """Return the orders at `offset` and behind it."""
        return self.orders.book.since(offset)

    def entries_on(self, work: Work) -> list[Suppression]:
        """Return the entries for the recipient of `work`, or its lead."""
        if not self.entries.counts:
            return []
        recipient = work.recipient or address_hash(work.channel, work.to, self._privacy_key)
        return self.entries.of(recipient, work.lead_id)


def _row_of(key: str) -> bytes | None:
    """Return the row that has the entry under `key` of the topic; None: no entry can have this key."""
    scope, mark, rest = key.partition(":")
    whom, _, reason = rest.rpartition(":")
    return ENTRIES + whom.encode() if scope and mark and whom and reason else None


def _row_of_address(address: str) -> bytes:
    return ENTRIES + address.encode()


def _row_of_lead(lead_id: str) -> bytes:
    return ENTRIES + f"lead:{escaped_id(lead_id)}".encode()
