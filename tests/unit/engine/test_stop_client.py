from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest
from aiokafka.errors import KafkaError

from pipeline.engine.stop_client import stop_client


class Client:
    """A client whose stopping ends like this."""

    def __init__(self, error: BaseException | None) -> None:
        self._error = error

    async def stop(self) -> None:
        own = asyncio.ensure_future(asyncio.sleep(10))
        if isinstance(self._error, asyncio.CancelledError):
            own.cancel()
            await own
        own.cancel()
        if self._error is not None:
            raise self._error


async def test_a_client_that_cancels_a_task_of_its_own_ends_nobody_else():
    await stop_client(Client(asyncio.CancelledError()).stop())
    await stop_client(Client(None).stop())


async def test_what_stopping_raises_is_raised():
    with pytest.raises(KafkaError):
        await stop_client(Client(KafkaError()).stop())


async def test_who_is_cancelled_while_a_client_stops_is_cancelled():
    class Slow:
        async def stop(self) -> None:
            await asyncio.sleep(0.05)

    task = asyncio.create_task(stop_client(Slow().stop()))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_client_that_suppresses_cancellations_keeps_none_from_who_stops_it():
    class Deaf:
        async def close(self) -> None:
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(0.05)

    task = asyncio.create_task(stop_client(Deaf().close()))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
