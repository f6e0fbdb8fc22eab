"""The dedup: any events make a legal story, numbered without gap, with one terminal at most, its last."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pipeline.domain.story import TERMINAL, Event, State
from pipeline.flow import STATUS
from pipeline.records import encode_event
from pipeline.stage_io import MemoryTable, Record
from pipeline.stages.dedup import Dedup

NOW = 1_700_000_000_000


def tell(states, table, now=NOW):
    dedup = Dedup(lambda event, sequence: f"{sequence}:{event.state.value}".encode(), 1_000)
    records = [
        Record("touches.results", 1, at, now, b"t", encode_event(Event("t", "c", "l", "sms", state, now)))
        for at, state in enumerate(states)
    ]
    step = dedup.step(records, table, now)
    table.apply(step.changes)
    assert all((o.topic, o.partition, o.key) == (STATUS, 1, b"t") for o in step.outputs)
    return [o.value.decode().split(":") for o in step.outputs]


@given(st.lists(st.lists(st.sampled_from(State))))
def test_any_events_make_a_legal_story(batches):
    table = MemoryTable()
    told = [(int(n), State(s)) for batch in batches for n, s in tell(batch, table)]
    assert [n for n, _ in told] == list(range(1, len(told) + 1))
    assert all(state not in TERMINAL for _, state in told[:-1])
    assert sum(state is State.ACCEPTED for _, state in told[1:]) == 0


def test_a_story_is_told_in_full():
    states = [State.ACCEPTED, State.DEFERRED, State.RETRYING, State.SENT, State.SENT, State.RETRYING]
    assert [s for _, s in tell(states, MemoryTable())] == ["accepted", "deferred", "retrying", "sent"]


def test_an_ended_story_is_remembered_for_a_while_and_then_forgotten():
    table = MemoryTable()
    tell([State.ACCEPTED, State.SENT], table)
    assert tell([State.ACCEPTED], table, NOW + 900) == []
    tell([], table, NOW + 1_001)
    assert tell([State.ACCEPTED], table, NOW + 1_002) == [["1", "accepted"]]


def test_events_of_a_stream_wait_for_each_other_half_a_second_at_most():
    dedup = Dedup(lambda event, sequence: b"", 1_000)
    events = [encode_event(Event(f"t{n}", "c", "l", "sms", State.ACCEPTED, NOW)) for n in range(40)]
    records = [Record("touches.results", 1, at, NOW, b"t", value) for at, value in enumerate(events)]
    rests = [dedup.step(records[:count], MemoryTable(), NOW).rest_ms for count in (0, 1, 10, 40)]
    assert rests == [0, 20, 200, 500]
