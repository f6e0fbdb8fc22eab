"""Who goes when many partitions have much to do: few at once, so that one with little to do is not behind them all."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SLOTS = 2
"""One commits while the other computes: more only queue for the same core."""
SLOT_S = 1.0
"""A commit that hangs gives its turn up after this: nobody waits for somebody else's broker for long."""


class CommitSlots:
    """The turns of one process, first come, first served."""

    def __init__(self) -> None:
        self._free = asyncio.Semaphore(SLOTS)

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Wait for a turn, and have it until the block ends, a bounded time."""
        await self._free.acquire()
        is_over = False

        def give_up() -> None:
            nonlocal is_over
            if not is_over:
                is_over = True
                self._free.release()

        timer = asyncio.get_running_loop().call_later(SLOT_S, give_up)
        try:
            yield
        finally:
            timer.cancel()
            give_up()
