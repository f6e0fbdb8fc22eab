"""Reads `touches.dead-letters`: all letters in order of time, or those at given positions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pipeline.console.dead_letters.view import ShownLetter, letter_of
from pipeline.flow import DEAD_LETTERS
from pipeline.kafka.topic import RecordPosition, TopicSource, read_positions, read_topic

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Collection, Mapping

    from pipeline.engine.record_consumer import ReadRecord
    from pipeline.kafka.cluster import Cluster

    Read = Callable[[bytes | None], Mapping[str, Any]]
    """Decodes a DeadLetter; raises UndecodableValue."""


class DeadLetters:
    """The dead letters of a Kafka cluster. Reading raises CommandFailed when Kafka cannot be reached or the topic is missing."""

    def __init__(self, cluster: Cluster, read: Read, complain: Callable[[str], None]) -> None:
        """Read with `read`; `complain` gets one line per record that is no dead letter."""
        self.cluster, self._read, self._complain = cluster, read, complain

    def all(self, only: Collection[RecordPosition] | None = None) -> AsyncGenerator[ShownLetter, None]:
        """Yield the letters that exist now, merged by time; with `only`, those at these positions."""
        return read_topic(self._source(lambda position: only is None or position in only))

    def at(self, positions: Collection[RecordPosition]) -> AsyncGenerator[ShownLetter, None]:
        """Yield the letters at `positions`, without reading the records between them."""
        return read_positions(self._source(lambda _: True), positions)

    def _source(self, is_wanted: Callable[[RecordPosition], bool]) -> TopicSource[ShownLetter]:
        def read_record(record: ReadRecord) -> ShownLetter | None:
            position = RecordPosition(record.partition, record.offset)
            return letter_of(position, self._read(record.value)) if is_wanted(position) else None

        return TopicSource(
            self.cluster, DEAD_LETTERS, read_record, lambda letter: letter.dead.occurred_at_ms, self._complain
        )
