"""What is decided when a table is opened: whether its local copy is believed, and from where its input is read."""

from __future__ import annotations

import logging
import time
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from pipeline.engine.ownership import OpenedTable, resume_offset
from pipeline.engine.store import NO_IDENTITY, StorePosition, reason_to_wipe
from pipeline.engine.table import LastApplied
from pipeline.engine.table_opening import KafkaTables, TableLost, _changed_inputs

OURS, OTHER = b"o" * 16, b"x" * 16
DAY_S = 86_400
INPUT = TopicPartition("touches", 3)


@pytest.mark.parametrize(
    ("offset", "age_s", "was", "now", "why"),
    [
        (70, 0, OURS, OURS, None),
        (10, 0, OURS, OURS, None),
        (100, 0, OURS, OURS, None),
        (70, DAY_S - 60, OURS, OURS, None),
        (70, 0, NO_IDENTITY, OURS, None),  # an earlier version wrote it
        (70, 0, OURS, NO_IDENTITY, None),  # Kafka does not say
        (70, 0, OTHER, OURS, "copy of another changelog"),
        (70, DAY_S + 60, OURS, OURS, "too old"),
        (70, 400 * DAY_S, OURS, OURS, "too old"),
        (101, 0, OURS, OURS, "ends at 101, the changelog reaches from 10 to 100"),
        (9, 0, OURS, OURS, "ends at 9, the changelog reaches from 10 to 100"),
        (0, 0, OURS, OURS, "ends at 0, the changelog reaches from 10 to 100"),
    ],
)
def test_a_local_copy_is_believed_only_if_it_is_of_this_changelog_recent_and_within_it(offset, age_s, was, now, why):
    found = reason_to_wipe(StorePosition(offset, int(time.time()) - age_s, was), now, (10, 100), DAY_S)
    assert (found is None) if why is None else why in found


@pytest.mark.parametrize(
    ("known", "begin", "end", "changed", "expected", "says"),
    [
        (0, 0, 0, None, (0, 0), ""),
        (0, 0, 50, None, (0, 0), ""),
        (50, 0, 50, None, (50, 0), ""),
        (50, 50, 50, None, (50, 0), ""),
        (50, 20, 90, None, (50, 0), ""),
        (50, 60, 90, None, (60, 10), "records 50 to 59 were deleted before they were read"),
        (0, 7, 90, None, (7, 7), "records 0 to 6 were deleted before they were read"),
        (50, 0, 49, None, (0, 0), "ends at 49, but 50 was applied"),
        (50, 10, 20, None, (10, 0), "ends at 20, but 50 was applied"),
        (
            50,
            0,
            900,
            "was deleted and created anew",
            (0, 0),
            "was deleted and created anew; it is read from its beginning, 0",
        ),
        (50, 0, 900, "has other records", (0, 0), "has other records; it is read from its beginning, 0"),
        (50, 30, 90, "has other records", (30, 0), "has other records; it is read from its beginning, 30"),
    ],
)
def test_an_input_is_gone_on_with_or_read_anew_and_what_was_missed_is_told(
    known, begin, end, changed, expected, says, caplog
):
    with caplog.at_level(logging.WARNING):
        assert resume_offset(INPUT, known, OpenedTable(None, begin, end, changed)) == expected
    assert says in caplog.text
    assert bool(says) == bool(caplog.text)


@pytest.mark.parametrize(
    ("key", "value", "offset", "timestamp_ms", "is_same"),
    [
        (b"k", b"v", 5, 7, True),
        (b"k", b"w", 5, 7, False),
        (b"l", b"v", 5, 7, False),
        (None, b"v", 5, 7, False),
        (b"k", None, 5, 7, False),
        (b"k", b"v", 6, 7, False),
        (b"k", b"v", 5, 8, False),
    ],
)
def test_a_record_in_the_place_of_the_one_that_was_applied_is_told_from_it(key, value, offset, timestamp_ms, is_same):
    applied = LastApplied.of(OURS, 5, 7, b"k", b"v")
    assert LastApplied.unpack(applied.pack()) == applied
    assert (LastApplied.of(OURS, offset, timestamp_ms, key, value) == applied) is is_same


class FakeReader:
    """Has one record in each place."""

    def __init__(self, value: bytes = b"v") -> None:
        self.value = value
        self.asked: dict[TopicPartition, int] = {}

    async def records_at(self, wanted: dict[TopicPartition, int]) -> dict[TopicPartition, Any]:
        self.asked = dict(wanted)
        return {tp: SimpleNamespace(offset=at, timestamp=7, key=b"k", value=self.value) for tp, at in wanted.items()}


APPLIED = LastApplied.of(OURS, 5, 7, b"k", b"v")


@pytest.mark.parametrize(
    ("identity", "value", "bounds", "says"),
    [
        (OURS, b"v", (0, 6), None),
        (OURS, b"w", (0, 6), "has other records than those that were applied"),
        (OTHER, b"v", (0, 6), "was deleted and created anew"),
        (NO_IDENTITY, b"v", (0, 6), None),  # Kafka has no topic ids
        (OURS, b"w", (6, 9), None),  # the applied record is deleted: there is nothing to compare
        (OURS, b"w", (0, 5), None),  # the topic ends before it, which `resume_offset` sees
    ],
)
async def test_an_input_that_is_not_the_one_that_was_applied_is_told_from_it(identity, value, bounds, says):
    table: Any = SimpleNamespace(last_applied=APPLIED, input_identity=identity, next_offset=6)
    reader: Any = FakeReader(value)
    found = await _changed_inputs(reader, {INPUT: table}, {INPUT: bounds})
    assert (found == {}) if says is None else found[INPUT].startswith(says)


@pytest.mark.parametrize(("knows", "is_lost"), [(6, False), (7, False), (5, True), (0, True)])
async def test_a_table_that_knows_less_than_was_applied_stops_the_worker(knows, is_lost):
    config: Any = SimpleNamespace(application="pipeline", connection={"bootstrap_servers": ["kafka:9092"]})
    tables = {INPUT: SimpleNamespace(next_offset=knows, changelog="lanes-sms-changelog")}

    async def offsets(_: str) -> dict[TopicPartition, Any]:
        return {INPUT: SimpleNamespace(offset=6)}

    checking: Any = KafkaTables(config)._check_complete(SimpleNamespace(list_consumer_group_offsets=offsets), tables)
    if not is_lost:
        await checking
        return
    with pytest.raises(TableLost) as lost:
        await checking
    assert f"knows touches up to {knows}, but it was applied up to 6" in str(lost.value)
    assert "--delete-offsets --group pipeline --topic touches" in str(lost.value)


async def test_a_group_that_cannot_be_asked_stops_nobody(caplog):
    async def offsets(_: str) -> dict[TopicPartition, Any]:
        raise KafkaError("away")

    tables: Any = KafkaTables(SimpleNamespace(application="pipeline"))
    await tables._check_complete(SimpleNamespace(list_consumer_group_offsets=offsets), {})
    assert "cannot be compared" in caplog.text
