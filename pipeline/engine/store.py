"""The local copy of one fenced table, in RocksDB: the committed rows and the changelog position they correspond to."""

from __future__ import annotations

import logging
import shutil
import time
from contextlib import contextmanager, suppress
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

from rocksdict import AccessType, BlockBasedOptions, Cache, DBCompressionType, Options, Rdict, WriteBatch, WriteOptions

from pipeline.stage_io import EXPIRES, TableFailed, expiry_row

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

log = logging.getLogger(__name__)

NO_IDENTITY = bytes(16)
MIB = 1024 * 1024
PORTION_RECORDS = 20_000
"""Most records of a changelog that are applied at once."""
_CACHE = Cache(64 * MIB)
"""Block cache of all stores of the process."""
_WITHOUT_LOG = WriteOptions()
_WITHOUT_LOG.disable_wal = True  # type: ignore[method-assign,assignment]  # a property, despite its stub
CHANGELOG_POSITION = b"\x00\x00changelog"
"""Not a state key. Value: changelog offset up to which this store is complete, time of writing (epoch s), topic identity."""


class StoreFailed(TableFailed):
    """RocksDB failed: a damaged file, a full or read-only disk. The folder is marked, and restored from Kafka at the next open."""


class StoredRecord(Protocol):
    """What a store reads of a changelog's record."""

    @property
    def offset(self) -> int:
        """Offset in the changelog."""

    @property
    def key(self) -> bytes:
        """Key of the row."""

    @property
    def value(self) -> bytes | None:
        """Value of the row; None deletes it."""


class StorePosition(NamedTuple):
    """The changelog position of a store."""

    offset: int
    """Changelog offset up to which the store is complete."""
    written_s: int
    """Time of writing, epoch seconds."""
    identity: bytes
    """Identity of the changelog topic, 16 bytes; empty in a store of an earlier version."""


def reason_to_wipe(
    known: StorePosition, identity: bytes, bounds: tuple[int, int], delete_retention_s: float
) -> str | None:
    """Return why a store is no prefix of its topic, which has this identity and these bounds now; None: it is one."""
    begin, end = bounds
    if identity != NO_IDENTITY and known.identity not in (identity, NO_IDENTITY):
        return "it is a copy of another changelog (another cluster or prefix, or the topic was created anew)"
    # Tombstones older than delete.retention.ms may be gone from the log: such a store could keep deleted keys.
    if _now_s() - known.written_s > delete_retention_s:
        return "it is too old"
    if not begin <= known.offset <= end:
        return f"it ends at {known.offset}, the changelog reaches from {begin} to {end}"
    return None


