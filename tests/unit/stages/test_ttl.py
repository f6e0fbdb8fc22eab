"""Remembering for a while: forgotten in time, in bounded steps, without walking among what is forgotten already."""

from __future__ import annotations

from pipeline.stage_io import EXPIRES, MemoryTable, Overlay
from pipeline.stages.ttl import ENTRY, INDEX, PER_STEP, REST_MS, TtlSweep, recall, remember

NOW = 1_700_000_000_000


class WatchedTable(MemoryTable):
    """Counts the rows that scans pass, tombstones included, as RocksDB's do."""

    def __init__(self):
        super().__init__()
        self.deleted, self.passed = set(), 0

    def apply(self, changes):
        super().apply(changes)
        self.deleted |= {key for key, value in changes.items() if value is None}

    def scan(self, start, end):
        self.passed += sum(start <= key < end for key in self.deleted)
        return super().scan(start, end)


def remembered(count, forget_ms=NOW):
    table = WatchedTable()
    view = Overlay(table)
    for number in range(count):
        remember(view, b"k%d" % number, b"v", forget_ms + number)
    table.apply(view.changes)
    return table


def forget(forgetting, table, now_ms):
    view = Overlay(table)
    wake_ms = forgetting.forget(view, now_ms)
    table.apply(view.changes)
    return wake_ms


def test_what_is_due_is_forgotten_and_the_next_is_waited_for():
    table, forgetting = remembered(3), TtlSweep()
    assert forget(forgetting, table, NOW - REST_MS) == NOW
    assert forget(forgetting, table, NOW + 1) == NOW + 1 + REST_MS
    assert [recall(Overlay(table), key) for key in (b"k0", b"k1", b"k2")] == [None, None, b"v"]
    assert forget(forgetting, table, NOW + 2) is None


def test_a_crowd_is_forgotten_in_bounded_steps():
    table, forgetting = remembered(PER_STEP + 1), TtlSweep()
    late_ms = NOW + 10 * PER_STEP
    assert forget(forgetting, table, late_ms) == late_ms
    assert forget(forgetting, table, late_ms) is None


def test_no_step_walks_among_what_was_forgotten_before():
    table, forgetting = remembered(5 * PER_STEP), TtlSweep()
    for _ in range(6):
        forget(forgetting, table, NOW + 10 * PER_STEP)
    assert table.passed <= 6, "each step passes the last row it forgot, no more"


def test_a_successor_forgets_what_a_clock_set_back_has_put_behind():
    table, forgetting = remembered(2), TtlSweep()
    forget(forgetting, table, NOW + 5)
    view = Overlay(table)
    remember(view, b"late", b"v", NOW - 1_000)
    table.apply(view.changes)
    forget(forgetting, table, NOW + 6)
    forget(TtlSweep(), table, NOW + 6)
    assert recall(Overlay(table), b"late") is None


def test_what_is_kept_for_longer_since_is_not_forgotten_at_the_first_time():
    table, forgetting = remembered(1), TtlSweep()
    view = Overlay(table)
    remember(view, b"k0", b"later", NOW + 1_000)
    table.apply(view.changes)
    assert forget(forgetting, table, NOW) == NOW + 1_000
    assert recall(Overlay(table), b"k0") == b"later"
    assert forget(forgetting, table, NOW + 1_000) is None
    assert recall(Overlay(table), b"k0") is None


def test_the_entries_of_an_earlier_version_are_known_and_forgotten_in_time():
    digest = EXPIRES + bytes(14)
    table = MemoryTable({ENTRY + b"k": digest, INDEX + NOW.to_bytes(8, "big") + b"k": b"\x01"})
    forgetting = TtlSweep()
    assert recall(Overlay(table), b"k") == digest, "sixteen bytes are a digest, whatever it begins with"
    assert forget(forgetting, table, NOW - REST_MS) == NOW
    forget(forgetting, table, NOW)
    assert list(table.scan(b"", b"\xff")) == []
    assert forget(forgetting, table, NOW) is None


def test_the_first_expiry_of_a_step_is_known_before_it_is_committed():
    view = Overlay(MemoryTable())
    remember(view, b"b", b"v", NOW + 7_000)
    remember(view, b"a", b"v", NOW + 5_000)
    assert TtlSweep().forget(view, NOW) == NOW + 5_000


def test_entries_that_expire_all_the_time_do_not_cost_a_transaction_each():
    table, forgetting = remembered(3_000), TtlSweep()
    at_ms, steps = NOW, 0
    while at_ms is not None:
        at_ms, steps = forget(forgetting, table, at_ms), steps + 1
    assert list(table.scan(b"", b"\xff")) == []
    assert steps == 1 + 2 + 2 + 2, "one a millisecond: one a second, and as many as PER_STEP makes them"
