"""The local store: what it keeps in memory does not grow with what it keeps on disk."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from pipeline.engine.malloc import return_large_blocks
from pipeline.engine.store import RocksStore, StoreFailed
from pipeline.engine.table import FencedTable
from pipeline.stage_io import LOCAL, Overlay
from pipeline.stages.ttl import TtlSweep, remember

MIB = 1024 * 1024
STORES, ROWS = 16, 25_000
"""6.8 MiB each: an amount that larger write buffers would keep in memory."""


def fill(folder):
    """Print by how many bytes this process has grown with full stores."""
    return_large_blocks()
    stores = [RocksStore(Path(folder) / str(number)) for number in range(STORES)]
    before = resident()
    for at in range(0, ROWS, 500):
        for store in stores:
            store.write([(os.urandom(16), bytes(270)) for _ in range(500)], at)
    print(resident() - before)


def resident():
    return int(re.search(r"VmRSS:\s+(\d+)", Path("/proc/self/status").read_text())[1]) * 1024


def test_full_stores_keep_half_of_a_small_buffer_each_in_memory(tmp_path):
    told = subprocess.run(
        [sys.executable, "-c", f"from tests.unit.engine.test_store import fill; fill({str(tmp_path)!r})"],
        capture_output=True,
        text=True,
        check=True,
    )
    written = STORES * ROWS * 286
    assert written > 100 * MIB
    assert int(told.stdout) < STORES * 5 * MIB


# --- damage -----------------------------------------------------------------------------------------------------------


def damaged(folder, rows=10_000):
    """Return a store whose largest file has a flipped byte in its middle."""
    store = RocksStore(folder)
    for at in range(0, rows, 500):
        store.write([(b"d%08d" % n, b"value %d" % n * 20) for n in range(at, at + 500)], at)
    store._db.flush()
    store._db.compact_range(None, None)
    store.close()
    largest = max(folder.glob("*.sst"), key=lambda path: path.stat().st_size)
    with largest.open("r+b") as file:
        middle = largest.stat().st_size // 2
        file.seek(middle)
        byte = file.read(1)
        file.seek(middle)
        file.write(bytes([byte[0] ^ 0xFF]))
    return RocksStore(folder)


def test_a_damaged_block_is_never_the_end_of_a_table(tmp_path):
    store = damaged(tmp_path / "s")
    found = []
    with pytest.raises(StoreFailed, match="restored from Kafka"):
        found.extend(key for key, _ in store.scan(b"d", b"e"))
    assert len(found) < 10_000


def test_a_damaged_block_is_never_the_absence_of_a_key(tmp_path):
    store = damaged(tmp_path / "s")
    with pytest.raises(StoreFailed):
        assert all(store.get(b"d%08d" % n) is not None for n in range(10_000))


def test_a_store_that_failed_is_marked_and_comes_back_empty_to_be_read_anew(tmp_path):
    store = damaged(tmp_path / "s")
    with pytest.raises(StoreFailed):
        list(store.scan(b"d", b"e"))
    store.close()
    again = RocksStore(tmp_path / "s")
    assert again.position() is None
    assert list(again.scan(b"d", b"e")) == []
    again.write([(b"d1", b"x")], 7)
    again.close()
    assert RocksStore(tmp_path / "s").position()[0] == 7


@pytest.mark.parametrize("name", ["CURRENT", "MANIFEST-*", "*.sst"])
def test_a_store_whose_file_is_cut_off_is_read_anew(tmp_path, name):
    store = RocksStore(tmp_path / "s")
    store.write([(b"d%d" % n, b"v") for n in range(1000)], 1000)
    store._db.flush()
    store.close()
    for path in (tmp_path / "s").glob(name):
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 3])
    store = RocksStore(tmp_path / "s")
    try:
        known = store.position()
        assert known is None or len(list(store.scan(b"d", b"e"))) == 1000
    except StoreFailed:
        store.close()
        assert RocksStore(tmp_path / "s").position() is None


def test_a_folder_that_is_a_file_is_one_clear_error(tmp_path):
    (tmp_path / "tables").write_text("")
    with pytest.raises(StoreFailed, match="cannot be used"):
        RocksStore(tmp_path / "tables" / "s")


def test_a_full_disk_fails_a_write_and_marks_the_store(tmp_path):
    """The limit on file sizes stands in for the end of the disk: the write of the log fails as it would there."""
    script = f"""
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
from pathlib import Path
from types import SimpleNamespace

