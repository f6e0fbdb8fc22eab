"""Changes of the copy that become one write: what was changed is read as it will be."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Protocol

from pipeline.lookup import keys
from pipeline.lookup.touch_index import counts_of, index_of
from pipeline.lookup.touch_row import decode_touch, encode_touch, latest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pipeline.lookup.touch_row import Latest, TouchRow


class Rows(Protocol):
    """Where rows are read."""

    def get(self, key: bytes) -> bytes | None:
        """Return the value under `key`, or None."""

    def rows(self, prefix: bytes, start: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        """Yield (key behind `prefix`, value) of the rows with this prefix, from `start` on."""


class Draft:
    """What a portion of records changes."""

    def __init__(self, store: Rows) -> None:
        self.store = store
        self.unreadable: list[tuple[str, int, int, str]] = []
        """Topic, partition, offset of each record that cannot be taken in, and why."""
        self._changes: dict[bytes, bytes | None] = {}
        self._counts: Counter[bytes] = Counter()
        self._before: dict[str, TouchRow | None] = {}
        """The touches that are changed, as the store has them."""
        self._touches: dict[str, TouchRow | None] = {}
        self._campaigns: dict[str, int] = {}
        """When the latest status of each campaign concerned occurred, among those of this draft; 0: it has none."""
        self._is_settled = False
        self._left: set[str] = set()
        """The campaigns whose touches left the copy."""

    def get(self, key: bytes) -> bytes | None:
        """Return the value under `key` as it will be."""
        return self._changes[key] if key in self._changes else self.store.get(key)

    def put(self, key: bytes, value: bytes) -> None:
        """Let `value` be under `key`."""
        self._changes[key] = value

    def delete(self, key: bytes) -> None:
        """Let nothing be under `key`."""
        self._changes[key] = None

    def count(self, key: bytes, more: int) -> None:
        """Let a counter be `more` higher; one that is zero is deleted."""
        self._counts[key] += more

    def touch(self, touch_id: str) -> TouchRow | None:
        """Return a touch as it will be."""
        if touch_id not in self._touches:
            value = self.store.get(touch_key(touch_id))
            self._before[touch_id] = self._touches[touch_id] = None if value is None else decode_touch(value)
        return self._touches[touch_id]

    def put_touch(self, touch_id: str, row: TouchRow) -> None:
        """Let a touch be as `row` says; it was read before."""
        self._touches[touch_id] = row

    def remove_touch(self, touch_id: str) -> None:
        """Let a touch leave the copy; it was read before."""
        before = self._before[touch_id]
        if before is not None and (said := latest(before)) is not None:
            self._left.add(said.campaign_id)
        self._touches[touch_id] = None

    def note_campaign(self, campaign_id: str, at_ms: int) -> None:
        """Note that a status of a campaign occurred then."""
        self._campaigns[campaign_id] = max(at_ms, self._campaigns.get(campaign_id, 0))

    def changes(self) -> dict[bytes, bytes | None]:
        """Return all changes, those of lists and counters included (None deletes); nothing more is changed then."""
        if not self._is_settled:
            self._settle()
            self._is_settled = True
        return self._changes

    def _settle(self) -> None:
        for touch_id, row in self._touches.items():
            self._settle_touch(touch_id, self._before[touch_id], row)
        for key, more in self._counts.items():
            if more:
                count = more + count_of(self.store.get(key))
                self._changes[key] = count.to_bytes(8) if count else None
        for campaign_id in self._campaigns:
            self._settle_campaign(campaign_id)

    def _settle_touch(self, touch_id: str, before: TouchRow | None, row: TouchRow | None) -> None:
        if row is before:
            return
        old: dict[bytes, bytes] = {}
        new: dict[bytes, bytes] = {}
        if before is not None:
            said = latest(before)
            old = index_of(touch_id, before, said)
            self._counts.subtract(counts_of(before, said))
            self._concern(said)
        if row is not None:
            said = latest(row)
            new = index_of(touch_id, row, said)
            self._counts.update(counts_of(row, said))
            self._concern(said)
        for key in old:
            if key not in new:
                self._changes[key] = None
        for key, value in new.items():
            if old.get(key) != value:
                self._changes[key] = value
        self._changes[touch_key(touch_id)] = None if row is None else encode_touch(row)

    def _concern(self, said: Latest | None) -> None:
        """Note that the list of campaigns may change: a touch came, moved or went."""
        if said is not None:
            self._campaigns.setdefault(said.campaign_id, 0)

    def _settle_campaign(self, campaign_id: str) -> None:
        """Let a campaign be listed by its latest status, as long as a touch is in it.

        When that occurred is remembered until its last touch leaves the copy, whatever portions the records come in.
        """
        name = campaign_id.encode(errors="surrogatepass")
        is_there = count_of(self.get(campaign_touches(campaign_id))) > 0
        value = self.store.get(keys.CAMPAIGN_NEWEST + name)
        known_ms = count_of(value)
        at_ms = max(self._campaigns.get(campaign_id, 0), known_ms)
        if at_ms != known_ms or not is_there:
            self.delete(keys.CAMPAIGN + keys.newest(known_ms) + name)
        if is_there:
            self.put(keys.CAMPAIGN + keys.newest(at_ms) + name, b"")
        if not is_there and campaign_id in self._left:
            self.delete(keys.CAMPAIGN_NEWEST + name)
        elif at_ms != known_ms or value is None:
            self.put(keys.CAMPAIGN_NEWEST + name, at_ms.to_bytes(8))


def touch_key(touch_id: str) -> bytes:
    """Return the key of a touch's row."""
    return keys.TOUCH + touch_id.encode(errors="surrogatepass")


def campaign_touches(campaign_id: str) -> bytes:
    """Return the key of the counter of a campaign's touches."""
    return keys.COUNT + keys.name(campaign_id) + keys.TOUCHES


def count_of(value: bytes | None) -> int:
    """Return what a counter says."""
    return 0 if value is None else int.from_bytes(value)
