"""Loud death instead of silent standstill: what should move and does not ends the process, to be restarted."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline.engine.host import Host

LOOK_EVERY_S = 5.0
COMMIT_LIMIT_S = 90.0
"""Longer than the broker keeps a transaction open (60 s): such a commit cannot succeed any more."""
REBALANCE_LIMIT_S = 180.0


class Standstill(Exception):
    """Something that must move stands still."""


async def watch(app: Host) -> None:
    """Look every few seconds; end the process when a commit, a take-over or the fetching hangs."""
    rebalancing_since: float | None = None
    while not app.should_stop:
        await asyncio.sleep(LOOK_EVERY_S)
        now = time.monotonic()
        rebalancing_since = (rebalancing_since or now) if app.rebalancing else None
        if rebalancing_since is not None and now - rebalancing_since > REBALANCE_LIMIT_S:
            app.die(Standstill(f"rebalancing for {REBALANCE_LIMIT_S:.0f} s"))
        for partition in app.ownership.partitions().values():
            if partition.committing_since is not None and now - partition.committing_since > COMMIT_LIMIT_S:
                app.die(Standstill(f"a commit of {partition.topic}[{partition.number}] takes {COMMIT_LIMIT_S:.0f} s"))
