"""The router agent: lets the router decide, and fetches the writer schemas it has not seen yet."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from pipeline.agents.steady import SteadyAgent
from pipeline.engine.partition import NotYet
from pipeline.records.registry import Registry, RegistryAway, SchemaNotHere

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pipeline.log import Record, Table
    from pipeline.metrics import Metrics
    from pipeline.stages.route import Router
    from pipeline.stages.step import Step

log = logging.getLogger(__name__)


class RouterAgent(SteadyAgent):
    """Runs the router over one partition of `touches`. While the registry is away, what needs it waits; nothing is refused."""

    has_told_of_strays = False
    """Of this process, whichever partition they came to."""

    def __init__(self, router: Router, registry: Registry | None, metrics: Metrics) -> None:
        super().__init__(router, metrics)
        self._registry = registry
        self._fetching: asyncio.Task[None] | None = None
        self._wake: Callable[[], None] = lambda: None

    def open(self, table: Table, now_ms: int, wake: Callable[[], None]) -> None:
        """Take the partition over."""
        super().open(table, now_ms, wake)
        self._wake = wake

    def step(self, records: Sequence[Record], table: Table, now_ms: int) -> Step:
        """Let the router decide. Raises NotYet while a schema is being fetched."""
        try:
            return super().step(records, table, now_ms)
        except SchemaNotHere as missing:
            if self._fetching is None or self._fetching.done():
                self._fetching = asyncio.create_task(self._fetch(missing.schema_id))
            raise NotYet from None

    def committed(self, step: Step) -> None:
        """Count what is committed now; say once in a process that touches come astray, and how to mend it."""
        super().committed(step)
        if step.counts["stray",] and not RouterAgent.has_told_of_strays:
            RouterAgent.has_told_of_strays = True
            log.warning(
                "touches arrive away from their home partition and take one more hop each (pipeline_strays_total counts "
                "them): key them by touch_id with Kafka's default partitioner, murmur2 (librdkafka: "
                "partitioner=murmur2_random)"
            )

    async def _fetch(self, schema_id: int) -> None:
        assert self._registry is not None
        try:
            await asyncio.to_thread(self._registry.fetch, schema_id)
        except RegistryAway as error:
            log.warning("touches of schema %d wait: %s", schema_id, error)
        else:
            self._wake()

    async def close(self) -> None:
        """Let go."""
        if self._fetching is not None:
            self._fetching.cancel()
