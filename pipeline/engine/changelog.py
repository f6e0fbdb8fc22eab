"""Restores stores from their changelogs before any record is processed."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Any, Self

from aiokafka import AIOKafkaConsumer, TopicPartition

from pipeline.engine.committed_fetch import CommittedFetch
from pipeline.engine.stop_client import stop_client
from pipeline.engine.store import reason_to_wipe
from pipeline.stage_io import TableFailed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pipeline.engine.batch_decoder import PartitionRecords
    from pipeline.engine.store import RocksStore
    from pipeline.engine.table import FencedTable

    Bounds = Mapping[TopicPartition, int]

log = logging.getLogger(__name__)

FETCH_WAIT_MS = 50
BULK_OFFSETS = 50_000
"""A store that is further behind is written without RocksDB's own log."""
STALL_S = 30.0
PEEK_S = 5.0
PROGRESS_EVERY_S = 5.0


class ChangelogDamaged(Exception):
    """A changelog cannot be read, so its table would be incomplete."""


class ChangelogStalled(Exception):
    """A changelog returned no record for 30 seconds although its end is not reached."""


class ChangelogReader:
    """A consumer without a group that reads changelogs `read_committed`, and the bounds of topics.

    It serves one take-over: assign() may follow assign(), but after unsubscribe() aiokafka neither continues nor stops cleanly.
    """

    def __init__(self, connection: Mapping[str, Any], *, delete_retention_s: float) -> None:
        self._delete_retention_s = delete_retention_s
        self._kafka = AIOKafkaConsumer(
            **connection,
            isolation_level="read_committed",
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            fetch_max_wait_ms=FETCH_WAIT_MS,
            max_partition_fetch_bytes=4 * 1024 * 1024,
        )

    async def __aenter__(self) -> Self:
        await self._kafka.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await stop_client(self._kafka.stop())

    async def bounds(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, tuple[int, int]]:
        """Return (first offset, read-committed end) of each partition."""
        begin = await self._kafka.beginning_offsets(partitions)
        end = await self._kafka.end_offsets(partitions)
        return {tp: (begin[tp], end[tp]) for tp in partitions}

    async def restore(self, tables: Sequence[FencedTable]) -> None:
        """Bring the store of each (already fenced) table up to the end of its changelog.

        Raises ChangelogStalled.
        """
        by_partition = {TopicPartition(t.changelog, t.partition): t for t in tables}
        bounds = await self.bounds(list(by_partition))
        starts = {tp: self._start(table, *bounds[tp]) for tp, table in by_partition.items()}
        ends = {tp: end for tp, (_, end) in bounds.items()}
        if any(starts[tp] < end for tp, end in ends.items()):
            await self._read(by_partition, starts, ends)

    def _start(self, table: FencedTable, begin: int, end: int) -> int:
        """Return the offset to read from; a store that is not a prefix of the changelog is wiped first."""
        position = table.store.position()
        if position is None:
            return begin
        reason = reason_to_wipe(position, table.store.identity, (begin, end), self._delete_retention_s)
        if reason is None:
            return position.offset
        log.warning("store of %s[%d] is wiped and restored from Kafka: %s", table.changelog, table.partition, reason)
        table.store.wipe()
        return begin

    async def records_at(self, wanted: Mapping[TopicPartition, int]) -> dict[TopicPartition, Any]:
        """Return the record at each of these offsets, which must be in their topics; those not read within 5 s are left out."""
        self._kafka.assign(list(wanted))
        for tp, offset in wanted.items():
            self._kafka.seek(tp, offset)
        found: dict[TopicPartition, Any] = {}
        deadline = time.monotonic() + PEEK_S
        while len(found) < len(wanted) and time.monotonic() < deadline:
            fetched = await self._kafka.getmany(*(set(wanted) - set(found)), timeout_ms=200)
            found |= {tp: rows[0] for tp, rows in fetched.items() if rows}
        return found

    async def _read(self, tables: Mapping[TopicPartition, FencedTable], starts: Bounds, ends: Bounds) -> None:
        fetch = CommittedFetch(self._kafka._client)  # noqa: SLF001 - its connections, its metadata
        waiting = {tp: start for tp, start in starts.items() if start < ends[tp]}
        bulk = {tp for tp, start in waiting.items() if ends[tp] - start > BULK_OFFSETS}
        progress = _Progress()
        under_way = asyncio.create_task(fetch.fetch(dict(waiting)))
        while waiting:
            fetched = await under_way
            waiting.update({tp: records.end() for tp, records in fetched.items()})
            finished = [tp for tp, offset in waiting.items() if offset >= ends[tp]]
            for tp in finished:
                del waiting[tp]
            # The next portion is on its way while this one is written.
            under_way = asyncio.create_task(fetch.fetch(dict(waiting))) if waiting else under_way
            try:
                for tp, records in fetched.items():
                    progress.records += await asyncio.to_thread(
                        _load, tables[tp].store, tp, records, is_bulk=tp in bulk
                    )
                for tp in bulk.intersection(finished):
                    await asyncio.to_thread(tables[tp].store.settle)
                progress.look(waiting, has_moved=bool(fetched))
            except BaseException:
                under_way.cancel()
                raise


class _Progress:
    """Logs how far a restore is, and ends one that stands still."""

    def __init__(self) -> None:
        self.records = 0
        self._moved_at = self._logged_at = time.monotonic()

    def look(self, waiting: Mapping[TopicPartition, int], *, has_moved: bool) -> None:
        """Note whether anything was read. Raises ChangelogStalled."""
        now = time.monotonic()
        self._moved_at = now if has_moved else self._moved_at
        if now - self._moved_at > STALL_S:
            raise ChangelogStalled(f"nothing for {STALL_S:.0f} s from {sorted(waiting)}")
        if now - self._logged_at > PROGRESS_EVERY_S:
            self._logged_at = now
            log.info("restoring: %d records read, %d partitions to go", self.records, len(waiting))


def _load(store: RocksStore, tp: TopicPartition, records: PartitionRecords, *, is_bulk: bool) -> int:
    """Apply the batches of one fetch, and return their number of offsets. Raises ChangelogDamaged, StoreFailed."""
    start = records.next_fetch_offset
    try:
        store.load(records.committed_batches(), is_bulk=is_bulk)
    except TableFailed:
        raise
    except Exception as error:
        # Only the pipeline writes here, so this is damage. Continuing without it would forget claims, and send again.
        raise ChangelogDamaged(
            f"{tp.topic}[{tp.partition}]@{records.next_fetch_offset} cannot be read ({type(error).__name__}): the broker's copy "
            "of this changelog is damaged, and without it messages could be sent again; let the partition be led by an "
            "undamaged replica"
        ) from error
    return records.next_fetch_offset - start
