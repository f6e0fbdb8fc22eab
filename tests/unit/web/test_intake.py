"""The intake: what is acknowledged is taken, everything else must come again."""

from __future__ import annotations

import asyncio

import pytest
from aiokafka.errors import KafkaError

from pipeline.domain.fact import Callback, FactKind, callback_partition
from pipeline.domain.suppression import Scope, Suppression, SuppressionReason
from pipeline.domain.work import Channel
from pipeline.kafka.cluster import Cluster, CommandFailed
from pipeline.records.callbacks import decode_callback
from pipeline.records.writing import single_object
from pipeline.web import intake as intake_module
from pipeline.web.intake import Intake, IntakeNeeds, NotTaken, ended

PARTITIONS = 8


class FakeProducer:
    """Acknowledges what it is told to."""

    def __init__(self, outcome: BaseException | str | None = None) -> None:
        self.sent, self._outcome = [], outcome

    async def send(self, topic, value, key, *, partition):
        self.sent.append((topic, value, key, partition))
        future = asyncio.get_running_loop().create_future()
        if isinstance(self._outcome, BaseException):
            future.set_exception(self._outcome)
        elif self._outcome is None:
            future.set_result(object())
        return future


def intake_on(producer, *, make_writer=None):
    needs = IntakeNeeds(fingerprint="", partitions=PARTITIONS, make_writer=make_writer)
    intake = Intake(Cluster({"bootstrap_servers": "127.0.0.1:1"}, "p."), needs)
    intake._producer = producer
    return intake


def fact(message_id="SM1"):
    return Callback(Channel.SMS, "main", message_id, 5, FactKind.DELIVERED)


async def test_each_record_goes_where_its_touch_is_known_and_all_must_be_acknowledged():
    producer = FakeProducer()
    await intake_on(producer).take([fact(), fact("SM2")])
    assert [(topic, decode_callback(value), key, at) for topic, value, key, at in producer.sent] == [
        ("p.touches.callbacks", each, each.place.encode(), callback_partition(each.place, PARTITIONS))
        for each in (fact(), fact("SM2"))
    ]


async def test_while_it_is_not_connected_nothing_waits():
    intake = intake_on(None)
    with pytest.raises(NotTaken):
        await intake.take([fact()])
    with pytest.raises(NotTaken):
        await intake.suppress(Suppression(Scope.EMAIL, lead_id="l", reason=SuppressionReason.MANUAL, by="b", at_ms=1))
    assert intake.not_ready == "it has not been reached yet"


@pytest.mark.parametrize("outcome", ["never", KafkaError("fenced")])
async def test_what_is_not_acknowledged_in_time_is_not_taken(monkeypatch, outcome):
    monkeypatch.setattr(intake_module, "TAKES_S", 0.05)
    with pytest.raises(NotTaken):
        await intake_on(FakeProducer(outcome)).take([fact()])


async def test_an_entry_goes_to_the_one_partition_of_suppressions():
    producer = FakeProducer()
    intake = intake_on(producer, make_writer=lambda: single_object)
    intake._writer = single_object
    entry = Suppression(
        Scope.EMAIL, address_hash="ab" * 16, reason=SuppressionReason.UNSUBSCRIBED, by="recipient", at_ms=1
    )
    await intake.suppress(entry)
    [(topic, _, key, partition)] = producer.sent
    assert (topic, key, partition) == ("p.touches.suppressions", entry.key.encode(), 0)


async def test_another_privacy_key_ends_the_process_and_an_absent_kafka_does_not(monkeypatch):
    intake = intake_on(None)
    running = asyncio.ensure_future(intake.run())
    async with asyncio.timeout(30):
        while "cannot be reached" not in (intake.not_ready or ""):
            await asyncio.sleep(0.01)
    assert not running.done()
    await ended(running)

    async def prepare():
        raise intake_module.WrongPrivacyKey("privacy.key is another one")

    monkeypatch.setattr(intake, "_prepare", prepare)
    with pytest.raises(CommandFailed, match=r"privacy\.key"):
        await intake.run()


async def test_the_end_does_not_wait_for_a_connection_that_hangs(monkeypatch):
    monkeypatch.setattr(intake_module, "GOODBYE_S", 0.05)

    async def hangs():
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.Event().wait()

    task = asyncio.ensure_future(hangs())
    await asyncio.sleep(0)
    async with asyncio.timeout(10):
        await ended(task)
    assert task.cancelled()
