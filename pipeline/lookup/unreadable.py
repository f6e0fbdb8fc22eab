"""Records that the copy cannot take in: counted, and told of once a minute."""

from __future__ import annotations

import logging
from collections import Counter
from typing import TYPE_CHECKING

from pipeline.log_lines import SpacedLines

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger(__name__)


class UnreadableRecords:
    """Counts them by topic."""

    def __init__(self, now_ms: Callable[[], int]) -> None:
        self.count: Counter[str] = Counter()
        self._lines = SpacedLines(log, now_ms)

    def add(self, topic: str, partition: int, offset: int, why: str) -> None:
        """Count a record that is left out of the copy."""
        self.count[topic] += 1
        line = "%s[%d]: the record at offset %d is not in the look-up copy: %s (%d so far)"
        self._lines.warn(topic, line, topic, partition, offset, why, self.count[topic])
