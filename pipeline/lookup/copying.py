"""Copying without Kafka: from records to rows, and what happens to rows later. The projector brings the records."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final, NamedTuple

from pipeline.engine.topic_ids import NO_ID
from pipeline.lookup import keys
from pipeline.lookup.draft import Draft
from pipeline.lookup.leaving import leaving
from pipeline.lookup.position import about, about_value, position_key, position_value, positions
from pipeline.lookup.topics_found import why_anew
from pipeline.records.published import UndecodableValue

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pipeline.lookup.freshness import Freshness, Place
    from pipeline.lookup.keepers import KeptTopic
    from pipeline.lookup.store import CopyStore
    from pipeline.lookup.topics_found import TopicsFound
    from pipeline.lookup.unreadable import UnreadableRecords
    from pipeline.stage_io import Record

log = logging.getLogger(__name__)

TRIMMED_AT_ONCE: Final = 2_000


class Portion(NamedTuple):
    """Records of any topics, within each partition in its order."""

    records: Sequence[Record]
    offsets: Mapping[Place, int]
    """The next offset of each partition, behind these records."""


class Copying:
    """Writes one copy."""

    def __init__(
        self,
        store: CopyStore,
        topics: Mapping[str, KeptTopic],
        freshness: Freshness,
        unreadable: UnreadableRecords,
        *,
        keep_ms: int,
        now_ms: Callable[[], int],
    ) -> None:
        self._store = store
        self.topics = topics
        self.freshness = freshness
        self.unreadable = unreadable
        self.now_ms = now_ms
        self._keep_ms = keep_ms
        self._offsets: dict[Place, int] = {}
        self._identities: Mapping[str, bytes] = {}

    # --- beginning ---------------------------------------------------------------------------------------------------

    def missing(self, found: TopicsFound) -> set[str]:
        """Return the topics of the copy that cannot be seen now."""
        return {topic for topic, _ in positions(self._store)} - set(found.partitions)

    def begin(self, found: TopicsFound, bounds: Mapping[Place, tuple[int, int]]) -> dict[Place, int]:
        """Return where to read on in each partition; what this is no copy of is forgotten first, with a line.

        `bounds` has the first and the next offset of each partition there is.
        """
        known, said = positions(self._store), about(self._store)
        if known and said is None:
            log.warning("the look-up copy is read anew: another version of the pipeline wrote it")
            self._wipe()
        compacted = [topic for topic, kept in self.topics.items() if kept.of_keys]
        reasons = why_anew(positions(self._store), found, bounds, compacted)
        for topic, why in reasons.items():
            log.warning("%s is read anew into the look-up copy: %s", topic, why.replace("changelog", "topic"))
        if set(reasons) - set(compacted):
            self._wipe()  # a touch has rows of several topics
        else:
            for topic in reasons:
                self._forget(topic)
        known, said = positions(self._store), about(self._store)
        self._identities = found.identities
        self._offsets = {}
        begins = {place: known[place].offset if place in known else start for place, (start, _) in bounds.items()}
        self.freshness.begin(0 if said is None or reasons else said.as_of_ms, begins)
        return begins

    def _wipe(self) -> None:
        self._store.wipe()
        self.unreadable.count.clear()

    def _forget(self, topic: str) -> None:
        prefixes = [*self.topics[topic].of_keys, keys.POSITION + keys.name(topic)]
        found = [prefix + key for prefix in prefixes for key, _ in self._store.rows(prefix)]
        self._store.apply(dict.fromkeys(found))

    # --- going on ----------------------------------------------------------------------------------------------------

    def draft(self, portion: Portion) -> Draft:
        """Return what a portion changes. Raises RegistryAway; nothing has happened then. Writes nothing."""
        draft = Draft(self._store)
        for record in portion.records:
            try:
                self.topics[record.topic].take(draft, record)
            except UndecodableValue as error:
                draft.unreadable.append((record.topic, record.partition, record.offset, str(error)))
        draft.changes()
        return draft

    def write(self, portion: Portion, draft: Draft | None) -> None:
        """Write what a portion changes, and that it is in the copy."""
        if draft is not None:
            moved = {place: at for place, at in portion.offsets.items() if self._offsets.get(place) != at}
            self._store.apply(draft.changes() | self._positions(moved))
            self._offsets.update(moved)
            for each in draft.unreadable:
                self.unreadable.add(*each)
        self.freshness.move(portion.offsets)

    def _positions(self, offsets: Mapping[Place, int]) -> dict[bytes, bytes | None]:
        now_s = self.now_ms() // 1000
        written: dict[bytes, bytes | None] = {
            position_key(*place): position_value(at, now_s, self._identities.get(place[0], NO_ID))
            for place, at in offsets.items()
        }
        return {**written, keys.ABOUT: about_value(self.freshness.as_of_ms)}

    def note(self) -> None:
        """Write the positions down although no record came: markers were passed, and time."""
        if self.freshness.positions:
            self._store.apply(self._positions(self.freshness.positions))

    def let_go(self) -> None:
        """Let some touches go that are older than `keep`. Only when nothing is missing: a later record may be among it."""
        draft = leaving(self._store, self.now_ms() - self._keep_ms)
        if draft is not None:
            self._store.apply(draft.changes())

    def tidy(self, starts: Mapping[Place, int]) -> None:
        """Note the positions, and let go what topics have no more; `starts` has the first offset of each partition."""
        self.note()
        for (topic, partition), start in starts.items():
            trim = self.topics[topic].trim
            if trim is not None and start:
                self._trim(trim, partition, start)

    def _trim(self, trim: Callable[[Draft, int, int, int], bool], partition: int, start: int) -> None:
        draft = Draft(self._store)
        trim(draft, partition, start, TRIMMED_AT_ONCE)
        self._store.apply(draft.changes())
