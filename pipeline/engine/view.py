"""Views: what every worker knows of small topics of one partition, read without a group and kept up to date."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Any, Final, Protocol

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import OffsetOutOfRangeError

from pipeline.engine.agent import FetchFirst, NotReady
from pipeline.engine.record_consumer import ReadRecord, RecordConsumer
from pipeline.engine.stop_client import stop_client
from pipeline.engine.store import reason_to_wipe
from pipeline.engine.topic_ids import read_topic_ids
from pipeline.stage_io import Record

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pipeline.engine.config import EngineConfig
    from pipeline.engine.store import StorePosition

log = logging.getLogger(__name__)

FETCH_WAIT_MS: Final = 500
POLL_MS: Final = 200
"""How long one look lasts at most. The marker of a transaction comes without a record: until then its end is not known."""
AGAIN_S: Final = 1.0
KEEP_S: Final = 3_600.0
"""How often a keeper notes how far it is although nothing came: what stands still for a day counts as too old."""
PORTION_RECORDS: Final = 2_000
"""Most records applied at once; between two portions other tasks have their turn."""


class ViewLost(Exception):
    """A topic is shorter than what was read of it: what it says now is not what it said."""


class Keeper(Protocol):
    """Keeps what one topic says."""

    def begin(self, identity: bytes) -> StorePosition | None:
        """Return how far it has read the topic, which has this identity now; None: it knows nothing."""

    def forget(self) -> None:
        """Forget everything: what is known is not of this topic."""

    def apply(self, records: Sequence[Record], next_offset: int) -> bool:
        """Take in records and the position behind them; return whether anything is known now that was not.

        Raises NotReady, or FetchFirst: it gets the same records again.
        """

    def skip(self, offset: int, error: str) -> None:
        """Note that what begins at `offset` cannot be read."""


class Views:
    """Reads the topics of all keepers, read committed, until it is cancelled."""

    def __init__(
        self,
        config: EngineConfig,
        keepers: Mapping[str, Keeper],
        *,
        on_move: Callable[[], None],
        on_identity: Callable[[str, bytes], None],
    ) -> None:
        """Read the topics of `keepers`, which has them by logical name. `on_move` is called when any knows more."""
        self._config = config
        self._keepers = {
            TopicPartition(config.topic_name(topic), 0): (topic, keeper) for topic, keeper in keepers.items()
        }
        self._on_move = on_move
        self._on_identity = on_identity
        self._positions: dict[TopicPartition, int] = {}
        self._moved = asyncio.Event()
        self._kafka: RecordConsumer | None = None
        self._started = asyncio.Event()
        self.is_read = False
        """Whether all topics have been read up to the end that they had at the start."""
        self.task: asyncio.Task[Any] | None = None
        self._kept_at = time.monotonic()

    async def run(self) -> None:
        """Read for ever. Raises ViewLost and KafkaError: the process must end."""
        self.task = asyncio.current_task()
        self._kafka = RecordConsumer(
            **self._config.connection,
            isolation_level="read_committed",
            enable_auto_commit=False,
            auto_offset_reset="none",
            fetch_max_wait_ms=FETCH_WAIT_MS,
            max_partition_fetch_bytes=4 * 1024 * 1024,
        )
        await self._kafka.start()
        try:
            ends = await self._begin(self._kafka)
            self._started.set()
            while True:
                await self._look(self._kafka)
                self.is_read = self.is_read or all(self._positions[tp] >= end for tp, end in ends.items())
        finally:
            await stop_client(self._kafka.stop())

    async def catch_up(self) -> None:
        """Wait until everything is read that is committed now."""
        await self._started.wait()
        assert self._kafka is not None
        ends = await self._kafka.end_offsets(list(self._keepers))
        while any(self._positions[tp] < end for tp, end in ends.items()):
            self._moved.clear()
            await self._moved.wait()

    async def _begin(self, kafka: RecordConsumer) -> Mapping[TopicPartition, int]:
        """Start where each keeper stands; return the ends as they are now."""
        identities = await self._identities()
        partitions = list(self._keepers)
        starts, ends = await kafka.beginning_offsets(partitions), await kafka.end_offsets(partitions)
        for tp, (_, keeper) in self._keepers.items():
            known = keeper.begin(identities[tp.topic])
            if known is not None and (
                why := reason_to_wipe(
                    known, identities[tp.topic], (starts[tp], ends[tp]), self._config.delete_retention_s
                )
            ):
                log.warning("the view of %s is read again from the beginning: %s", tp.topic, why)
                keeper.forget()
                known = None
            self._positions[tp] = starts[tp] if known is None else known.offset
        kafka.assign(partitions)
        for tp, position in self._positions.items():
            kafka.seek(tp, position)  # without an await before: aiokafka would reset the position meanwhile
        return ends  # type: ignore[no-any-return]

    async def _identities(self) -> dict[str, bytes]:
        admin = AIOKafkaAdminClient(**self._config.connection)
        await admin.start()
        try:
            topics = [tp.topic for tp in self._keepers]
            found = await read_topic_ids(admin._client, topics)  # noqa: SLF001 - aiokafka has no request for topic ids
        finally:
            await stop_client(admin.close())
        identities = {topic: found.identity(topic) for topic in topics}
        for topic, identity in identities.items():
            self._on_identity(topic, identity)
        return identities

    async def _look(self, kafka: RecordConsumer) -> None:
        try:
            fetched = await kafka.getmany(timeout_ms=POLL_MS, max_records=PORTION_RECORDS)
        except OffsetOutOfRangeError as error:
            raise ViewLost(
                f"a topic is shorter than what was read of it (deleted, created anew, or truncated?): {error}"
            ) from error
        has_moved, is_time = False, time.monotonic() - self._kept_at > KEEP_S
        if is_time:
            self._kept_at = time.monotonic()
        for tp, (topic, keeper) in self._keepers.items():
            rows, position = fetched.get(tp, ()), await kafka.position(tp)
            if rows or position != self._positions[tp] or is_time:
                for row in rows:
                    if row.flaw is not None:
                        keeper.skip(row.offset, row.flaw)
                readable = [_record(topic, row) for row in rows if row.flaw is None]
                has_moved |= await self._apply(tp, readable, position)
        self._moved.set()
        if has_moved:
            self._on_move()

    async def _apply(self, tp: TopicPartition, records: Sequence[Record], position: int) -> bool:
        """Let the keeper take records in, as soon as it can; return whether it knows more."""
        topic, keeper = self._keepers[tp]
        is_told = False
        while True:
            try:
                has_moved = keeper.apply(records, position)
            except NotReady as error:
                why = await asyncio.to_thread(error.fetch) if isinstance(error, FetchFirst) else str(error)
                if why is None:
                    continue
                if not is_told:
                    log.warning("%s is read no further for now: %s", topic, why)
                is_told = True
                await asyncio.sleep(AGAIN_S)
            else:
                self._positions[tp] = position
                await asyncio.sleep(0)
                return has_moved


def _record(topic: str, row: ReadRecord) -> Record:
    return Record(topic, row.partition, row.offset, row.timestamp, row.key, row.value, row.headers)
