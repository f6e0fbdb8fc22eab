"""A table that cannot be read is no record's fault: nothing is put aside for it, the worker ends."""

from __future__ import annotations

import pytest

from pipeline.domain.story import Event, State
from pipeline.engine.store import StoreFailed
from pipeline.flow import RESULTS
from pipeline.records import encode_event
from pipeline.records.writing import single_object, status_value
from pipeline.stage_io import MemoryTable, Record
from pipeline.stages.dedup import Dedup
from tests.harness.lane_rig import Rig, policy, work
from tests.harness.route_rig import SMS, Entrance


class DamagedTable(MemoryTable):
    is_damaged = False

    def get(self, key):
        if self.is_damaged:
            raise StoreFailed("a flipped byte")
        return super().get(key)


def damaged():
    table = DamagedTable()
    table.is_damaged = True
    return table


def test_the_router_puts_nothing_aside_for_it(tmp_path):
    door = Entrance(tmp_path)
    door.table = damaged()
    with pytest.raises(StoreFailed):
        door.give(SMS)


def test_the_dedup_puts_nothing_aside_for_it():
    event = encode_event(Event("t", "c", "l", "sms", State.ACCEPTED, 1))
    stage = Dedup(lambda each, sequence: status_value(single_object, each, sequence), 10**9)
    with pytest.raises(StoreFailed):
        stage.step([Record(RESULTS, 0, 0, 1, b"t", event)], damaged(), 1)


def test_a_lane_puts_nothing_aside_for_it():
    rig = Rig(policy(), table=DamagedTable())
    rig.table.is_damaged = True
    with pytest.raises(StoreFailed):
        rig.step(work("t"))
    assert rig.events == []
