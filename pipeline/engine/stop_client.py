"""Stops a client of aiokafka, which must neither cancel whoever stops it nor keep a cancellation from him."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any


async def stop_client(stopping: Coroutine[Any, Any, None]) -> None:
    """Await `stopping`, a client's `stop` or `close`, in a task of its own; raise what it raises, but for CancelledError.

    A consumer or producer that has just started cancels a task of its own before that task's first turn, and its `stop`
    raises the CancelledError: whoever awaited it would end as if cancelled himself. A client's `close` suppresses
    CancelledError while it waits for its own task: a cancellation of whoever awaits it is lost, and he goes on.
    """
    task = asyncio.ensure_future(stopping)
    await asyncio.wait([task])
    if not task.cancelled():
        task.result()
