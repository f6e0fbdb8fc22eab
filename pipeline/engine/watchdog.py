"""Ends the process when a part of it has stopped working, so that a supervisor restarts it."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pipeline.engine.app_protocol import AppProtocol

LOOK_EVERY_S = 1.0
COMMIT_LIMIT_S = 90.0
"""Longer than the broker's transaction timeout (60 s): such a commit cannot succeed any more."""
REBALANCE_LIMIT_S = 180.0
TASK_LOOKS = 4
"""Consecutive looks that must find a task ended: aiokafka replaces some of its tasks during a rebalance."""
SILENT_LOOKS = 30
"""Consecutive looks without a fetch, or without an answer of the consumer's thread. Looks, not seconds: a frozen process
makes none."""


class Standstill(Exception):
    """A part of the worker has stopped working."""


class Watchdog:
    """Checks every part that must keep working in one worker."""

    def __init__(self, app: AppProtocol) -> None:
        self._app = app
        self._looks: dict[str, int] = {}
        """Number of consecutive looks that found a cause."""
        self._rebalancing_since: float | None = None
        self._fetches = -1

    def look(self, now: float) -> str | None:
        """Return why the process must end, or None. Call it once a second; `now` is `time.monotonic()`."""
        seen = dict(self._causes(now))
        self._looks = {cause: self._looks.get(cause, 0) + 1 for cause in seen}
        return next((cause for cause, limit in seen.items() if self._looks[cause] >= limit), None)

    def ended_task(self) -> str | None:
        """Return which background task has ended, for /live, or None. It may be one that is being replaced."""
        return next(self._ended_tasks(), None)

    def _ended_tasks(self) -> Iterator[str]:
        return (f"{name} has ended" for name in self._app.ended_tasks())

    def _causes(self, now: float) -> Iterator[tuple[str, int]]:
        """Yield (cause, number of consecutive looks after which it is certain)."""
        app = self._app
        self._rebalancing_since = (self._rebalancing_since or now) if app.rebalancing else None
        if self._rebalancing_since is not None and now - self._rebalancing_since > REBALANCE_LIMIT_S:
            yield f"rebalancing for {REBALANCE_LIMIT_S:.0f} s", 1
        for partition in app.ownership.partitions().values():
            if partition.committing_since is not None and now - partition.committing_since > COMMIT_LIMIT_S:
                yield f"a commit of {partition.topic}[{partition.number}] takes {COMMIT_LIMIT_S:.0f} s", 1
        for cause in self._ended_tasks():
            yield cause, TASK_LOOKS
        yield from self._silence()

    def _silence(self) -> Iterator[tuple[str, int]]:
        fetches, self._fetches = self._fetches, self._app.fetches
        if fetches == self._fetches and self._app.ownership.is_ready and not self._app.rebalancing:
            yield "nothing is fetched", SILENT_LOOKS
        if not self._app.is_thread_responsive():
            yield "the consumer's thread does not answer", SILENT_LOOKS


async def watch(app: AppProtocol, watchdog: Watchdog) -> None:
    """Look once a second, and end the process on the first certain cause."""
    while not app.should_stop:
        await asyncio.sleep(LOOK_EVERY_S)
        cause = watchdog.look(time.monotonic())
        if cause is not None:
            app.die(Standstill(cause))
