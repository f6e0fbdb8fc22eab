"""Stops a client of aiokafka, whose own cancellations must not reach whoever stops it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Protocol


class Stoppable(Protocol):
    """A consumer or producer of aiokafka."""

    def stop(self) -> Coroutine[Any, Any, None]:
        """Close its connections."""


async def stop_client(client: Stoppable) -> None:
    """Stop `client`; raise what its stopping raises, but for CancelledError.

    A client that has just started cancels a task of its own before that task's first turn, and its `stop` raises the
    CancelledError: whoever awaited it would end as if cancelled himself.
    """
    stopping = asyncio.ensure_future(client.stop())
    await asyncio.wait([stopping])
    if not stopping.cancelled():
        stopping.result()
