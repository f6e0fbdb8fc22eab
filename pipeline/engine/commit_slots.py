"""Limits concurrent large commits, so that small partitions are not starved."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SLOTS = 2
"""One partition commits while another computes; more would only queue for the same core."""
SLOT_S = 1.0
"""A commit that hangs releases its slot after this time, so that other partitions do not wait for its broker."""


class CommitSlots:
    """The slots of one process, in the order of arrival."""

    def __init__(self) -> None:
        self._free = asyncio.Semaphore(SLOTS)

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Wait for a slot, and hold it until the block ends or SLOT_S is over."""
        await self._free.acquire()
        is_released = False

        def release() -> None:
            nonlocal is_released
            if not is_released:
                is_released = True
                self._free.release()

        timer = asyncio.get_running_loop().call_later(SLOT_S, release)
        try:
            yield
        finally:
            timer.cancel()
            release()
