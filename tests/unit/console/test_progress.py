"""Who waits is told how far it is, also while nothing moves."""

from __future__ import annotations

import asyncio
import io
import itertools

from pipeline.console.progress import ProgressReport, telling


async def test_a_wait_in_which_nothing_moves_says_so_now_and_then():
    out, clock = io.StringIO(), itertools.count(0, 10)
    with ProgressReport("of 2 lanes obey", lambda: 0.5, out=out, clock=lambda: float(next(clock))) as counting:
        counting.count = 1
        async with telling(counting, every_s=0.01), asyncio.timeout(10):
            while out.getvalue().count("\n") < 2:
                await asyncio.sleep(0)
    assert out.getvalue().splitlines()[:2] == ["1 of 2 lanes obey (50%)"] * 2
