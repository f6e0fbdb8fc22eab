"""The router agent: runs the router, and fetches writer schemas that are missing from the registry."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from pipeline.agents.stage_agent import StageAgent
from pipeline.engine.agent import NotReady
from pipeline.records.registry import Registry, RegistryAway, SchemaNotHere
from pipeline.stages.step import Forwarded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from pipeline.metrics import Metrics
    from pipeline.stage_io import Record, Table
    from pipeline.stages.route import Router
    from pipeline.stages.step import StageStep

log = logging.getLogger(__name__)

AGAIN_MS = 1_000
"""Time between two requests to the registry while a schema is missing."""


class RouterAgent(StageAgent):
    """Runs the router over one partition of `touches`. While the registry cannot be reached, touches that need it wait."""

    has_told_of_strays = False
    """Whether this process has logged a forwarded touch; the log has it once per process."""

    def __init__(self, router: Router, registry: Registry | None, metrics: Metrics) -> None:
        super().__init__(router, metrics)
        self._router = router
        self._registry = registry
        self._fetching: asyncio.Task[None] | None = None
        self._asked_ms = 0
        self._is_away = False
        self._wake: Callable[[], None] = lambda: None

    def open(self, table: Table, now_ms: int, wake: Callable[[], None]) -> None:
        """Take the partition over."""
        super().open(table, now_ms, wake)
        self._wake = wake

    def step(self, records: Sequence[Record], table: Table, now_ms: int) -> StageStep:
        """Return the router's decision; records without a schema wait in its table. Raises NotReady when the table is full."""
        try:
            step = super().step(records, table, now_ms)
        except SchemaNotHere as missing:
            self._fetch_soon({missing.schema_id, *self._router.missing}, now_ms)
            raise NotReady from None
        if self._router.missing:
            self._fetch_soon(self._router.missing, now_ms)
            step.wake_ms = min(step.wake_ms or now_ms + AGAIN_MS, now_ms + AGAIN_MS)
        return step

    def _fetch_soon(self, schema_ids: Iterable[int], now_ms: int) -> None:
        """Start to fetch the missing schemas in the background, at most once a second while the registry is away."""
        if self._registry is None or (self._fetching is not None and not self._fetching.done()):
            return
        if self._fetching is not None and 0 <= now_ms - self._asked_ms < AGAIN_MS and self._is_away:
            return
        self._asked_ms = now_ms
        self._fetching = asyncio.create_task(self._fetch(self._registry, sorted(schema_ids)))

    def committed(self, step: StageStep) -> None:
        """Count what is committed now; say once in a process that touches come astray, and how to mend it."""
        super().committed(step)
        if step.counts[Forwarded()] and not RouterAgent.has_told_of_strays:
            RouterAgent.has_told_of_strays = True
            log.warning(
                "touches arrive away from their home partition and take one more hop each (pipeline_strays_total counts "
                "them): key them by touch_id with Kafka's default partitioner, murmur2 (librdkafka: "
                "partitioner=murmur2_random)"
            )

    async def _fetch(self, registry: Registry, schema_ids: list[int]) -> None:
        try:
            await asyncio.to_thread(registry.fetch_all, schema_ids)
        except RegistryAway as error:
            self._tell_away(schema_ids, error)
        else:
            self._is_away = False
            self._wake()

    def _tell_away(self, schema_ids: list[int], error: RegistryAway) -> None:
        """Say once an outage what waits, and for what."""
        if not self._is_away:
            shown = ", ".join(map(str, schema_ids[:5])) + (" …" if len(schema_ids) > 5 else "")  # noqa: PLR2004 - enough to look for
            log.warning("touches of schema %s wait, all others go on: %s", shown, error)
        self._is_away = True

    async def close(self) -> None:
        """Let go."""
        if self._fetching is not None:
            self._fetching.cancel()
