"""Records that the copy cannot take in: counted, and told of once a minute."""

from __future__ import annotations

import logging
from collections import Counter
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger(__name__)

LINE_MS: Final = 60_000
"""Least time between two lines about one topic."""


class UnreadableRecords:
    """Counts them by topic."""

    def __init__(self, now_ms: Callable[[], int]) -> None:
        self.count: Counter[str] = Counter()
        self._now_ms = now_ms
        self._told_ms: dict[str, int] = {}

    def add(self, topic: str, partition: int, offset: int, why: str) -> None:
        """Count a record that is left out of the copy."""
        self.count[topic] += 1
        now_ms = self._now_ms()
        if now_ms >= self._told_ms.get(topic, 0) + LINE_MS:
            self._told_ms[topic] = now_ms
            log.warning(
                "%s[%d]: the record at offset %d is not in the look-up copy: %s (%d so far)",
                topic,
                partition,
                offset,
                why,
                self.count[topic],
            )
