"""What a fetch becomes on its way through faust: one message per topic, none of an epoch that is over."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from faust.types import TP

from pipeline.engine.batch import Batch
from pipeline.engine.consumer import Consumer

FETCHED = [
    Batch("t", 3, 10, 14, epoch=7, records=[]),
    Batch("u", 0, 0, 2, epoch=7, records=[]),
    Batch("t", 1, 5, 6, epoch=7, records=[]),
]


@pytest.fixture
def consumer() -> Any:
    made: Any = Consumer.__new__(Consumer)

    async def fetch(wanted: frozenset[Any], epoch: int) -> list[Batch]:
        return FETCHED if wanted and epoch == 7 else []

    ownership = SimpleNamespace(epoch=7, fetchable=lambda: frozenset({("t", 3)}))
    made.app = SimpleNamespace(ownership=ownership, fetches=0, consumer_generation_id=1)
    made._thread, made.flow_active = SimpleNamespace(fetch=fetch), True
    made._stopped = made._crashed = SimpleNamespace(is_set=lambda: False)
    return made


async def test_all_batches_of_a_topic_are_one_message(consumer):
    messages = [(tp, message.value) async for tp, message in consumer.getmany(1.0)]
    assert messages == [(TP("t", 3), [FETCHED[0], FETCHED[2]]), (TP("u", 0), [FETCHED[1]])]


async def test_a_message_says_its_first_partition_and_the_offset_read_there(consumer):
    (tp, first), _ = [each async for each in consumer.getmany(1.0)]
    assert (tp, first.tp, first.offset) == (TP("t", 3), TP("t", 3), 13)


async def test_what_was_fetched_before_the_ownership_changed_is_dropped(consumer):
    seen = []
    async for _, message in consumer.getmany(1.0):
        seen.append(message.topic)
        consumer.app.ownership.epoch += 1
    assert seen == ["t"]
