"""The fenced table of one owned partition: state, outputs and input position change together, or not at all."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from pipeline.engine.producer import FencedProducer

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import Any

    from pipeline.engine.store import RocksStore
    from pipeline.log import Changes, Output

log = logging.getLogger(__name__)

INPUT_POSITION = b"\x00\x00input"
"""Not a state key: the next input offset to apply, 8 bytes big-endian."""


class FencedTable:
    """One partition's committed state, with the producer that fences it and the changelog that keeps it."""

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
        self._producer = FencedProducer(f"{application}-{name}-{partition}", connection)

    async def fence(self) -> None:
        """Fence whoever held the partition before; only then is the end of the changelog final."""
        await self._producer.open()

    @property
    def next_offset(self) -> int:
        """The next input offset to apply; 0 before the first commit."""
        value = self.store.get(INPUT_POSITION)
        return 0 if value is None else int.from_bytes(value, "big")

    def get(self, key: bytes) -> bytes | None:
        """Return the committed value under `key`, or None."""
        return self.store.get(key)

    def scan(self, start: bytes, end: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Yield committed (key, value) with `start` <= key < `end`, in key order."""
        return self.store.scan(start, end)

    async def commit(self, changes: Changes, outputs: Sequence[Output], next_offset: int | None) -> None:
        """Commit `changes`, `outputs` and the input position as one transaction; then, and only then, the store.

        Raises CommitFailed: the outcome is unknown, this table is spent, the process must end.
        """
        rows = list(changes.items())
        if next_offset is not None:
            rows.append((INPUT_POSITION, next_offset.to_bytes(8, "big")))
        if not rows and not outputs:
            return
        mine = [(self.changelog, self.partition, key, value, ()) for key, value in rows]
        theirs = [(self._topic_name(o.topic), o.partition, o.key, o.value, o.headers) for o in outputs]
        offsets = await self._producer.commit([*mine, *theirs])
        if rows:
            self.store.write(rows, offsets[self.changelog, self.partition])

    def tasks(self) -> Iterator[tuple[str, asyncio.Future[Any] | None]]:
        """Yield the background tasks of the producer."""
        return self._producer.tasks()

    async def close(self) -> None:
        """Close producer and store."""
        await self._producer.close()
        self.store.close()
