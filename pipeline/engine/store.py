"""The local copy of one fenced table, in RocksDB: what was committed, and up to where of its changelog."""

from __future__ import annotations

import shutil
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from rocksdict import (
    AccessType,
    BlockBasedOptions,
    Cache,
    DBCompressionType,
    Options,
    Rdict,
    WriteBatch,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

MIB = 1024 * 1024
_CACHE = Cache(64 * MIB)
"""Blocks read, of all stores of the process."""
CHANGELOG_POSITION = b"\x00\x00changelog"
"""Not a state key: the changelog offset up to which this store is complete, and when it was written."""


class RocksStore:
    """An ordered key-value store in one folder; survives the process, not the loss of its folder."""

    def __init__(self, path: Path) -> None:
        """Open (or create) the store in `path`; a folder RocksDB cannot open is wiped: the changelog has it all."""
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._db = Rdict(str(path), _options(), access_type=AccessType.read_write())
        except Exception:  # noqa: BLE001 - rocksdict raises bare Exception for a damaged folder
            shutil.rmtree(path, ignore_errors=True)
            self._db = Rdict(str(path), _options(), access_type=AccessType.read_write())

    def get(self, key: bytes) -> bytes | None:
        """Return the value under `key`, or None."""
        value: bytes | None = self._db.get(key)
        return value

    def scan(self, start: bytes, end: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Yield (key, value) with `start` <= key < `end`, in key order."""
        rows = self._db.iter()
        rows.seek(start)
        while rows.valid():
            key: bytes = rows.key()
            if key >= end:
                return
            yield key, rows.value()
            rows.next()

    def write(self, changes: Iterable[tuple[bytes, bytes | None]], position: int) -> None:
        """Apply changes, and the changelog position behind them, atomically."""
        batch = WriteBatch(raw_mode=True)
        for key, value in changes:
            if value is None:
                batch.delete(key)
            else:
                batch.put(key, value)
        batch.put(CHANGELOG_POSITION, position.to_bytes(8, "big") + _now_s().to_bytes(8, "big"))
        self._db.write(batch)

    def position(self) -> tuple[int, int] | None:
        """Return (changelog offset up to which the store is complete, epoch seconds of that write), or None if empty."""
        value = self.get(CHANGELOG_POSITION)
        return None if value is None else (int.from_bytes(value[:8], "big"), int.from_bytes(value[8:], "big"))

    def wipe(self) -> None:
        """Forget everything."""
        self.close()
        shutil.rmtree(self._path, ignore_errors=True)
        self._db = Rdict(str(self._path), _options(), access_type=AccessType.read_write())

    def close(self) -> None:
        """Close the store; its folder stays."""
        with suppress(Exception):
            self._db.close()


def _now_s() -> int:
    return int(time.time())  # noqa: TID251 - the age of this folder, not a decision of a stage


def _options() -> Options:
    # Dozens of stores share one process: small buffers each, one cache, and no index or filter blocks in the small cache.
    # (RocksDB's WriteBufferManager is no way out: idle stores use it up, and then a busy one flushes at every write.)
    options = Options(raw_mode=True)
    options.create_if_missing(True)  # noqa: FBT003 - rocksdict's signature
    options.set_write_buffer_size(4 * MIB)
    options.set_max_write_buffer_number(2)
    options.set_max_open_files(64)
    options.set_keep_log_file_num(1)
    options.set_compression_type(DBCompressionType.none())
    blocks = BlockBasedOptions()
    blocks.set_block_cache(_CACHE)
    blocks.set_block_size(16 * 1024)
    blocks.set_bloom_filter(10, False)  # noqa: FBT003
    blocks.set_cache_index_and_filter_blocks(False)
    options.set_block_based_table_factory(blocks)
    return options
