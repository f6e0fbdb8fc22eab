"""The copy's folder: locked by one process, and in it the rows in RocksDB with the positions they correspond to."""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from rocksdict import BlockBasedOptions, Cache, DBCompressionType, Options, ReadOptions, WriteBatch

from pipeline.engine.data_folder import FolderInUse
from pipeline.engine.store import MIB, RocksStore
from pipeline.lookup import keys

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

LOCK: Final = "lock"
STORE: Final = "store"
_CACHE_BYTES: Final = 128 * MIB


class CopyFolder:
    """Holds the lock of a folder until it is closed, or the process ends."""

    def __init__(self, path: Path) -> None:
        """Make and lock the folder, and close it to others: its rows have addresses. Raises FolderInUse, OSError."""
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        with suppress(PermissionError):  # a folder of another user that is writable here
            path.chmod(0o700)
        self.path = path
        self._lock = os.open(path / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            raise FolderInUse(str(path)) from None

    def open(self) -> CopyStore:
        """Return the store in it. Raises StoreFailed."""
        return CopyStore(self.path / STORE)

    def close(self) -> None:
        """Release the lock."""
        os.close(self._lock)


class CopyStore(RocksStore):
    """The rows. A damaged folder is wiped: the topics have all that is in it."""

    def __init__(self, path: Path) -> None:
        """Open or create the store. Raises StoreFailed."""
        super().__init__(path, _options)

    def rows(self, prefix: bytes, start: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        """Yield (key behind `prefix`, value) of the rows with this prefix, from `start` on. Raises StoreFailed."""
        reading = ReadOptions()
        reading.set_iterate_upper_bound(keys.after(prefix))  # what was deleted behind it is not walked through
        with self._marking_damage():
            found = self._db.iter(reading)
            found.seek(prefix + start)
        size = len(prefix)
        try:
            while found.valid():
                yield found.key()[size:], found.value()
                found.next()
            with self._marking_damage():
                found.status()  # a damaged block ends a scan like the end of the table
        finally:
            del found

    def apply(self, changes: Mapping[bytes, bytes | None]) -> None:
        """Write `changes` (None deletes) as one: after a kill at any moment all of them are there, or none. Raises StoreFailed."""
        batch = WriteBatch(raw_mode=True)
        for key, value in changes.items():
            if value is None:
                batch.delete(key)
            else:
                batch.put(key, value)
        with self._marking_damage():
            self._db.write(batch)


def _options() -> Options:
    options = Options(raw_mode=True)
    options.create_if_missing(True)  # noqa: FBT003 - rocksdict's signature
    options.set_write_buffer_size(16 * MIB)
    options.set_max_write_buffer_number(3)
    options.set_max_open_files(256)
    options.set_keep_log_file_num(1)
    options.set_max_background_jobs(2)
    options.set_compression_type(DBCompressionType.lz4())
    options.set_bottommost_compression_type(DBCompressionType.zstd())
    options.set_level_compaction_dynamic_level_bytes(True)
    # A touch moves from one state's list to the next: what it leaves behind must not be walked through for long.
    options.add_compact_on_deletion_collector_factory(4_096, 1_024, 0.0)
    blocks = BlockBasedOptions()
    blocks.set_block_cache(Cache(_CACHE_BYTES))
    blocks.set_block_size(8 * 1024)
    blocks.set_bloom_filter(10, False)  # noqa: FBT003
    # Twenty million touches have more filters than there should be memory for.
    blocks.set_cache_index_and_filter_blocks(True)
    blocks.set_pin_l0_filter_and_index_blocks_in_cache(True)
    options.set_block_based_table_factory(blocks)
    return options
