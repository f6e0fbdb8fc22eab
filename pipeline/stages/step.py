"""What a stage decided: changes and outputs to commit as one, and what to count once they are."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from pipeline.stage_io import Changes, Output

STEP_BYTES = 4 * 1024 * 1024
"""Of records and rows that one step takes up, about: what is behind them waits for the next."""


@dataclass(slots=True)
class Step:
    """One decision of the router, the scheduler or the dedup."""

    changes: Changes = field(default_factory=dict)
    outputs: list[Output] = field(default_factory=list)
    wake_ms: int | None = None
    counts: Counter[tuple[str, ...]] = field(default_factory=Counter)
    """("told", channel, state, reason), ("repeat", channel), ("dead", reason), ("unknown_members",) …"""