class RocksStore:
    """An ordered key-value store in one folder, which outlives the process."""

    def __init__(self, path: Path, options: Callable[[], Options] | None = None) -> None:
        """Open or create the store in `path`; a damaged folder is wiped: the changelog has all its rows.

        `options` makes RocksDB's; None: those of one store among dozens. Raises StoreFailed if a new store cannot be
        created either.
        """
        self._path = path
        self._options = options or _options
        self._damage_mark = path.parent / f"{path.name}.damaged"
        self.identity = NO_IDENTITY
        """Identity of the changelog topic that this store is a copy of, 16 bytes."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if self._damage_mark.exists():
                log.warning("store %s was marked as damaged: it is restored from Kafka", path.name)
                self._remove()
            self._db = self._open_or_wipe()
        except OSError as error:
            raise StoreFailed(f"the data folder cannot be used: {error}") from error

    def _open_or_wipe(self) -> Rdict:
        try:
            return Rdict(str(self._path), self._options(), access_type=AccessType.read_write())
        except Exception as error:  # noqa: BLE001 - rocksdict raises bare Exception for a damaged folder
            log.warning("store %s cannot be opened, it is restored from Kafka: %s", self._path.name, error)
            self._remove()
        try:
            return Rdict(str(self._path), self._options(), access_type=AccessType.read_write())
        except Exception as error:  # noqa: BLE001
            raise StoreFailed(f"store {self._path} cannot be created: {error}") from None

    def _remove(self) -> None:
        shutil.rmtree(self._path, ignore_errors=True)
        self._damage_mark.unlink(missing_ok=True)

    @contextmanager
    def _marking_damage(self) -> Iterator[None]:
        """Mark the folder as damaged on any error of RocksDB. Raises StoreFailed."""
        try:
            yield
        except GeneratorExit:
            raise
        except Exception as error:
            with suppress(OSError):
                self._damage_mark.touch()
            raise StoreFailed(f"store {self._path}: {error}; it is restored from Kafka at the next start") from error

    def get(self, key: bytes) -> bytes | None:
        """Return the value under `key`, or None. Raises StoreFailed."""
        try:
            value: bytes | None = self._db.get(key)
        except Exception:  # noqa: BLE001 - read again inside the context manager, which would cost too much on every read
            with self._marking_damage():
                value = self._db.get(key)
        return value

    def scan(self, start: bytes, end: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Yield (key, value) with `start` <= key < `end`, in key order. Raises StoreFailed."""
        with self._marking_damage():
            rows = self._db.iter()
            rows.seek(start)
        try:
            while rows.valid():
                key: bytes = rows.key()
                if key >= end:
                    return
                yield key, rows.value()
                rows.next()
            with self._marking_damage():
                rows.status()  # a damaged block ends a scan like the end of the table
        finally:
            del rows  # an iterator locks the folder, and the traceback of a failure would keep it

    def write(self, changes: Iterable[tuple[bytes, bytes | None]], position: int) -> None:
        """Apply `changes`, the local rows that follow from them, and the changelog `position` behind them atomically.

        Raises StoreFailed.
        """
        batch = WriteBatch(raw_mode=True)
        for key, value in changes:
            if value is None:
                batch.delete(key)
            else:
                batch.put(key, value)
                if (row := expiry_row(key, value)) is not None:
                    batch.put(row, b"")
        self._apply(batch, position)

    def load(self, batches: Iterable[Iterable[StoredRecord]], *, is_bulk: bool) -> None:
        """Apply record batches of the changelog, as `write` does, PORTION_RECORDS at a time. Raises StoreFailed.

        In bulk RocksDB writes no log of its own: after a crash the store is at an earlier position. `settle` must follow
        before the next `write`, whose log would be replayed without these rows.
        """
        found, count, position = WriteBatch(raw_mode=True), 0, 0
        for record in chain.from_iterable(batches):
            key, value = record.key, record.value
            if value is None:
                found.delete(key)
            else:
                found.put(key, value)
                if value[:2] == EXPIRES and (row := expiry_row(key, value)) is not None:
                    found.put(row, b"")
            count += 1
            position = record.offset + 1
            if count == PORTION_RECORDS:
                self._apply(found, position, is_bulk=is_bulk)
                found, count = WriteBatch(raw_mode=True), 0
        if count:
            self._apply(found, position, is_bulk=is_bulk)

    def _apply(self, rows: WriteBatch, position: int, *, is_bulk: bool = False) -> None:
        rows.put(CHANGELOG_POSITION, position.to_bytes(8, "big") + _now_s().to_bytes(8, "big") + self.identity)
        with self._marking_damage():
            self._db.write(rows, _WITHOUT_LOG if is_bulk else None)

    def settle(self) -> None:
        """Write what was loaded in bulk to the disk. Raises StoreFailed."""
        with self._marking_damage():
            self._db.flush()

    def position(self) -> StorePosition | None:
        """Return the changelog position, or None if the store is empty. Raises StoreFailed."""
        value = self.get(CHANGELOG_POSITION)
        if value is None:
            return None
        return StorePosition(int.from_bytes(value[:8], "big"), int.from_bytes(value[8:16], "big"), value[16:])

    def wipe(self) -> None:
        """Delete all rows. Raises StoreFailed."""
        self.close()
        self._remove()
        self._db = self._open_or_wipe()

    def close(self) -> None:
        """Close the store; its folder stays."""
        with suppress(Exception):
            self._db.close()


def _now_s() -> int:
    return int(time.time())  # noqa: TID251 - the age of this folder, no decision of a stage


def _options() -> Options:
    # Dozens of stores share one process: small buffers each, one cache, and no index or filter blocks in the small cache.
    # (RocksDB's WriteBufferManager does not help: idle stores fill it, and then a busy one flushes at every write.)
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
