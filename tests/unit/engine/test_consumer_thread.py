"""The consumer: how it connects, what an overtaken fetch leaves behind (nothing), and an offset that is gone."""

from __future__ import annotations

import asyncio
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition

from pipeline.engine import consumer_thread
from pipeline.engine.consumer_thread import ConsumerThread, InputGone
from pipeline.kafka.connection import Connection

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


class Conf:
    """Faust's settings, each of them a number."""

    def __getattr__(self, name: str) -> int:
        return 10


def test_the_consumer_connects_with_all_that_is_configured_and_no_offset_is_ever_reset(monkeypatch):
    monkeypatch.setattr(consumer_thread, "AIOKafkaConsumer", lambda **given: given)
    connection = Connection(
        bootstrap_servers=["kafka:9093"],
        security_protocol="SASL_SSL",
        ssl_context=object(),
        sasl_mechanism="PLAIN",
        sasl_plain_username="me",
        sasl_plain_password="pw",
    )
    thread: Any = ConsumerThread.__new__(ConsumerThread)
    thread.app = SimpleNamespace(conf=Conf(), assignor=object(), engine_config=SimpleNamespace(connection=connection))
    given = thread._create_worker_consumer(None)
    assert connection.items() <= given.items()
    assert given["auto_offset_reset"] == "none"
    assert given["isolation_level"] == "read_committed"


@pytest.mark.parametrize("position", [10, 9])
def test_an_offset_that_is_gone_ends_the_worker_unless_a_seek_has_left_it(position):
    thread: Any = Fetched(nothing)
    ended: list[Exception] = []
    thread.app.die = ended.append
    thread._out_of_range({TP: position})
    if position == 10:
        [error] = ended
        assert isinstance(error, InputGone)
        assert str(error).startswith("touches[0] has no offset 10 any more: ")
    else:
        assert ended == []
