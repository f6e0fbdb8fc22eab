"""The bytes of a lane's table, as workers of earlier versions have written them."""

from __future__ import annotations

from pipeline.stages.lane.breaker import Breaker, Outage
from pipeline.stages.lane.table import LaneState, Memory, MemoryTag
from tests.harness.lane_rig import T0, work

STATE = (
    b'{"arrivals":3,"waiting":2,"calls":1,"first_send_ms":null,"last_success_ms":4,"last_good_call_ms":5,"gap_ms":6,'
    b'"day":7,"messages":8,"lost_in_a_row":1,"pause":{"since_ms":1,"until_ms":2,"tries":3,"code":"429","error":"slow",'
    b'"is_said":true},"served":{"5":9}}'
)


def test_a_state_is_the_bytes_that_earlier_versions_wrote():
    state = LaneState(
        arrivals=3,
        waiting=2,
        calls=1,
        last_success_ms=4,
        last_good_call_ms=5,
        gap_ms=6,
        day=7,
        messages=8,
        breaker=Breaker(Outage(since_ms=1, until_ms=2, tries=3, code="429", error="slow", is_retry_after=True), 1),
        served={"5": 9},
    )
    assert state.pack() == STATE
    assert LaneState.unpack(STATE) == state


def test_a_state_without_later_fields_is_read():
    old = STATE.replace(b',"is_said":true', b"").replace(b'"lost_in_a_row":1,', b"").replace(b'"gap_ms":6,', b"")
    state = LaneState.unpack(old)
    assert state.breaker == Breaker(Outage(since_ms=1, until_ms=2, tries=3, code="429", error="slow"))
    assert state.gap_ms == 0


def test_a_memory_is_the_bytes_that_earlier_versions_wrote():
    origins = b"\0\0\0\1\0\0\0\2"
    assert Memory(MemoryTag.UNDER_WAY, (1, 2)).pack() == b"a" + origins
    assert Memory(MemoryTag.UNDER_WAY, (1, 2), returns=3).pack() == b"b\0\0\0\3" + origins
    assert Memory(MemoryTag.ENDED, event=b"event").pack() == b"zevent"


def test_a_tag_of_a_later_version_is_a_touch_under_way():
    memory = Memory.unpack(b"q\0\0\0\1")
    assert (memory.tag, memory.origins) == (MemoryTag.UNDER_WAY, ())
    assert memory.is_repeat(work("t", created_at_ms=T0))
