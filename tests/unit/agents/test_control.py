"""What a worker knows of orders and suppressions, record by record: what cannot be read is skipped, and stops nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pipeline.agents.control import Control, Entries, Orders, SkippedRecords
from pipeline.domain.order import Action, Order, Target
from pipeline.domain.suppression import Scope, Suppression, SuppressionReason
from pipeline.engine.agent import FetchFirst
from pipeline.flow import CONTROL, SUPPRESSIONS
from pipeline.lab.simulation.orders import MemoryEntries
from pipeline.records.control import encode_order, suppression_datum
from pipeline.records.published import ValueReader
from pipeline.records.writing import Confluent
from pipeline.stage_io import Record
from tests.harness.registry import FakeRegistry

T0 = 1_700_000_000_000
ENTRY = Suppression(Scope.ANY, lead_id="ann", reason=SuppressionReason.MANUAL, by="me", at_ms=T0)


class Known:
    """The view of one worker; its registry has one schema under every id but 404."""

    def __init__(self) -> None:
        self.registry = FakeRegistry("suppression")
        self.skipped: list[str] = []
        skipped = SkippedRecords(self.skipped.append, lambda: T0)
        read = ValueReader("suppression", self.registry, fetches=False)
        self.entries = Entries(MemoryEntries, read, skipped, self.registry.fetch)
        self.entries.begin(b"")
        self.orders = Orders(skipped, lambda: T0, 0)
        self.control = Control(self.orders, self.entries, b"", lambda: T0)

    def suppress(self, offset: int, schema_id: int) -> bool:
        value = Confluent({"suppression": schema_id})("suppression", suppression_datum(ENTRY))
        return self.entries.apply([record(SUPPRESSIONS, offset, ENTRY.key.encode(), value)], offset + 1)


def record(topic: str, offset: int, key: bytes, value: bytes) -> Record:
    return Record(topic, 0, offset, T0, key, value)


def test_a_schema_that_is_not_here_is_fetched_before_the_records_are_taken_in_and_blocks_nobody():
    known = Known()
    with pytest.raises(FetchFirst) as first:
        known.suppress(0, 7)
    assert (known.registry.asked, known.entries.offset, known.entries.counts) == ([], 0, {})
    assert first.value.fetch() is None
    assert known.suppress(0, 7)
    assert known.entries.of("", "ann") == [ENTRY]
    assert known.suppress(1, 7)
    assert known.registry.asked == [7]


def test_a_schema_that_nobody_knows_costs_one_question_and_the_record_is_skipped():
    known = Known()
    with pytest.raises(FetchFirst) as first:
        known.suppress(0, 404)
    assert first.value.fetch() is None
    assert not known.suppress(0, 404)
    assert (known.skipped, known.entries.read, known.registry.asked) == ([SUPPRESSIONS], 1, [404])


def test_garbage_among_orders_is_skipped_and_the_others_count():
    known = Known()
    pause = Order(Action.PAUSE, Target(is_all=True), note="why", by="me", at_ms=T0)
    cancel_all = encode_order(pause).replace(b"\x0apause", b"\x0ccancel")
    assert len(cancel_all) == len(encode_order(pause)) + 1, "the action was replaced"
    records = [
        record(CONTROL, 0, b"nonsense", b"{}"),
        record(CONTROL, 1, b"cancel:all", cancel_all),
        record(CONTROL, 2, b"pause:all", encode_order(pause)),
    ]
    known.orders.apply(records, 3)
    assert (known.skipped, known.control.control_offset, len(known.orders.book)) == ([CONTROL] * 2, 3, 1)


def test_an_entry_that_comes_after_a_look_is_known_at_the_next():
    known = Known()
    known.registry.fetch(7)
    other = replace(ENTRY, lead_id="bob")
    value = Confluent({"suppression": 7})("suppression", suppression_datum(other))
    known.entries.apply([record(SUPPRESSIONS, 0, other.key.encode(), value)], 1)
    for _ in range(2):
        assert known.entries.of("hash", "ann") == []
    known.suppress(1, 7)
    assert known.entries.of("hash", "ann") == [ENTRY]
    known.entries.apply([Record(SUPPRESSIONS, 0, 2, T0, ENTRY.key.encode(), b"")], 3)
    assert known.entries.of("hash", "ann") == []
