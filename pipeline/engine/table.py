"""The fenced table of one owned partition: state, outputs and input position are committed together, or not at all."""

from __future__ import annotations

import logging
import struct
import zlib
from typing import TYPE_CHECKING, NamedTuple

from pipeline.engine.producer import FencedProducer
from pipeline.engine.store import NO_IDENTITY
from pipeline.stage_io import LOCAL

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import Any

    from pipeline.engine.store import RocksStore
    from pipeline.stage_io import Changes, Output, Record

log = logging.getLogger(__name__)

INPUT_POSITION = b"\x00\x00input"
"""Not a state key. Value: the next input offset to apply, 8 bytes big-endian."""
LAST_APPLIED = b"\x00\x00mark"
"""Not a state key. Value: a LastApplied. Separate from INPUT_POSITION, so that older versions can read that one."""


class LastApplied(NamedTuple):
    """The last applied input record, and the topic it is from."""

    identity: bytes
    """Identity of the topic, 16 bytes; zeros if Kafka has no topic ids (before 2.8)."""
    offset: int
    timestamp_ms: int
    checksum: int
    """CRC-32 of key and value."""

    @classmethod
    def of(cls, identity: bytes, offset: int, timestamp_ms: int, key: bytes | None, value: bytes | None) -> LastApplied:
        """Return the values of a record."""
        return cls(identity, offset, timestamp_ms, zlib.crc32(value or b"", zlib.crc32(key or b"")))

    def pack(self) -> bytes:
        """Return the table's value, 36 bytes."""
        return self.identity + struct.pack(">qqI", *self[1:])

    @classmethod
    def unpack(cls, value: bytes) -> LastApplied:
        """Return the values of a table's row."""
        return cls(value[:16], *struct.unpack(">qqI", value[16:]))


class FencedTable:
    """The committed state of one partition, its changelog, and the producer that fences earlier owners."""

    def __init__(
        self,
        name: str,
        partition: int,
        store: RocksStore,
        connection: Mapping[str, Any],
        *,
        application: str,
        topic_name: Callable[[str], str],
    ) -> None:
        self.partition = partition
        self.store = store
        self._topic_name = topic_name
        self.changelog = topic_name(f"{name}-changelog")
        self.input_identity = NO_IDENTITY
        """Identity of the input topic as it exists now, 16 bytes."""
        self._last: Record | None = None
        self._producer = FencedProducer(f"{application}-{name}-{partition}", connection)

    async def fence(self) -> None:
        """Fence the previous owner of the partition; only then is the end of the changelog final."""
        await self._producer.open()

    @property
    def next_offset(self) -> int:
        """The next input offset to apply; 0 before the first commit."""
        value = self.store.get(INPUT_POSITION)
        return 0 if value is None else int.from_bytes(value, "big")

    @property
    def last_applied(self) -> LastApplied | None:
        """The last applied record; None before the first, and in a table of an earlier version."""
        value = self.store.get(LAST_APPLIED)
        return None if value is None else LastApplied.unpack(value)

    def note(self, last: Record) -> None:
        """Remember the last input record that the next commit applies."""
        self._last = last

    def get(self, key: bytes) -> bytes | None:
        """Return the committed value under `key`, or None."""
        return self.store.get(key)

    def scan(self, start: bytes, end: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Yield committed (key, value) with `start` <= key < `end`, in key order."""
        return self.store.scan(start, end)

    async def commit(self, changes: Changes, outputs: Sequence[Output], next_offset: int | None) -> None:
        """Commit `changes`, `outputs` and the input position as one transaction, then write the store.

        Local rows (`stage_io.LOCAL`) are written to the store only.

        Raises CommitFailed: the outcome is unknown, this table cannot be used any more, and the process must end.
        """
        local = [(key, value) for key, value in changes.items() if key[:1] == LOCAL]
        rows = [(key, value) for key, value in changes.items() if key[:1] != LOCAL] if local else list(changes.items())
        if next_offset is not None:
            rows.append((INPUT_POSITION, next_offset.to_bytes(8, "big")))
            if (last := self._last) is not None:
                applied = LastApplied.of(self.input_identity, last.offset, last.timestamp_ms, last.key, last.value)
                rows.append((LAST_APPLIED, applied.pack()))
        if not rows and not outputs:
            self._write_local(local)
            return
        state = [(self.changelog, self.partition, key, value, ()) for key, value in rows]
        produced = [(self._topic_name(o.topic), o.partition, o.key, o.value, o.headers) for o in outputs]
        offsets = await self._producer.commit([*state, *produced])
        if rows:
            self.store.write([*rows, *local], offsets[self.changelog, self.partition])
        else:
            self._write_local(local)

    def _write_local(self, rows: Sequence[tuple[bytes, bytes | None]]) -> None:
        """Write rows that no changelog has; the store stays at its position."""
        position = self.store.position() if rows else None
        if position is not None:
            self.store.write(rows, position.offset)

    def tasks(self) -> Iterator[tuple[str, asyncio.Future[Any] | None]]:
        """Yield (name for the log, task) of the producer's background tasks."""
        return self._producer.tasks()

    async def close(self) -> None:
        """Close producer and store."""
        await self._producer.close()
        self.store.close()
