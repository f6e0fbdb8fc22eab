"""A command that is interrupted ends, at whatever moment: also when Kafka answers in that very moment."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

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
    ("module", "opened"),
    [
        (transaction, lambda: transaction.open_transactional(CLUSTER, "name")),
        (delivery, lambda: delivery.open_producer(CLUSTER)),
    ],
    ids=["transactional", "idempotent"],
)
async def test_a_cancellation_that_comes_with_the_answer_is_not_lost(module, opened, method, monkeypatch):
    monkeypatch.setattr(module, "AIOKafkaProducer", lambda **_: AtTheSameMoment(method))
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
