"""The local store: what it keeps in memory does not grow with what it keeps on disk."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from pipeline.engine.memory import give_back_large_blocks
from pipeline.engine.store import RocksStore

MIB = 1024 * 1024
STORES, ROWS = 16, 25_000
"""6.8 MiB each: an amount that larger write buffers would keep in memory."""


def fill(folder):
    """Print by how many bytes this process has grown with full stores."""
    give_back_large_blocks()
    stores = [RocksStore(Path(folder) / str(number)) for number in range(STORES)]
    before = resident()
    for at in range(0, ROWS, 500):
        for store in stores:
            store.write([(os.urandom(16), bytes(270)) for _ in range(500)], at)
    print(resident() - before)


def resident():
    return int(re.search(r"VmRSS:\s+(\d+)", Path("/proc/self/status").read_text())[1]) * 1024


def test_full_stores_keep_half_of_a_small_buffer_each_in_memory(tmp_path):
    told = subprocess.run([sys.executable, "-c", f"from tests.unit.test_store import fill; fill({str(tmp_path)!r})"],
                          capture_output=True, text=True, check=True)
    written = STORES * ROWS * 286
    assert written > 100 * MIB
    assert int(told.stdout) < STORES * 5 * MIB
