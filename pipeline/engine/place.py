"""Where an engine lives: its Kafka, its names, its folder; and how its tables are opened there."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pipeline.engine.changelog import ChangelogReader
from pipeline.engine.ownership import OpenTable
from pipeline.engine.store import RocksStore
from pipeline.engine.table import FencedTable

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from aiokafka import TopicPartition

OPEN_AT_ONCE = 16
"""Transactional producers opened side by side; more only queue at the broker."""


@dataclass(frozen=True, slots=True)
class Place:
    """One Kafka, one consumer group, one folder."""

    connection: Mapping[str, Any] = field(repr=False)
    """aiokafka's connection arguments (bootstrap_servers, security…)."""
    application: str
    """Consumer group, and prefix of the transactional ids."""
    prefix: str
    """Goes before every topic name."""
    folder: Path
    delete_retention_s: float = 86_400.0

    def topic_name(self, logical: str) -> str:
        """Return the name in Kafka."""
        return f"{self.prefix}{logical}"

    async def open(self, wanted: Mapping[TopicPartition, str]) -> Mapping[TopicPartition, OpenTable]:
        """Fence every predecessor, then read the changelogs to their ends, which nobody moves any more."""
        tables = {tp: self._table(name, tp.partition) for tp, name in wanted.items()}
        gate = asyncio.Semaphore(OPEN_AT_ONCE)

        async def fence(table: FencedTable) -> None:
            async with gate:
                await table.fence()

        await asyncio.gather(*(fence(table) for table in tables.values()))
        async with ChangelogReader(self.connection, delete_retention_s=self.delete_retention_s) as reader:
            await reader.restore(list(tables.values()))
            bounds = await reader.bounds(list(tables))
        return {tp: OpenTable(table, *bounds[tp]) for tp, table in tables.items()}

    def _table(self, name: str, partition: int) -> FencedTable:
        return FencedTable(
            name,
            partition,
            RocksStore(self.folder / f"{name}-{partition}"),
            self.connection,
            application=self.application,
            topic_name=self.topic_name,
        )
