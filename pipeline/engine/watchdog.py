"""Loud death instead of silent standstill: what should move and does not ends the process, to be restarted."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pipeline.engine.app_protocol import AppProtocol

LOOK_EVERY_S = 1.0
COMMIT_LIMIT_S = 90.0
"""Longer than the broker keeps a transaction open (60 s): such a commit cannot succeed any more."""
REBALANCE_LIMIT_S = 180.0
TASK_LOOKS = 4
"""Looks in a row at which a background task must have ended: aiokafka ends some of them for a moment in a rebalance."""
SILENT_LOOKS = 30
"""Looks in a row at which nothing was fetched, or the consumer's thread did not answer. Looks, not seconds: they stop
while the process is frozen."""


class Standstill(Exception):
    """Something that must move stands still."""


class Watchdog:
    """Looks at everything that must keep running in one worker."""

    def __init__(self, app: AppProtocol) -> None:
        self._app = app
        self._looks: dict[str, int] = {}
        """By cause: at how many looks in a row it was seen."""
        self._rebalancing_since: float | None = None
        self._fetches = -1

    def look(self, now: float) -> str | None:
        """Return why this worker no longer takes part, or None. `now` is `time.monotonic()`; call it once a second."""
        seen = dict(self._causes(now))
        self._looks = {cause: self._looks.get(cause, 0) + 1 for cause in seen}
        return next((cause for cause, limit in seen.items() if self._looks[cause] >= limit), None)

    def _causes(self, now: float) -> Iterator[tuple[str, int]]:
        """Yield each cause to worry, with the number of looks in a row that make it certain."""
        app = self._app
        self._rebalancing_since = (self._rebalancing_since or now) if app.rebalancing else None
        if self._rebalancing_since is not None and now - self._rebalancing_since > REBALANCE_LIMIT_S:
            yield f"rebalancing for {REBALANCE_LIMIT_S:.0f} s", 1
        for partition in app.ownership.partitions().values():
            if partition.committing_since is not None and now - partition.committing_since > COMMIT_LIMIT_S:
                yield f"a commit of {partition.topic}[{partition.number}] takes {COMMIT_LIMIT_S:.0f} s", 1
        for name in app.ended_tasks():
            yield f"{name} has ended", TASK_LOOKS
        yield from self._silence()

    def _silence(self) -> Iterator[tuple[str, int]]:
        fetches, self._fetches = self._fetches, self._app.fetches
        if fetches == self._fetches and self._app.ownership.is_ready and not self._app.rebalancing:
            yield "nothing is fetched", SILENT_LOOKS
        if not self._app.thread_answers():
            yield "the consumer's thread does not answer", SILENT_LOOKS


async def watch(app: AppProtocol, watchdog: Watchdog) -> None:
    """Look every second; end the process when something that must move stands still."""
    while not app.should_stop:
        await asyncio.sleep(LOOK_EVERY_S)
        cause = watchdog.look(time.monotonic())
        if cause is not None:
            app.die(Standstill(cause))
