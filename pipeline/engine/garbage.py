"""Sets Python's garbage collector for a worker, whose records are freed by their reference counts."""

from __future__ import annotations

import gc
from typing import Final

YOUNG_OBJECTS: Final = 50_000
"""So many new containers start a collection, in place of 700: a step makes thousands, of which next to none are in cycles."""


def collect_seldom() -> None:
    """Leave what exists by now (modules, classes) out of every collection, and collect after `YOUNG_OBJECTS`. Takes 50 ms."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, *gc.get_threshold()[1:])
