"""A worker process for the engine's own tests: counts every input per key, and forwards it, through a fenced table.

Run as `python -m tests.harness.workers.engine worker` with its settings in ENGINE_TEST (JSON).
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.engine import table_opening, watchdog
from pipeline.engine.application import create_application
from pipeline.engine.config import EngineConfig
from pipeline.engine.ownership import AgentBinding
from pipeline.engine.table import FencedTable
from pipeline.stage_io import Changes, Output, Overlay

if TYPE_CHECKING:
    from collections.abc import Callable

    from pipeline.stage_io import Record, Table


@dataclass
class Counted:
    changes: Changes
    outputs: list[Output] = field(default_factory=list)
    wake_ms: int | None = None
    rest_ms: int = 0


class SlowTable(FencedTable):
    """A fenced table whose partition 0 takes a second to commit."""

    async def commit(self, changes: Changes, outputs: Sequence[Output], next_offset: int | None) -> None:
        if self.partition == 0 and outputs:
            await asyncio.sleep(1)
        await super().commit(changes, outputs, next_offset)


class CountAgent:
    """Counts inputs per key, numbers them, and forwards each to `counted` of the same partition."""

    def open(self, table: Table, now_ms: int, wake: Callable[[], None]) -> None:
        pass

    def step(self, records: Sequence[Record], table: Table, now_ms: int) -> Counted:
        del now_ms
        view, outputs = Overlay(table), []
        for record in records:
            assert record.key is not None
            count = int(view.get(record.key) or b"0") + 1
            view.put(record.key, str(count).encode())
            outputs.append(Output("counted", record.partition, record.key, b"%d:%s" % (count, record.value)))
        return Counted(view.changes, outputs)

    def committed(self, step: Counted) -> None:
        pass

    async def drain(self) -> None:
        pass

    def resume(self) -> None:
        pass

    async def close(self) -> None:
        pass


def _settings() -> dict[str, object]:
    return json.loads(os.environ["ENGINE_TEST"])


def create() -> object:
    s = _settings()
    config = EngineConfig(
        connection={"bootstrap_servers": s["servers"]},
        application=f"{s['prefix']}engine",
        prefix=str(s["prefix"]),
        folder=Path(str(s["folder"])),
    )
    binding = AgentBinding(topic="numbers", table="counts", make_agent=lambda _: CountAgent(), name="counter")
    if s.get("slow"):
        table_opening.FencedTable = SlowTable
    app = create_application(
        config,
        [binding],
        lambda: time.time_ns() // 1_000_000,
        instance_id=s.get("instance_id"),
        session_timeout_s=6.0,
        datadir=str(s["folder"]),
        web_enabled=False,
    )
    if s.get("breaks"):
        watchdog.SILENT_LOOKS = 5
        app.prepare = lambda: _break_later(app, str(s["breaks"]))
    return app


async def _break_later(app, what: str) -> None:
    app.add_future(_break(app, what))


async def _break(app, what: str) -> None:
    """End one background task of a running worker, as a bug in it would."""
    while not app.ownership.is_ready or not app.ownership.partitions():
        await asyncio.sleep(0.1)
    await asyncio.sleep(1)
    print(f"breaking {what}", flush=True)
    if what == "thread":
        app.consumer._thread.thread_loop.call_soon_threadsafe(app.consumer._thread.thread_loop.stop)
    elif what == "drain":
        for each in list(app._fetcher._futures):
            each.cancel()
    else:
        tasks = chain(app.consumer.tasks(), app._own_tasks(), app.ownership.tasks())
        task = next(task for name, task in tasks if name.startswith(what))
        task.get_loop().call_soon_threadsafe(task.cancel)


app = create() if "ENGINE_TEST" in os.environ else None

if __name__ == "__main__":
    app.main()
