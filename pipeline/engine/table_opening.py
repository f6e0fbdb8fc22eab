"""Opens the tables of partitions just taken over: fences, restores, and compares them with their input topics."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from pipeline.engine.changelog import ChangelogReader
from pipeline.engine.ownership import OpenedTable
from pipeline.engine.stop_client import stop_client
from pipeline.engine.store import RocksStore
from pipeline.engine.table import FencedTable, LastApplied
from pipeline.engine.topic_ids import NO_ID, read_topic_ids

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiokafka import TopicPartition

    from pipeline.engine.config import EngineConfig

    Bounds = Mapping[TopicPartition, tuple[int, int]]

log = logging.getLogger(__name__)

OPEN_AT_ONCE = 16
"""Transactional producers opened concurrently; more would only queue at the broker."""


class TableLost(Exception):
    """A table knows fewer applied records than its group has committed: the changelog has lost its end."""


class KafkaTables:
    """Opens fenced tables on Kafka, with their stores in the data folder."""

    def __init__(self, config: EngineConfig) -> None:
        self._config = config
        self.identities: dict[str, bytes] = {}
        """Identity of each topic at the time it was opened (see `topic_ids`)."""

    def topic_name(self, logical: str) -> str:
        """Return the name of an input topic in Kafka."""
        return self._config.topic_name(logical)

    async def open(self, wanted: Mapping[TopicPartition, str]) -> Mapping[TopicPartition, OpenedTable]:
        """Fence every predecessor, then restore from the changelogs, whose ends are final from then on.

        `wanted` has the table's name by input partition. Raises TableLost, ChangelogStalled, ChangelogDamaged, KafkaError.
        """
        tables = {tp: self._table(name, tp.partition) for tp, name in wanted.items()}
        await _fence(tables)
        admin = AIOKafkaAdminClient(**self._config.connection)
        await admin.start()
        try:
            await self._identify(admin, tables)
            async with ChangelogReader(
                self._config.connection, delete_retention_s=self._config.delete_retention_s
            ) as reader:
                await reader.restore(list(tables.values()))
                bounds = await reader.bounds(list(tables))
                changed = await _changed_inputs(reader, tables, bounds)
            await self._check_complete(admin, {tp: table for tp, table in tables.items() if tp not in changed})
        finally:
            await stop_client(admin.close())
        return {tp: OpenedTable(table, *bounds[tp], changed.get(tp)) for tp, table in tables.items()}

    async def _identify(self, admin: AIOKafkaAdminClient, tables: Mapping[TopicPartition, FencedTable]) -> None:
        """Give each table the identities of its input topic and its changelog."""
        topics = {tp.topic for tp in tables} | {table.changelog for table in tables.values()}
        found = await read_topic_ids(admin._client, topics)  # noqa: SLF001 - aiokafka has no request for topic ids
        self.identities.update({topic: found.identity(topic) for topic in topics})
        for tp, table in tables.items():
            table.store.identity, table.input_identity = found.identity(table.changelog), found.identity(tp.topic)

    async def _check_complete(self, admin: AIOKafkaAdminClient, tables: Mapping[TopicPartition, FencedTable]) -> None:
        """Check that each table has every record whose offset the group has committed. Raises TableLost."""
        committed = await self._group_offsets(admin)
        for tp, table in tables.items():
            if table.next_offset < committed.get(tp, 0):
                raise TableLost(
                    f"{table.changelog}[{tp.partition}] knows {tp.topic} up to {table.next_offset}, but it was applied up to "
                    f"{committed[tp]}: the changelog was deleted, or has lost its end. Going on would send messages again. If "
                    f"that is accepted, stop all workers and forget what was applied: kafka-consumer-groups.sh "
                    f"--bootstrap-server {self._config.connection['bootstrap_servers'][0]} --delete-offsets "
                    f"--group {self._config.application} --topic {tp.topic}"
                )

    async def _group_offsets(self, admin: AIOKafkaAdminClient) -> dict[TopicPartition, int]:
        """Return the committed offsets of the group; none when Kafka cannot answer now."""
        try:
            found = await admin.list_consumer_group_offsets(self._config.application)
        except KafkaError as error:
            log.warning("the group's committed offsets cannot be compared with the tables: %s", error)
            return {}
        return {tp: each.offset for tp, each in found.items()}

    def _table(self, name: str, partition: int) -> FencedTable:
        return FencedTable(
            name,
            partition,
            RocksStore(self._config.folder / f"{name}-{partition}"),
            self._config.connection,
            application=self._config.application,
            topic_name=self._config.topic_name,
        )


async def _fence(tables: Mapping[TopicPartition, FencedTable]) -> None:
    gate = asyncio.Semaphore(OPEN_AT_ONCE)

    async def fence(table: FencedTable) -> None:
        async with gate:
            await table.fence()

    await asyncio.gather(*(fence(table) for table in tables.values()))


async def _changed_inputs(
    reader: ChangelogReader, tables: Mapping[TopicPartition, FencedTable], bounds: Bounds
) -> dict[TopicPartition, str]:
    """Return how an input differs from the one whose records were applied, by partition."""
    applied = {tp: last for tp, table in tables.items() if (last := table.last_applied) is not None}
    changed = {
        tp: "was deleted and created anew"
        for tp, last in applied.items()
        if NO_ID not in (last.identity, tables[tp].input_identity) and last.identity != tables[tp].input_identity
    }
    still_there = {
        tp: last.offset
        for tp, last in applied.items()
        if tp not in changed and bounds[tp][0] <= last.offset < bounds[tp][1] and last.offset < tables[tp].next_offset
    }
    if not still_there:
        return changed
    found = await reader.records_at(still_there)
    others = {
        tp
        for tp, row in found.items()
        if LastApplied.of(applied[tp].identity, row.offset, row.timestamp, row.key, row.value) != applied[tp]
    }
    return changed | dict.fromkeys(others, "has other records than those that were applied (unclean leader election?)")
