"""The watch of topic ids: one connection serves all looks, an error replaces it, and a replaced topic is found."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import KafkaConnectionError, NodeNotReadyError

from pipeline.engine import topic_ids
from pipeline.engine.topic_ids import TopicIds, TopicReplaced, TopicWatch

ID, OTHER_ID = b"1" * 16, b"2" * 16
OPENED = {"in": TopicIds("cluster", {"in": ID}).identity("in")}


class FakeKafka:
    """The clients of one cluster."""

    def __init__(self) -> None:
        self.topics = {"in": ID}
        self.error: Exception | None = None
        self.opened = self.closed = 0

    def connect(self, **_: object) -> FakeKafka:
        self.opened += 1
        return self

    async def bootstrap(self) -> None:
        if self.error is not None:
            raise self.error

    def get_random_node(self) -> int:
        return 1

    async def send(self, _: int, __: object) -> SimpleNamespace:
        if self.error is not None:
            raise self.error
        topics = [(0, name, each, False, [None] * 3, 0) for name, each in self.topics.items()]
        return SimpleNamespace(cluster_id="cluster", topics=topics)

    async def close(self) -> None:
        self.closed += 1


@pytest.fixture
def kafka(monkeypatch: pytest.MonkeyPatch) -> FakeKafka:
    fake = FakeKafka()
    monkeypatch.setattr(topic_ids, "AIOKafkaClient", fake.connect)
    return fake


async def test_one_connection_serves_all_looks(kafka: FakeKafka):
    watch = TopicWatch({})
    for _ in range(3):
        await watch.look(OPENED)
    assert (kafka.opened, kafka.closed) == (1, 0)
    await watch.close()
    assert kafka.closed == 1


@pytest.mark.parametrize("error", [NodeNotReadyError(), KafkaConnectionError(), OSError(), TimeoutError()])
async def test_a_connection_that_fails_is_replaced_at_the_next_look(kafka: FakeKafka, error: Exception):
    watch = TopicWatch({})
    await watch.look(OPENED)
    kafka.error = error
    with pytest.raises(type(error)):
        await watch.look(OPENED)
    with pytest.raises(type(error)):
        await watch.look(OPENED)
    kafka.error = None
    await watch.look(OPENED)
    assert (kafka.opened, kafka.closed) == (3, 2)


async def test_a_topic_created_anew_is_found_at_once(kafka: FakeKafka):
    watch = TopicWatch({})
    await watch.look(OPENED)
    kafka.topics = {"in": OTHER_ID}
    with pytest.raises(TopicReplaced, match="topic in was deleted and created anew"):
        await watch.look(OPENED)


async def test_a_topic_counts_as_deleted_when_it_is_missing_twice_in_a_row(kafka: FakeKafka):
    watch = TopicWatch({})
    kafka.topics = {"other": ID}
    await watch.look(OPENED)
    kafka.topics = {"in": ID}
    await watch.look(OPENED)
    kafka.topics = {"other": ID}
    await watch.look(OPENED)
    with pytest.raises(TopicReplaced, match="topic in was deleted"):
        await watch.look(OPENED)


async def test_a_broker_that_knows_no_topic_proves_nothing(kafka: FakeKafka):
    watch = TopicWatch({})
    kafka.topics = {}
    for _ in range(3):
        await watch.look(OPENED)


@pytest.mark.parametrize("away", [None, KafkaConnectionError()])
async def test_the_watch_ends_the_worker_and_a_broker_that_is_away_ends_nobody(
    kafka: FakeKafka, monkeypatch: pytest.MonkeyPatch, away: Exception | None
):
    monkeypatch.setattr(topic_ids, "LOOK_EVERY_S", 0)
    app: Any = SimpleNamespace(
        should_stop=False, opened_topics=OPENED, engine_config=SimpleNamespace(connection={}), ended=[]
    )

    def die(error: BaseException) -> None:
        app.ended.append(error)
        app.should_stop = True

    app.die, kafka.error, kafka.topics = die, away, {"in": OTHER_ID}
    watching = asyncio.create_task(topic_ids.watch_topic_ids(app))
    for _ in range(20):
        await asyncio.sleep(0)
    assert app.ended == [] or away is None
    kafka.error = None
    async with asyncio.timeout(60):
        await watching
    assert [type(error) for error in app.ended] == [TopicReplaced]
    assert kafka.opened == kafka.closed
