"""The agents without calls of their own: router, scheduler, dedup. Their step is their stage's, and then they count."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pipeline.metrics import Metrics
    from pipeline.stage_io import Record, Table
    from pipeline.stages.step import Step


class SteadyStage(Protocol):
    """A stage that decides from its batch and table alone."""

    def step(self, batch: Sequence[Record], table: Table, now_ms: int) -> Step:
        """Decide."""


class SteadyAgent:
    """Runs one steady stage over one partition."""

    def __init__(self, stage: SteadyStage, metrics: Metrics) -> None:
        self._stage = stage
        self._metrics = metrics

    def open(self, table: Table, now_ms: int, wake: Callable[[], None]) -> None:
        """Take the partition over: a steady stage keeps nothing but its table."""

    def step(self, records: Sequence[Record], table: Table, now_ms: int) -> Step:
        """Let the stage decide."""
        return self._stage.step(records, table, now_ms)

    def committed(self, step: Step) -> None:
        """Count what is committed now."""
        for what, count in step.counts.items():
            match what:
                case ("told", channel, state, reason):
                    self._metrics.told(channel, state, reason, count)
                case ("repeat", channel):
                    self._metrics.repeats_dropped(channel, count)
                case ("dead", reason):
                    self._metrics.dead_lettered(reason, count)
                case ("stray",):
                    self._metrics.strays(count)
                case ("unknown_members",):
                    self._metrics.unknown_members(count)

    async def drain(self) -> None:
        """Nothing is ever under way."""

    def resume(self) -> None:
        """Go on."""

    async def close(self) -> None:
        """Let go."""
