"""Reads a file in a thread of its own, a few batches ahead: a slow pipe must not hold up what is being delivered."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

from pipeline.console.produce.rows import Broken, InputRow, rows

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from pipeline.console.produce.rows import Form, Stream

    Batch = list[InputRow | Broken]

BATCH = 500
BATCHES_AHEAD = 4


async def read_ahead(stream: Stream, form: Form) -> AsyncGenerator[Batch, None]:
    """Yield the rows of `stream` in batches, as soon as they are there. Raises what reading raises."""
    reading = _ReadingThread(stream, form)
    # A daemon: it may sit in a read of standard input for ever when we are interrupted.
    threading.Thread(target=reading.run, name="produce-read", daemon=True).start()
    try:
        while (batch := await reading.filled.get()) is not None:
            if isinstance(batch, BaseException):
                raise batch
            reading.room.release()
            yield batch
    finally:
        reading.abandon()


class _ReadingThread:
    """What the thread does, and what it shares with the loop."""

    def __init__(self, stream: Stream, form: Form) -> None:
        self.filled: asyncio.Queue[Batch | BaseException | None] = asyncio.Queue()
        self.room = threading.Semaphore(BATCHES_AHEAD)
        self._stream, self._form = stream, form
        self._loop = asyncio.get_running_loop()
        self._batch: Batch = []
        self._is_abandoned = threading.Event()

    def run(self) -> None:
        try:
            for row in rows(self._stream, self._form, before_read=self._flush):
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

    def _hand_over(self, what: Batch | BaseException | None) -> None:
        self.room.acquire()
        with suppress(RuntimeError):  # the loop is closed, and no task waits any more
            self._loop.call_soon_threadsafe(self.filled.put_nowait, what)
