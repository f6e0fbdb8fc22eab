"""Reads a file in a thread of its own, a few batches ahead: a slow pipe must not hold up what is being delivered."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterator

T = TypeVar("T")

BATCH = 500
BATCHES_AHEAD = 4


async def read_ahead(read: Callable[[Callable[[], None]], Iterator[T]]) -> AsyncGenerator[list[T], None]:
    """Yield what `read` yields, in batches, as soon as they are there. Raises what reading raises.

    `read` is given a function to call before each read that may have to wait.
    """
    reading = _ReadingThread(read)
    # A daemon: it may sit in a read of standard input for ever when we are interrupted.
    threading.Thread(target=reading.run, name="read-ahead", daemon=True).start()
    try:
        while (batch := await reading.filled.get()) is not None:
            if isinstance(batch, BaseException):
                raise batch
            reading.room.release()
            yield batch
    finally:
        reading.abandon()


class _ReadingThread(Generic[T]):
    """What the thread does, and what it shares with the loop."""

    def __init__(self, read: Callable[[Callable[[], None]], Iterator[T]]) -> None:
        self.filled: asyncio.Queue[list[T] | BaseException | None] = asyncio.Queue()
        self.room = threading.Semaphore(BATCHES_AHEAD)
        self._read = read
        self._loop = asyncio.get_running_loop()
        self._batch: list[T] = []
        self._is_abandoned = threading.Event()

    def run(self) -> None:
        try:
            for row in self._read(self._flush):
                if self._is_abandoned.is_set():
                    return
                self._batch.append(row)
                if len(self._batch) >= BATCH:
                    self._flush()
            self._flush()
            self._hand_over(None)
        except BaseException as error:  # noqa: BLE001 - it is raised where it can be dealt with
            self._hand_over(error)

    def abandon(self) -> None:
        self._is_abandoned.set()
        self.room.release(BATCHES_AHEAD)

    def _flush(self) -> None:
        if self._batch:
            self._hand_over(self._batch)
            self._batch = []

    def _hand_over(self, what: list[T] | BaseException | None) -> None:
        self.room.acquire()
        with suppress(RuntimeError):  # the loop is closed, and no task waits any more
            self._loop.call_soon_threadsafe(self.filled.put_nowait, what)
