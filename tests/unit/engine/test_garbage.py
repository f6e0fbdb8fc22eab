"""A worker's collector leaves alone what was there at the start, and runs seldom."""

from __future__ import annotations

import subprocess
import sys

SEEN = """
import gc
from pipeline.engine.garbage import YOUNG_OBJECTS, collect_seldom
runs = []
gc.callbacks.append(lambda phase, info: runs.append(phase))
kept = [[] for _ in range(YOUNG_OBJECTS // 2)]
before = len(runs)
collect_seldom()
frozen, runs[:] = gc.get_freeze_count(), []
kept += [[] for _ in range(YOUNG_OBJECTS // 2)]
print(before > 0, frozen >= YOUNG_OBJECTS // 2, len(runs))
kept += [[] for _ in range(YOUNG_OBJECTS)]
print(len(runs) > 0)
"""


def test_it_is_set_for_records() -> None:
    told = subprocess.run([sys.executable, "-c", SEEN], capture_output=True, text=True, check=True)
    assert told.stdout.split() == ["True", "True", "0", "True"]
