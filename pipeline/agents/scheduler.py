"""The agent of the scheduler: it also shows how many touches are deferred."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.agents.stage_agent import StageAgent

if TYPE_CHECKING:
    from pipeline.metrics import Metrics
    from pipeline.stages.schedule import Scheduler
    from pipeline.stages.step import StageStep


class SchedulerAgent(StageAgent):
    """Runs the stage over one partition of `touches.scheduled`."""

    def __init__(self, stage: Scheduler, metrics: Metrics, number: int) -> None:
        super().__init__(stage, metrics)
        self._scheduler = stage
        self._number = number

    def committed(self, step: StageStep) -> None:
        """Count what `step` committed."""
        super().committed(step)
        if (count := self._scheduler.deferred) is not None:
            self._metrics.deferred(self._number, count)

    async def close(self) -> None:
        """Take the partition's touches out of the metric: another worker shows them now."""
        self._metrics.forget_deferred(self._number)
