"""The look-up copy without Kafka: topics as lists, a store in memory that behaves like the one on disk, and the plain answers."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any

from pipeline import flow
from pipeline.lookup.copying import Copying, Portion
from pipeline.lookup.freshness import Freshness
from pipeline.lookup.keepers import CopyReaders, kept_topics
from pipeline.lookup.queries import LookupCopy
from pipeline.lookup.topics_found import TopicsFound
from pipeline.lookup.touch_row import OUTCOMES
from pipeline.lookup.unreadable import UnreadableRecords
from pipeline.records.published import ValueReader
from pipeline.records.writing import json_object, single_object
from pipeline.stage_io import Record

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pipeline.lookup.freshness import Place

T0 = 1_790_000_000_000
DAY_MS = 86_400_000
SCHEMAS = {flow.STATUS: "status", flow.DELIVERIES: "delivery", flow.DEAD_LETTERS: "dead_letter"}
FORMS = {"avro": single_object, "json": json_object}


class MemoryRows(dict[bytes, bytes]):
    """Rows in memory."""

    def rows(self, prefix: bytes, start: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        found = sorted(key for key in self if key.startswith(prefix) and key >= prefix + start)
        return iter([(key[len(prefix) :], self[key]) for key in found])

    def apply(self, changes: Mapping[bytes, bytes | None]) -> None:
        for key, value in changes.items():
            if value is None:
                self.pop(key, None)
            else:
                self[key] = value

    def wipe(self) -> None:
        self.clear()


class Topics:
    """The topics as Kafka has them."""

    def __init__(self) -> None:
        self.records: dict[Place, list[Record]] = defaultdict(list)
        self.identities: dict[str, bytes] = {}
        self.starts: dict[Place, int] = {}

    def add(self, topic: str, datum: dict[str, Any], partition: int = 0, form: str = "avro") -> Record:
        return self.put(topic, str(datum.get("touch_id")).encode(), FORMS[form](SCHEMAS[topic], datum), partition)

    def put(self, topic: str, key: bytes | None, value: bytes | None, partition: int = 0) -> Record:
        rows = self.records[topic, partition]
        rows.append(Record(topic, partition, len(rows), T0, key, value))
        return rows[-1]

    def found(self) -> TopicsFound:
        names = {topic for topic, _ in self.records}
        counts = {name: 1 + max(each for topic, each in self.records if topic == name) for name in names}
        return TopicsFound({name: self.identities.get(name, name.encode().ljust(16)[:16]) for name in names}, counts)

    def bounds(self) -> dict[Place, tuple[int, int]]:
        return {place: (self.starts.get(place, 0), len(rows)) for place, rows in self.records.items()}


class Copy:
    """One copy, and the process that keeps it: `restart` is another process on the same rows."""

    def __init__(self, topics: Topics, rows: Any = None, *, keep_ms: int = 30 * DAY_MS) -> None:
        self.topics = topics
        self.rows = MemoryRows() if rows is None else rows
        self.keep_ms = keep_ms
        self.now_ms = T0
        self.restart()

    def restart(self) -> None:
        names = ("status", "delivery", "dead_letter", "suppression", "audit")
        self.unreadable = UnreadableRecords(lambda: self.now_ms)
        self.freshness = Freshness(lambda: self.now_ms, self.keep_ms)
        self.copying = Copying(
            self.rows,
            kept_topics(CopyReaders(**{name: ValueReader(name) for name in names})),
            self.freshness,
            self.unreadable,
            keep_ms=self.keep_ms,
            now_ms=lambda: self.now_ms,
        )
        self.offsets = self.copying.begin(self.topics.found(), self.topics.bounds())
        self.lookup = LookupCopy(self.rows, self.freshness)

    def portion(self, most: int, *, place: Place | None = None) -> Portion:
        """Return the next records, of one partition or of all."""
        records, offsets = [], dict(self.offsets)
        for each in [place] if place else sorted(offsets):
            rows = self.topics.records[each][offsets[each] :][: most - len(records)]
            records += rows
            offsets[each] += len(rows)
        return Portion(records, offsets)

    def take(self, portion: Portion, *, is_lost: bool = False) -> None:
        """Take a portion in; `is_lost`: the process is killed before it is written."""
        draft = self.copying.draft(portion)
        if not is_lost:
            self.copying.write(portion, draft)
            self.offsets.update(portion.offsets)

    def read_all(self, most: int = 100) -> Copy:
        while (portion := self.portion(most)).records:
            self.take(portion)
        return self


def pages(ask: Any, limit: int) -> list[dict[str, Any]]:
    """Return all rows of a list, page by page."""
    rows, after = ask(limit=limit, after=None)
    while after is not None:
        more, after = ask(limit=limit, after=after)
        assert more, "a page that was announced has rows"
        rows += more
    return rows


class PlainAnswers:
    """What the copy must answer, by looking through all records."""

    def __init__(self, topics: Topics, data: Mapping[tuple[str, int, int], dict[str, Any]]) -> None:
        """`data` has what each record says by (topic, partition, offset)."""
        self.statuses: dict[str, list[dict[str, Any]]] = defaultdict(list)
        self.deliveries: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for (topic, partition), rows in sorted(topics.records.items()):
            for row in rows:
                datum = data[topic, partition, row.offset]
                (self.statuses if topic == flow.STATUS else self.deliveries)[datum["touch_id"]].append(datum)

    def touches(self, state: str | None = None, **wanted: str) -> list[dict[str, Any]]:
        name, value = next(iter(wanted.items()))
        found = [each for each in map(self.listed, self.statuses) if self._is_wanted(each, name, value)]
        found = [each for each in found if state is None or each["state"] == state]
        return sorted(found, key=lambda each: (-each["occurred_at"], each["touch_id"].encode()))

    def _is_wanted(self, listed: dict[str, Any], name: str, value: str) -> bool:
        if name == "message":
            told = [*self.statuses[listed["touch_id"]], *self.deliveries.get(listed["touch_id"], [])]
            return value in {each["provider_message_id"] for each in told}
        member = {"lead": "lead_id", "campaign": "campaign_id", "recipient": "recipient"}[name]
        return bool(listed[member] == value)

    def listed(self, touch_id: str) -> dict[str, Any]:
        told = self.statuses[touch_id]
        last, kinds = told[-1], {each["kind"] for each in self.deliveries.get(touch_id, [])}
        members = ("touch_id", "campaign_id", "lead_id", "channel", "state", "reason", "occurred_at")
        said = {name: [each[name] for each in told if each[name] is not None] for name in ("sender", "recipient")}
        return {
            **{name: last[name] for name in members},
            **{name: values[-1] if values else None for name, values in said.items()},
            "outcome": next((each for each in OUTCOMES if each in kinds), None),
        }

    def campaign(self, campaign_id: str) -> dict[str, Any] | None:
        found = [each for each in map(self.listed, self.statuses) if each["campaign_id"] == campaign_id]
        if not found:
            return None
        states = Counter((each["channel"], each["state"], each["reason"]) for each in found)
        kinds = Counter(
            (each["channel"], kind)
            for each in found
            for kind in {told["kind"] for told in self.deliveries.get(each["touch_id"], [])}
        )
        hours = Counter(
            (each["occurred_at"] // 3_600_000 * 3_600_000, each["channel"], each["state"]) for each in found
        )
        return {"touches": len(found), "states": states, "kinds": kinds, "hours": hours}

    def campaigns(self) -> list[dict[str, Any]]:
        newest: dict[str, int] = defaultdict(int)
        for told in self.statuses.values():
            for each in told:
                newest[each["campaign_id"]] = max(newest[each["campaign_id"]], each["occurred_at"])
        counts = Counter(self.listed(each)["campaign_id"] for each in self.statuses)
        found = [
            {"campaign_id": name, "touches": counts[name], "occurred_at": at}
            for name, at in newest.items()
            if counts[name]
        ]
        return sorted(found, key=lambda each: (-each["occurred_at"], each["campaign_id"].encode()))
