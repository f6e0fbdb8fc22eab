"""Reads `touches.dead-letters`: all letters in order of time, or those at known places."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pipeline.console.letter import Letter, letter_of
from pipeline.console.topic import Source, Spot, read_spots, read_topic
from pipeline.flow import DEAD_LETTERS

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Collection, Mapping

    from aiokafka import ConsumerRecord

    from pipeline.console.cluster import Cluster

    Read = Callable[[bytes | None], Mapping[str, Any]]
    """Decodes a DeadLetter; raises UndecodableValue."""


class DeadLetters:
    """The dead letters of a Kafka. Reading raises Failed when Kafka or the topic is away."""

    def __init__(self, cluster: Cluster, read: Read, complain: Callable[[str], None]) -> None:
        """Read with `read`; `complain` gets one line per record that is no dead letter."""
        self.cluster, self._read, self._complain = cluster, read, complain

    def all(self, only: Collection[Spot] | None = None) -> AsyncGenerator[Letter, None]:
        """Yield the letters that are there now, merged by time; of them `only` those at these places."""
        return read_topic(self._source(lambda spot: only is None or spot in only))

    def at(self, spots: Collection[Spot]) -> AsyncGenerator[Letter, None]:
        """Yield the letters at `spots`, without reading what stands between them."""
        return read_spots(self._source(lambda _: True), spots)

    def _source(self, is_wanted: Callable[[Spot], bool]) -> Source[Letter]:
        def read_record(record: ConsumerRecord) -> Letter | None:
            spot = Spot(record.partition, record.offset)
            return letter_of(spot, self._read(record.value)) if is_wanted(spot) else None

        return Source(
            self.cluster, DEAD_LETTERS, read_record, lambda letter: letter.dead.occurred_at_ms, self._complain
        )
