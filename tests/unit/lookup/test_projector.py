"""The projector without a Kafka: what it does when it is ended, and when there is none."""

from __future__ import annotations

import asyncio
import threading

import pytest

from pipeline import flow
from pipeline.kafka.cluster import Cluster
from pipeline.lookup.projector import Projector
from pipeline.records.registry import RegistryAway
from tests.harness.lookup import Copy, Topics
from tests.unit.lookup.test_copy_folder import status


@pytest.fixture
def copy() -> Copy:
    topics = Topics()
    topics.add(flow.STATUS, status("t"))
    return Copy(topics)


def projector_of(copy: Copy) -> Projector:
    return Projector(Cluster({"bootstrap_servers": "127.0.0.1:1"}), copy.copying)


async def test_who_is_cancelled_waits_for_the_thread_that_reads_the_store(copy, monkeypatch):
    begun, may_end, ended = threading.Event(), threading.Event(), threading.Event()

    def slow(_: object) -> None:
        begun.set()
        may_end.wait(30)
        ended.set()

    monkeypatch.setattr(copy.copying, "draft", slow)
    taking = asyncio.create_task(projector_of(copy)._take(copy.portion(1)))
    await asyncio.to_thread(begun.wait, 30)
    taking.cancel()
    await asyncio.sleep(0)
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await taking
    assert ended.is_set()
    assert copy.lookup.touch("t") is None


async def test_a_portion_waits_for_the_registry_and_is_taken_in_once(copy, monkeypatch, caplog):
    draft, asked = copy.copying.draft, []

    def away_once(portion):
        asked.append(portion)
        if len(asked) == 1:
            raise RegistryAway("the registry does not answer")
        return draft(portion)

    monkeypatch.setattr(copy.copying, "draft", away_once)
    monkeypatch.setattr("pipeline.lookup.projector.AGAIN_S", 0)
    await projector_of(copy)._take(copy.portion(1))
    assert len(copy.lookup.touch("t")["statuses"]) == 1
    assert "the registry does not answer" in caplog.text


async def test_while_kafka_is_away_it_tries_again_and_says_so_once(copy, monkeypatch, caplog):
    monkeypatch.setattr("pipeline.lookup.projector.AGAIN_S", 0)
    reading = asyncio.create_task(projector_of(copy).run())
    async with asyncio.timeout(30):
        while "cannot be reached" not in caplog.text:
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.1)
    assert not reading.done()
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    assert len([each for each in caplog.records if each.name == "pipeline.lookup.projector"]) == 1
