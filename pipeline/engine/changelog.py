"""Restores stores from their changelogs before any record is processed."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Any, Self

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import CorruptRecordException, UnsupportedCodecError

from pipeline.engine.store import NO_IDENTITY

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pipeline.engine.store import StorePosition
    from pipeline.engine.table import FencedTable

log = logging.getLogger(__name__)

FETCH_WAIT_MS = 50
PORTION_RECORDS = 20_000
"""Most records read before they are written to the stores; a whole fetch could be half a million."""
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
        await self._kafka.stop()

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
        behind = {
            tp: (start, bounds[tp][1])
            for tp, table in by_partition.items()
            if (start := self._start(table, *bounds[tp])) < bounds[tp][1]
        }
        if not behind:
            return
        self._kafka.assign(list(behind))
        for tp, (start, _) in behind.items():
            self._kafka.seek(tp, start)  # without an await before: aiokafka would reset the position meanwhile
        await self._read(by_partition, {tp: end for tp, (_, end) in behind.items()})

    def _start(self, table: FencedTable, begin: int, end: int) -> int:
        """Return the offset to read from; a store that is not a prefix of the changelog is wiped first."""
        position = table.store.position()
        if position is None:
            return begin
        reason = self._reason_to_wipe(position, table.store.identity, begin, end)
        if reason is None:
            return position.offset
        log.warning("store of %s[%d] is wiped and restored from Kafka: %s", table.changelog, table.partition, reason)
        table.store.wipe()
        return begin

    def _reason_to_wipe(self, known: StorePosition, identity: bytes, begin: int, end: int) -> str | None:
        if identity != NO_IDENTITY and known.identity not in (identity, NO_IDENTITY):
            return "it is a copy of another changelog (another cluster or prefix, or the topic was created anew)"
        # Tombstones older than delete.retention.ms may be gone from the log: such a store could keep deleted keys.
        if time.time() - known.written_s > self._delete_retention_s:  # noqa: TID251 - the age of a folder
            return "it is too old"
        if not begin <= known.offset <= end:
            return f"it ends at {known.offset}, the changelog reaches from {begin} to {end}"
        return None

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

    async def _fetched(self, waiting: Mapping[TopicPartition, int]) -> Mapping[TopicPartition, Sequence[Any]]:
        try:
            fetched: Mapping[TopicPartition, Sequence[Any]] = await self._kafka.getmany(
                *waiting, timeout_ms=200, max_records=PORTION_RECORDS
            )
        except (CorruptRecordException, UnsupportedCodecError) as error:
            # Only the pipeline writes here, so this is damage. Continuing without it would forget claims, and send again.
            named = [tp for tp in waiting if repr(tp) in str(error)]
            at = ", ".join([f"{tp.topic}[{tp.partition}]@{await self._kafka.position(tp)}" for tp in named])
            raise ChangelogDamaged(
                f"{at or error} cannot be read ({type(error).__name__}): the broker's copy of this changelog is damaged, "
                "and without it messages could be sent again; let the partition be led by an undamaged replica"
            ) from error
        return fetched

    async def _read(self, tables: Mapping[TopicPartition, FencedTable], ends: dict[TopicPartition, int]) -> None:
        waiting, records, progress_at, logged_at = dict(ends), 0, time.monotonic(), time.monotonic()
        while waiting:
            fetched = await self._fetched(waiting)
            for tp, rows in fetched.items():
                changes = [(r.key, r.value) for r in rows]
                await asyncio.to_thread(tables[tp].store.write, changes, rows[-1].offset + 1)
                records += len(rows)
            # Markers and aborted records occupy offsets, so the end is known from the position, not from the last record.
            for tp in [tp for tp, end in waiting.items() if await self._kafka.position(tp) >= end]:
                del waiting[tp]
                progress_at = time.monotonic()
            progress_at = time.monotonic() if fetched else progress_at
            if time.monotonic() - progress_at > STALL_S:
                raise ChangelogStalled(f"nothing for {STALL_S:.0f} s from {sorted(waiting)}")
            if time.monotonic() - logged_at > PROGRESS_EVERY_S:
                logged_at = time.monotonic()
                log.info("restoring: %d records read, %d partitions to go", records, len(waiting))
