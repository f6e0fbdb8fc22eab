"""A command that is interrupted ends, at whatever moment, also when Kafka answers in that very moment; one that fails leaves no error behind."""

from __future__ import annotations

import asyncio
import gc
from types import SimpleNamespace

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import ProducerFenced, TopicAuthorizationFailedError

from pipeline.kafka import delivery, transaction


class AtTheSameMoment:
    """A producer whose start, or stop, ends in the turn of the loop in which its task is cancelled."""

    def __init__(self, method: str) -> None:
        self._method = method

    async def start(self) -> None:
        await self._answer("start")

    async def stop(self) -> None:
        await self._answer("stop")

    async def _answer(self, method: str) -> None:
        if method == self._method:
            answer = asyncio.get_running_loop().create_future()
            task = TASKS[-1]
            asyncio.get_running_loop().call_soon(answer.set_result, None)
            asyncio.get_running_loop().call_soon(lambda: asyncio.get_running_loop().call_soon(task.cancel))
            await answer


TASKS: list[asyncio.Task[None]] = []
CLUSTER = SimpleNamespace(connection={}, topic_name=str, partitioner=lambda: None, servers="")


async def _reached(cluster: object) -> None:
    return


@pytest.mark.parametrize("method", ["start", "stop"])
@pytest.mark.parametrize(
    ("module", "client", "opened"),
    [
        (transaction, "TransactionalProducer", lambda: transaction.open_transactional(CLUSTER, "name")),
        (delivery, "AIOKafkaProducer", lambda: delivery.open_producer(CLUSTER)),
    ],
    ids=["transactional", "idempotent"],
)
async def test_a_cancellation_that_comes_with_the_answer_is_not_lost(module, client, opened, method, monkeypatch):
    monkeypatch.setattr(module, client, lambda **_: AtTheSameMoment(method))
    monkeypatch.setattr(delivery, "reach", _reached)
    went_on = False

    async def command() -> None:
        nonlocal went_on
        async with opened():
            await asyncio.sleep(0.01 if method == "start" else 0)
        await asyncio.sleep(0.01)
        went_on = True

    TASKS[:] = [asyncio.create_task(command())]
    with pytest.raises(asyncio.CancelledError):
        await TASKS[0]
    assert not went_on


async def begun() -> transaction.TransactionalProducer:
    """A producer in a transaction with a record that has not been sent yet."""
    producer = transaction.TransactionalProducer(bootstrap_servers="127.0.0.1:1", transactional_id="t")
    producer._txn_manager.set_pid_and_epoch(1, 0)
    await producer.begin_transaction()
    sent = await producer._message_accumulator.add_message(TopicPartition("t", 0), b"k", b"v", timeout=1, headers=[])
    sent.add_done_callback(asyncio.Future.exception)  # who sends looks at it
    return producer


async def failed() -> None:
    raise ProducerFenced


async def logged(course) -> list[str]:
    """Return what the loop says of errors that nobody has looked at."""
    told: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context["message"]))
    await course()
    gc.collect()
    await asyncio.sleep(0)
    return told


async def test_a_fenced_producer_leaves_no_error_that_nobody_looks_at():
    async def course() -> None:
        producer = await begun()
        sender = asyncio.ensure_future(failed())
        await asyncio.wait([sender])
        producer._sender._fail_all(sender)  # as aiokafka does when its sender ends
        await producer.stop()

    assert await logged(course) == []


async def test_a_transaction_that_is_aborted_after_an_error_leaves_none():
    async def course() -> None:
        producer = await begun()
        producer._txn_manager.error_transaction(TopicAuthorizationFailedError("t"))
        aborting = asyncio.ensure_future(producer.abort_transaction())
        await asyncio.sleep(0)
        producer._txn_manager.complete_transaction()
        await aborting
        producer._message_accumulator.fail_all(ProducerFenced())
        await producer.stop()

    assert await logged(course) == []
