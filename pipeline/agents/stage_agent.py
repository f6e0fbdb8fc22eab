"""The agent of a stage that makes no calls (router, scheduler, dedup, deliveries): it runs the stage and counts what is committed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, assert_never

from pipeline.stages.step import (
    DeadLettered,
    DeliveryTold,
    FactDropped,
    Forwarded,
    OptOutPending,
    RepeatDropped,
    StatusWritten,
    UnknownMembers,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pipeline.metrics import Metrics
    from pipeline.stage_io import Record, Table
    from pipeline.stages.step import StageStep


class Stage(Protocol):
    """A stage that decides from its batch, its table and the time alone."""

    def step(self, batch: Sequence[Record], table: Table, now_ms: int) -> StageStep:
        """Decide."""


class StageAgent:
    """Runs one stage over one partition."""

    def __init__(self, stage: Stage, metrics: Metrics) -> None:
        self._stage = stage
        self._metrics = metrics

    def open(self, table: Table, now_ms: int, wake: Callable[[], None]) -> None:
        """Take the partition over. The stage has no state but its table."""

    def step(self, records: Sequence[Record], table: Table, now_ms: int) -> StageStep:
        """Return the stage's decision."""
        return self._stage.step(records, table, now_ms)

    def committed(self, step: StageStep) -> None:
        """Count what `step` committed."""
        for what, count in step.counts.items():
            match what:
                case StatusWritten(channel, state, reason):
                    self._metrics.told(channel, state.value, "" if reason is None else reason.value, count)
                case RepeatDropped(channel):
                    self._metrics.repeats_dropped(channel, count)
                case DeadLettered(dead_reason):
                    self._metrics.dead_lettered(dead_reason.value, count)
                case Forwarded():
                    self._metrics.strays(count)
                case DeliveryTold() | FactDropped() | OptOutPending():
                    self._count_fact(what, count)
                case UnknownMembers():
                    self._metrics.unknown_members(count)
                case _:
                    assert_never(what)

    def _count_fact(self, what: DeliveryTold | FactDropped | OptOutPending, count: int) -> None:
        match what:
            case DeliveryTold(channel, kind):
                self._metrics.delivered(channel.value, kind.value, count)
            case FactDropped(channel, why):
                self._metrics.fact_dropped(channel.value, why, count)
            case OptOutPending():
                pass  # a gauge shows how many there are

    async def drain(self) -> None:
        """Return at once: no call is ever under way."""

    def resume(self) -> None:
        """Continue after a drain that was called off."""

    async def close(self) -> None:
        """Return at once: nothing is open."""
