"""A deferred touch that a cancel or an entry concerns goes back to its lane at once, and no other does."""

from __future__ import annotations

from pipeline.domain.work import Channel, Scheduled
from pipeline.records import encode_scheduled, encode_work
from pipeline.stage_io import MemoryTable, Record
from pipeline.stages import handover
from pipeline.stages.schedule import AT_ONCE_MS, Scheduler
from tests.harness.lane_rig import work
from tests.harness.ordered import Ordered

NOW = 1_700_000_000_000
DAY = 86_400_000


class Kept:
    """A scheduler on a table in memory that is owned anew when asked."""

    def __init__(self) -> None:
        self.orders = Ordered()
        self.now_ms = NOW
        self.back: list[str] = []
        self._table = MemoryTable()
        self._offset = 0
        self.own_anew()

    def own_anew(self) -> None:
        self._scheduler = Scheduler(control=self.orders)

    def defer(self, *works, value: bytes | None = None) -> None:
        records = []
        for each in works:
            scheduled = Scheduled(NOW + DAY, Channel.SMS, 3, each.touch_id, value or encode_work(each))
            records.append(Record("touches.scheduled", 0, self._offset, NOW, b"", encode_scheduled(scheduled)))
            self._offset += 1
        self.step(*records)

    def step(self, *records):
        done = self._scheduler.step(records, self._table, self.now_ms)
        self._table.apply(done.changes)
        self.back += [output.key.decode() for output in done.outputs]
        return done

    def settle_down(self) -> int:
        """Step until nothing is due soon any more; return how many steps that took."""
        for number in range(1, 10_000):
            wake_ms = self.step().wake_ms
            if wake_ms is None or wake_ms > NOW + DAY / 2:
                return number
            self.now_ms = max(self.now_ms, wake_ms)
        raise AssertionError("it never rests")


def test_a_cancel_and_an_entry_fetch_what_they_concern_and_nothing_else():
    kept = Kept()
    kept.defer(
        work("a"), work("b", campaign="other"), work("c", campaign="other", recipient="hash"), work("d", campaign="x")
    )
    kept.orders.cancel("campaign=c")
    kept.orders.suppress("hash")
    kept.orders.pause("campaign=x")
    kept.settle_down()
    assert sorted(kept.back) == ["a", "c"]
    assert kept.now_ms - NOW <= 1_000
    kept.now_ms = NOW + DAY
    kept.step()
    assert sorted(kept.back) == ["a", "b", "c", "d"]


def test_what_is_deferred_by_a_lane_that_did_not_know_yet_comes_back_soon():
    kept = Kept()
    kept.orders.cancel("campaign=c")
    kept.settle_down()
    kept.defer(work("a"), work("b", campaign="other"))
    assert kept.back == []
    kept.now_ms += AT_ONCE_MS
    kept.step()
    assert kept.back == ["a"]


def test_a_million_rows_are_looked_at_in_slices(monkeypatch):
    monkeypatch.setattr(handover, "SLICE", 10)
    kept = Kept()
    kept.defer(*(work(f"{n}", campaign="c" if n % 2 else "d") for n in range(100)))
    kept.orders.cancel("campaign=c")
    assert kept.settle_down() >= 10
    assert len(kept.back) == 50


def test_between_two_slices_a_step_for_others_looks_at_no_rows(monkeypatch):
    monkeypatch.setattr(handover, "SLICE", 10)
    kept = Kept()
    kept.defer(*(work(f"{n}", campaign="c") for n in range(30)))
    kept.orders.cancel("campaign=c")
    kept.step()
    kept.now_ms += 600
    first = kept.step()
    assert (len(kept.back), first.wake_ms) == (10, kept.now_ms + handover.REST_MS)
    kept.now_ms += 1
    assert kept.step().wake_ms == first.wake_ms
    kept.now_ms += handover.REST_MS
    kept.step()
    assert len(kept.back) == 20


def test_a_pass_that_a_crash_cut_off_begins_again_and_one_that_is_done_does_not(monkeypatch):
    monkeypatch.setattr(handover, "SLICE", 10)
    looked = []
    kept = Kept()
    kept.defer(*(work(f"{n}", campaign="d") for n in range(99)), work("last"))
    kept.orders.cancel("campaign=c")
    kept.step()
    kept.now_ms += 600
    kept.step()
    kept.own_anew()
    kept.settle_down()
    assert kept.back == ["last"]
    kept.own_anew()
    monkeypatch.setattr(handover.Handover, "_is_concerned", lambda _, value: looked.append(value))
    kept.settle_down()
    assert looked == []


def test_a_stream_of_orders_does_not_keep_a_pass_from_beginning():
    kept = Kept()
    kept.defer(work("a"))
    kept.orders.cancel("campaign=c")
    for n in range(20):
        kept.orders.cancel(f"touch=z{n}")
        kept.step()
        kept.now_ms += 100
    assert kept.back == ["a"]


def test_pauses_alone_cost_no_pass():
    kept = Kept()
    kept.defer(work("a"))
    kept.orders.pause("campaign=c")
    assert kept.step().wake_ms == NOW + DAY


def test_a_row_that_nobody_can_read_waits_until_it_is_due():
    kept = Kept()
    kept.defer(work("a"), value=b"no work")
    kept.orders.cancel("touch=a")
    kept.settle_down()
    assert kept.back == []
