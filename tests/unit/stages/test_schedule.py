"""The scheduler: what is due goes back, in order, once; what is not, waits through a takeover."""

from __future__ import annotations

from pipeline.domain.work import Channel, Scheduled
from pipeline.records import encode_scheduled
from pipeline.stage_io import MemoryTable, Record
from pipeline.stages.schedule import Scheduler

NOW = 1_700_000_000_000


def record(offset, due_ms, touch_id="t"):
    return Record(
        "touches.scheduled",
        0,
        offset,
        NOW,
        b"t",
        encode_scheduled(Scheduled(due_ms, Channel.SMS, 3, touch_id, b"work-" + touch_id.encode())),
    )


def step(scheduler, table, records, now):
    done = scheduler.step(records, table, now)
    table.apply(done.changes)
    return done


def test_work_comes_back_to_its_lane_when_it_is_due():
    table, scheduler = MemoryTable(), Scheduler()
    first = step(scheduler, table, [record(0, NOW + 50, "b"), record(1, NOW + 20, "a")], NOW)
    assert (first.outputs, first.wake_ms) == ([], NOW + 20)
    due = step(scheduler, table, [], NOW + 20)
    assert [(o.topic, o.partition, o.key, o.value) for o in due.outputs] == [("touches.sms", 3, b"a", b"work-a")]
    assert due.wake_ms == NOW + 50
    assert [o.value for o in step(Scheduler(), table, [], NOW + 60).outputs] == [b"work-b"], "a successor goes on"
    assert step(scheduler, table, [], NOW + 99).outputs == []


def test_a_crowd_due_at_once_goes_back_in_bounded_steps():
    table, scheduler = MemoryTable(), Scheduler()
    step(scheduler, table, [record(n, NOW + 10, f"t{n}") for n in range(1_200)], NOW)
    sizes = []
    while len(sizes) < 10:
        done = step(scheduler, table, [], NOW + 10)
        sizes.append(len(done.outputs))
        if done.wake_ms is None:
            break
        assert done.wake_ms == NOW + 10
    assert sizes == [500, 500, 200]


def test_what_is_due_already_goes_back_at_once():
    assert len(step(Scheduler(), MemoryTable(), [record(0, NOW - 5)], NOW).outputs) == 1


DAY = 86_400_000


def test_a_clock_that_was_a_day_ahead_and_is_set_right_leaves_no_retry_for_tomorrow():
    table, scheduler = MemoryTable(), Scheduler()
    step(scheduler, table, [record(0, NOW + DAY + 2_000, "retry"), record(1, NOW + 3 * DAY, "far")], NOW + DAY)
    back = step(scheduler, table, [], NOW + 500)
    assert [o.key for o in back.outputs] == [b"retry"]
    # Its lane puts it off again, by a clock that is right: that is believed.
    again = step(scheduler, table, [record(2, NOW + 4_000, "retry")], NOW + 600)
    assert (again.outputs, again.wake_ms) == ([], NOW + 4_000)
    assert [o.key for o in step(scheduler, table, [], NOW + 4_000).outputs] == [b"retry"]
    assert [o.key for o in step(scheduler, table, [], NOW + 3 * DAY).outputs] == [b"far"]


def test_many_such_go_back_in_bounded_steps_and_what_comes_meanwhile_waits():
    table, scheduler = MemoryTable(), Scheduler()
    step(scheduler, table, [record(n, NOW + DAY + n, f"t{n}") for n in range(1_200)], NOW + DAY - 1)
    seen = []
    for number in range(5):
        done = step(scheduler, table, [record(2_000 + number, NOW + 60_000, "new")], NOW + number)
        seen.append(len(done.outputs))
        assert b"new" not in [o.key for o in done.outputs]
    assert seen == [500, 500, 200, 0, 0]
    assert len(step(scheduler, table, [], NOW + 60_000).outputs) == 5


def test_a_clock_that_is_set_back_by_seconds_hands_nothing_back_early():
    table, scheduler = MemoryTable(), Scheduler()
    step(scheduler, table, [record(0, NOW + 50_000)], NOW + 40_000)
    done = step(scheduler, table, [], NOW)
    assert (done.outputs, done.wake_ms) == ([], NOW + 50_000)


def test_deferred_touches_are_counted_and_found_again_by_a_successor():
    table, scheduler = MemoryTable(), Scheduler()
    assert scheduler.deferred is None, "nothing is said before the table was looked at"
    step(scheduler, table, [record(n, NOW + 10 + n, f"t{n}") for n in range(5)], NOW)
    assert scheduler.deferred == 5
    step(scheduler, table, [record(9, NOW - 5)], NOW)
    assert scheduler.deferred == 5, "what goes back at once was never kept"
    step(scheduler, table, [], NOW + 12)
    assert scheduler.deferred == 2
    successor = Scheduler()
    step(successor, table, [record(10, NOW + 99)], NOW + 12)
    assert successor.deferred == 3


def test_a_large_table_is_counted_in_slices_while_touches_come_and_go():
    table, first = MemoryTable(), Scheduler()
    for start in range(0, 5_000, 500):
        step(first, table, [record(start + n, NOW + 60_000 + start + n) for n in range(500)], NOW)
    successor, steps = Scheduler(), 0
    while successor.deferred is None:
        early, late = record(6_000 + steps, NOW + 50_000), record(7_000 + steps, NOW + 90_000_000)
        done = step(successor, table, [early, late], NOW)
        assert (successor.deferred is None) == (done.wake_ms == NOW), "it goes on at once until all are counted"
        steps += 1
    assert steps == 3
    assert successor.deferred == 5_000 + 2 * steps
