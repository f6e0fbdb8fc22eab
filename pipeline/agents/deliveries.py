"""The agent of the stage of deliveries: it also shows how many touches are silent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.agents.stage_agent import StageAgent
from pipeline.stages.deliveries import silent_touches

if TYPE_CHECKING:
    from collections.abc import Callable

    from pipeline.metrics import Metrics
    from pipeline.stage_io import Table
    from pipeline.stages.deliveries import Deliveries
    from pipeline.stages.step import StageStep


class DeliveriesAgent(StageAgent):
    """Runs the stage over one partition of `touches.callbacks`."""

    def __init__(self, stage: Deliveries, metrics: Metrics, number: int) -> None:
        super().__init__(stage, metrics)
        self._number = number
        self._table: Table | None = None

    def open(self, table: Table, now_ms: int, wake: Callable[[], None]) -> None:
        """Take the partition over, and look once at what is due."""
        super().open(table, now_ms, wake)
        self._table = table
        self._show()

    def committed(self, step: StageStep) -> None:
        """Count what `step` committed."""
        super().committed(step)
        self._show()

    def _show(self) -> None:
        if self._table is not None:
            for channel, count in silent_touches(self._table).items():
                self._metrics.silent(self._number, channel.value, count)

    async def close(self) -> None:
        """Take the partition's silent touches out of the metric: another worker shows them now."""
        self._metrics.forget_silent(self._number)
