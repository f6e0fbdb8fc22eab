"""Suppressions as commands read and write them: `touches.suppressions`."""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.flow import SUPPRESSIONS
from pipeline.kafka.topic import TopicSource, read_topic
from pipeline.records.control import decode_suppression

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping

    from pipeline.domain.suppression import Suppression
    from pipeline.engine.record_consumer import ReadRecord
    from pipeline.kafka.cluster import Cluster
    from pipeline.records.control import ReadValue


@dataclass(frozen=True, slots=True)
class PlacedEntry:
    """An entry and where it stands in `touches.suppressions`."""

    offset: int
    entry: Suppression


class SuppressionLog:
    """Reads `touches.suppressions`. Reading raises CommandFailed when Kafka or the topic is away."""

    def __init__(
        self, cluster: Cluster, read: ReadValue, complain: Callable[[str], None], whom: bytes | None = None
    ) -> None:
        """Read entries for `whom` (the middle part of their key), or all; `complain` gets a line per record that is none."""
        self._cluster, self._read, self._complain, self._whom = cluster, read, complain, whom

    async def offsets(self) -> dict[bytes, int]:
        """Return where the latest entry of each key stands, lifted ones left out."""
        latest: dict[bytes, int] = {}

        def take(record: ReadRecord) -> None:
            if record.value is None:
                latest.pop(record.key or b"", None)
            elif self._is_wanted(record):
                self._placed(record)
                latest[record.key or b""] = record.offset

        async with aclosing(read_topic(self._source(take, self._complain))) as nothing:
            async for _ in nothing:
                pass
        return latest

    async def entries(self) -> AsyncGenerator[PlacedEntry, None]:
        """Yield the latest entry of each key by offset. They are read twice, so that only keys are kept in memory."""
        last = await self.offsets()

        def take(record: ReadRecord) -> PlacedEntry | None:
            return self._placed(record) if last.get(record.key or b"") == record.offset else None

        async with aclosing(read_topic(self._source(take, lambda _: None))) as records:
            async for placed in records:
                yield placed

    def _is_wanted(self, record: ReadRecord) -> bool:
        return self._whom is None or _whom_of(record.key or b"") == self._whom

    def _placed(self, record: ReadRecord) -> PlacedEntry:
        entry = decode_suppression(self._read, record.key, record.value, record.timestamp)
        return PlacedEntry(record.offset, entry)

    def _source(
        self, take: Callable[[ReadRecord], PlacedEntry | None], complain: Callable[[str], None]
    ) -> TopicSource[PlacedEntry]:
        return TopicSource(self._cluster, SUPPRESSIONS, take, lambda _: 0, complain)


def _whom_of(key: bytes) -> bytes:
    return key.partition(b":")[2].rpartition(b":")[0]


def tombstone_headers(headers: Mapping[str, str | None]) -> list[tuple[str, bytes]]:
    """Return who lifted an entry, and why, as the headers of its null."""
    return [(name, value.encode()) for name, value in headers.items() if value is not None]
