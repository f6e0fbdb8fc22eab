"""A fetch that a rebalance has overtaken leaves no trace: its records are dropped, and they are fetched again."""

from __future__ import annotations

import asyncio
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition

from pipeline.engine.consumer_thread import ConsumerThread

TP = TopicPartition("touches", 0)


class Fetched(ConsumerThread):
    """The thread with a consumer that has one record, and with a rebalance during the fetch if `meanwhile` makes one."""

    def __init__(self, meanwhile: Any) -> None:
        self._handed_out = {TP: 10}
        self._epoch = 3
        self.sought: list[tuple[TopicPartition, int]] = []
        row = SimpleNamespace(offset=10, timestamp=0, key=None, value=b"v", headers=())

        async def fetched_records(*_: Any, **__: Any) -> Any:
            await meanwhile(self)
            return {TP: [row]}

        assignment = SimpleNamespace(tps={TP}, state_value=lambda _: SimpleNamespace(_position=11))
        subscriptions = SimpleNamespace(fetch_context=nullcontext, subscription=SimpleNamespace(assignment=assignment))
        self._ours = SimpleNamespace(
            _closed=False,
            _coordinator=SimpleNamespace(check_errors=lambda: None),
            _fetcher=SimpleNamespace(_subscriptions=subscriptions, fetched_records=fetched_records),
            assignment=lambda: {TP},
            seek=lambda tp, offset: self.sought.append((tp, offset)),
        )
        self.app = SimpleNamespace(ownership=SimpleNamespace(logical=lambda topic: topic))

    def _ensure_consumer(self) -> Any:
        return self._ours


async def nothing(_: Any) -> None:
    await asyncio.sleep(0)


async def rebalance(thread: Any) -> None:
    await thread._seek_all({TP: 10}, 4)
    thread.sought.clear()


@pytest.mark.parametrize("meanwhile", [nothing, rebalance])
def test_the_records_of_an_overtaken_fetch_are_dropped_and_fetched_again(meanwhile):
    thread = Fetched(meanwhile)
    batches = asyncio.run(thread._fetch(frozenset({TP}), 3))
    if meanwhile is nothing:
        assert [(batch.start, batch.end, batch.epoch) for batch in batches] == [(10, 11, 3)]
        assert (thread.sought, thread._handed_out) == ([], {TP: 11})
    else:
        assert batches == []
        assert (thread.sought, thread._handed_out) == ([(TP, 10)], {TP: 10})