import pytest
from pipeline.engine.store import RocksStore, StoreFailed
store = RocksStore(Path({str(tmp_path / "s")!r}))
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
try:
    for n in range(1000):
        store.write([(b"k%d" % n, bytes(10_000))], n)
except StoreFailed as error:
    print("failed:", error)
"""
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert "failed: store" in told.stdout, told.stdout + told.stderr
    assert (tmp_path / "s.damaged").exists()
    assert RocksStore(tmp_path / "s").position() is None


def test_a_row_with_an_expiry_is_found_in_its_order_and_the_index_is_in_no_changelog(tmp_path, monkeypatch):
    store, sent = RocksStore(tmp_path / "t-0"), []

    class Producer:
        def __init__(self, *_):
            pass

        async def commit(self, records):
            sent.extend(records)
            return {("t-changelog", 0): 7}

    monkeypatch.setattr("pipeline.engine.table.FencedProducer", Producer)
    table = FencedTable("t", 0, store, {}, application="a", topic_name=str)
    view = Overlay(table)
    remember(view, b"late", b"v", 2_000)
    remember(view, b"soon", b"v", 1_000)
    asyncio.run(table.commit(view.changes, [], None))
    assert [key for _, _, key, _, _ in sent] == [b"elate", b"esoon"]
    restored = RocksStore(tmp_path / "u-0")
    restored.write([(key, value) for _, _, key, value, _ in sent], 7)
    for each in (store, restored):
        assert [row[9:] for row, _ in each.scan(LOCAL, LOCAL + b"\xff")] == [b"esoon", b"elate"]
    sent.clear()
    view = Overlay(table)
    assert TtlSweep().forget(view, 1_500) == 2_500, "a second after this one: the next expiry comes sooner"
    asyncio.run(table.commit(view.changes, [], None))
    assert [(key, value) for _, _, key, value, _ in sent] == [(b"esoon", None)]
    assert [row[9:] for row, _ in store.scan(LOCAL, LOCAL + b"\xff")] == [b"elate"]
    store.close()
    restored.close()


def records(first, last):
    """Return the batches of a changelog: each record sets its own row, and the row that counts."""
    for start in range(first, last, 1_000):
        yield [
            SimpleNamespace(offset=n, key=b"count" if n % 2 else b"row%08d" % n, value=b"%08d" % n + bytes(500))
            for n in range(start, start + 1_000)
        ]


def crash_while_loading(folder, settles):
    """Load, write one more row as a step does, and die without closing anything."""
    store = RocksStore(Path(folder))
    store.load(records(0, 40_000), is_bulk=True)
    if settles:
        store.settle()
        store.write([(b"last", b"row")], 40_001)
    os._exit(0)


@pytest.mark.parametrize("settles", [False, True])
def test_a_crash_leaves_a_store_that_was_being_loaded_at_an_earlier_position_without_a_gap(tmp_path, settles):
    code = f"from tests.unit.engine.test_store import crash_while_loading as c; c({str(tmp_path / 's')!r}, {settles})"
    subprocess.run([sys.executable, "-c", code], check=True)
    store = RocksStore(tmp_path / "s")
    known = store.position()
    end = 0 if known is None else min(known.offset, 40_000)
    assert known is not None or not settles
    assert sum(1 for _ in store.scan(b"row", b"rox")) == end // 2, "every row below the position is there"
    count = store.get(b"count")
    assert (0 if count is None else int(count[:8]) + 1) == end
    assert not settles or (end, known.offset) == (40_000, 40_001)
    assert (store.get(b"last") is not None) == settles
    store.close()


def test_a_load_deletes_what_the_changelog_deletes_and_derives_what_a_step_derives(tmp_path):
    store = RocksStore(tmp_path / "s")
    store.write([(b"old", b"1")], 1)
    rows = [
        SimpleNamespace(offset=n, key=key, value=value)
        for n, (key, value) in enumerate([(b"old", None), (b"new", b"2")])
    ]
    store.load([rows], is_bulk=False)
    assert (store.get(b"old"), store.get(b"new"), store.position().offset) == (None, b"2", 2)
    store.close()
