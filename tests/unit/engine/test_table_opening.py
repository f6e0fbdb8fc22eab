"""What is decided when a table is opened: whether its local copy is believed, and from where its input is read."""

from __future__ import annotations

import logging
import time

import pytest
from aiokafka import TopicPartition

from pipeline.engine.ownership import OpenedTable, resume_offset
from pipeline.engine.store import NO_IDENTITY, StorePosition, reason_to_wipe
from pipeline.engine.table import LastApplied

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
