"""Where an engine lives: its Kafka, its names, its folder; and how its tables are opened there."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from pipeline.engine.changelog import ChangelogReader
from pipeline.engine.ownership import OpenedTable
from pipeline.engine.store import RocksStore
from pipeline.engine.table import FencedTable, LastApplied
from pipeline.engine.topic_ids import NO_ID, topic_id_reader

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from aiokafka import TopicPartition

log = logging.getLogger(__name__)

OPEN_AT_ONCE = 16
"""Transactional producers opened side by side; more only queue at the broker."""


class TableLost(Exception):
    """A table knows less than was applied by it: its changelog is not what it was."""


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """One Kafka, one consumer group, one folder."""

    connection: Mapping[str, Any] = field(repr=False)
    """aiokafka's connection arguments (bootstrap_servers, security…)."""
    application: str
    """Consumer group, and prefix of the transactional ids."""
    prefix: str
    """Goes before every topic name."""
    folder: Path
    delete_retention_s: float = 86_400.0
    identities: dict[str, bytes] = field(default_factory=dict)
    """Of the topics that were opened, as Kafka knew them then."""

    partitions: Mapping[str, int] = field(default_factory=dict)
    """How many each topic has as far as the pipeline knows, by its name in Kafka; what came later is not read."""

    def knows(self, tp: TopicPartition) -> bool:
        """Return whether it is one of the partitions that the pipeline reads."""
        count = self.partitions.get(tp.topic)
        return count is None or tp.partition < count

    def topic_name(self, logical: str) -> str:
        """Return the name in Kafka."""
        return f"{self.prefix}{logical}"

    async def open(self, wanted: Mapping[TopicPartition, str]) -> Mapping[TopicPartition, OpenedTable]:
        """Fence every predecessor, then read the changelogs to their ends, which nobody moves any more."""
        tables = {tp: self._table(name, tp.partition) for tp, name in wanted.items()}
        gate = asyncio.Semaphore(OPEN_AT_ONCE)

        async def fence(table: FencedTable) -> None:
            async with gate:
                await table.fence()

        await asyncio.gather(*(fence(table) for table in tables.values()))
        await self._identify(tables)
        async with ChangelogReader(self.connection, delete_retention_s=self.delete_retention_s) as reader:
            await reader.restore(list(tables.values()))
            bounds = await reader.bounds(list(tables))
        changed = await self._changed_inputs(tables, bounds)
        await self._demand_memory({tp: table for tp, table in tables.items() if tp not in changed})
        return {tp: OpenedTable(table, *bounds[tp], changed.get(tp)) for tp, table in tables.items()}

    async def _identify(self, tables: Mapping[TopicPartition, FencedTable]) -> None:
        """Learn who the topics are that these tables read and are kept in."""
        topics = {tp.topic for tp in tables} | {table.changelog for table in tables.values()}
        async with topic_id_reader(self.connection) as kafka:
            found = await kafka.identities(topics)
        self.identities.update({topic: found.of(topic) for topic in topics})
        for tp, table in tables.items():
            table.store.identity, table.input_identity = found.of(table.changelog), found.of(tp.topic)

    async def _changed_inputs(
        self, tables: Mapping[TopicPartition, FencedTable], bounds: Mapping[TopicPartition, tuple[int, int]]
    ) -> dict[TopicPartition, str]:
        """Return why an input is not the one whose records were applied, by partition."""
        marks = {tp: mark for tp, table in tables.items() if (mark := table.last_applied) is not None}
        changed = {
            tp: "was deleted and created anew"
            for tp, mark in marks.items()
            if NO_ID not in (mark.identity, tables[tp].input_identity) and mark.identity != tables[tp].input_identity
        }
        kept = {
            tp: mark.offset
            for tp, mark in marks.items()
            if tp not in changed
            and bounds[tp][0] <= mark.offset < bounds[tp][1]
            and mark.offset < tables[tp].next_offset
        }
        if not kept:
            return changed
        async with ChangelogReader(self.connection, delete_retention_s=self.delete_retention_s) as reader:
            found = await reader.peek(kept)
        others = {
            tp
            for tp, row in found.items()
            if LastApplied.of(marks[tp].identity, row.offset, row.timestamp, row.key, row.value) != marks[tp]
        }
        return changed | dict.fromkeys(
            others, "has other records than those that were applied (unclean leader election?)"
        )

    async def _demand_memory(self, tables: Mapping[TopicPartition, FencedTable]) -> None:
        """Demand of each table that it knows all that was applied: the group was told only what was committed. Raises TableLost."""
        applied = await self._applied()
        for tp, table in tables.items():
            if table.next_offset < applied.get(tp, 0):
                raise TableLost(
                    f"{table.changelog}[{tp.partition}] knows {tp.topic} up to {table.next_offset}, but it was applied up to "
                    f"{applied[tp]}: the changelog was deleted, or has lost its end. Going on would send messages again. If "
                    f"that is accepted, stop all workers and forget what was applied: kafka-consumer-groups.sh "
                    f"--bootstrap-server {self.connection['bootstrap_servers'][0]} --delete-offsets "
                    f"--group {self.application} --topic {tp.topic}"
                )

    async def _applied(self) -> dict[TopicPartition, int]:
        """Return the offsets that the group was told; none when Kafka cannot say now."""
        admin = AIOKafkaAdminClient(**self.connection)
        await admin.start()
        try:
            found = await admin.list_consumer_group_offsets(self.application)
        except KafkaError as error:
            log.warning("what the group was told cannot be compared with the tables: %s", error)
            return {}
        finally:
            await admin.close()
        return {tp: each.offset for tp, each in found.items()}

    def _table(self, name: str, partition: int) -> FencedTable:
        return FencedTable(
            name,
            partition,
            RocksStore(self.folder / f"{name}-{partition}"),
            self.connection,
            application=self.application,
            topic_name=self.topic_name,
        )
