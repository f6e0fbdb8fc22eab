"""Runs one history in its own process: without logs, and optionally without a safeguard."""

from __future__ import annotations

import logging
import sys
import warnings
from contextlib import nullcontext

from pipeline.lab.simulation.history import HistoryResult, run
from pipeline.lab.simulation.without import without


def live(safeguard: str | None, seed: int, *, tells: bool = False) -> HistoryResult:
    """Live through the history of `seed`, without one of the `SAFEGUARDS` if it is named."""
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")  # what dead processes left unawaited,
    sys.unraisablehook = lambda _: None  # and how its collection fails
    with nullcontext() if safeguard is None else without(safeguard):
        return run(seed, tells=tells)
