"""Takes partitions over after a rebalance, in the order that loses no record: open tables, seek, resume."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

from faust.tables import manager, recovery
from mode import Service

if TYPE_CHECKING:
    from pipeline.engine.app_protocol import AppProtocol


class Recovery(recovery.Recovery):
    """Faust's recovery service, for the engine's tables instead of faust's."""

    running: asyncio.Task[Any] | None = None
    """The task that takes partitions over; it runs as long as the worker."""

    @Service.task
    async def _restart_recovery(self) -> None:
        self.running = asyncio.current_task()
        while not self.should_stop:
            if await self.wait_for_stopped(self.signal_recovery_start):  # type: ignore[arg-type]
                return
            self.signal_recovery_start.clear()
            try:
                await self._take_over(self._generation_id)
            except Exception as error:  # noqa: BLE001 - faust would end this task and run on, consuming nothing
                cast("AppProtocol", self.app).die(error)

    async def _take_over(self, generation: int) -> None:
        ownership = cast("AppProtocol", self.app).ownership
        app: Any = self.app
        consumer: Any = app.consumer
        assignment = consumer.assignment()
        config = cast("AppProtocol", self.app).engine_config
        await ownership.take(tp for tp in assignment if config.knows(tp))
        if self.signal_recovery_start.is_set() or app.consumer_generation_id != generation:
            return  # rebalancing again
        # Faust resumes before it seeks: records fetched in between are lost (faust issue 596).
        await consumer.perform_seek()
        await app.on_rebalance_complete.send()
        self.completed.set()
        app.flow_control.resume()
        consumer.resume_partitions(assignment)
        consumer.resume_flow()
        await app._fetcher.maybe_start()  # noqa: SLF001
        self.tables.on_actives_ready()
        self.tables.on_standbys_ready()
        app.on_rebalance_end()
        self.log.info("ready: %d partitions", len(ownership.partitions()))


class TableManager(manager.TableManager):
    """Faust's table manager, without faust's tables."""

    @property
    def recovery(self) -> Recovery:
        """The recovery service."""
        if self._recovery is None:
            self._recovery = Recovery(self.app, self, beacon=self.beacon, loop=self.loop)
        return cast("Recovery", self._recovery)

    async def on_start(self) -> None:
        """Start without faust's sleep of one second."""
        await self._update_channels()
        await self.recovery.start()

    async def on_stop(self) -> None:
        """Stop fetching, then close every partition."""
        await super().on_stop()
        await cast("AppProtocol", self.app).ownership.close()
