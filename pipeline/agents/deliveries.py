"""The agent of the stage of deliveries: it shows how many touches are silent, and asks for the numbers of hidden accounts."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from pipeline.agents.stage_agent import StageAgent
from pipeline.stages.deliveries import hidden_accounts, learnt_number, pending_opt_outs, silent_touches
from pipeline.stages.step import OptOutPending

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from pipeline.metrics import Metrics
    from pipeline.stage_io import Record, Table
    from pipeline.stages.deliveries import Deliveries
    from pipeline.stages.step import StageStep

    AskNumber = Callable[[str, str], Awaitable[tuple[str, ...]]]
    """(sender, lid) → hashes of the number; () while it is not told."""

ASK_AGAIN_S: Final = 600.0
"""Seconds until an account that is still hidden is asked for again; WAHA learns numbers as messages pass."""


class DeliveriesAgent(StageAgent):
    """Runs the stage over one partition of `touches.callbacks`."""

    def __init__(self, stage: Deliveries, metrics: Metrics, number: int, ask: AskNumber) -> None:
        super().__init__(stage, metrics)
        self._deliveries, self._number, self._ask = stage, number, ask
        self._table: Table | None = None
        self._wake: Callable[[], None] = lambda: None
        self._learnt: list[tuple[str, str, tuple[str, ...]]] = []
        """(lid, sender, hashes of the number), not committed yet."""
        self._heard = 0
        """How many of them the last step has heard."""
        self._asking: asyncio.Task[None] | None = None

    def open(self, table: Table, now_ms: int, wake: Callable[[], None]) -> None:
        """Take the partition over, and look once at what is due."""
        super().open(table, now_ms, wake)
        self._table, self._wake = table, wake
        self._show()
        self._look_for_hidden(table)

    def step(self, records: Sequence[Record], table: Table, now_ms: int) -> StageStep:
        """Return the stage's decision, also on what was learnt since."""
        self._heard = len(self._learnt)
        learnt = [learnt_number(lid, sender, people, now_ms) for lid, sender, people in self._learnt]
        return self._deliveries.step(records, table, now_ms, learnt)

    def committed(self, step: StageStep) -> None:
        """Count what `step` committed."""
        super().committed(step)
        del self._learnt[: self._heard]
        self._heard = 0
        self._show()
        if self._table is not None and OptOutPending() in step.counts:
            self._look_for_hidden(self._table)

    def _show(self) -> None:
        if self._table is not None:
            for channel, count in silent_touches(self._table).items():
                self._metrics.silent(self._number, channel.value, count)
            self._metrics.pending_opt_outs(self._number, pending_opt_outs(self._table))

    def _look_for_hidden(self, table: Table) -> None:
        """Ask for the numbers of accounts that hide theirs, if there are any: now, and again while there are."""
        if not hidden_accounts(table):
            return
        if self._asking is not None:
            self._asking.cancel()
        self._asking = asyncio.get_running_loop().create_task(self._ask_all(table))

    async def _ask_all(self, table: Table) -> None:
        while accounts := hidden_accounts(table):
            for sender, lid in accounts:
                if people := await self._ask(sender, lid):
                    self._learnt.append((lid, sender, people))
                    self._wake()
            await asyncio.sleep(ASK_AGAIN_S)

    async def close(self) -> None:
        """Take the partition's silent touches out of the metric: another worker shows them now."""
        if self._asking is not None:
            self._asking.cancel()
        self._metrics.forget_silent(self._number)
