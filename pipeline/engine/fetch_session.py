"""Fetch requests that name only what has changed: broker and consumer keep the rest in a session (Kafka, KIP-227).

A worker reads dozens of partitions, few of which have records at any instant. aiokafka names them all in each request, and
the broker answers for each. A session names a partition when its position moves, and the answer has those with news.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

from aiokafka import TopicPartition

from pipeline.engine import wire

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

FETCH, VERSION = 1, 11
NO_SESSION, FIRST_EPOCH, LAST_EPOCH = 0, 0, 0x7FFFFFFF
SESSION_ERRORS = frozenset({70, 71})
"""The broker has forgotten the session, or has another epoch of it: the next request names everything again."""

_HEAD = struct.Struct(">iiiibii")
"""Replica (none), longest wait, least bytes, most bytes, isolation, session, epoch."""
_WANTED = struct.Struct(">iiqqi")
"""Partition, leader epoch (unknown), offset, start of the log (of followers only), most bytes."""
_ANSWER = struct.Struct(">ihii")
"""Throttle time, error, session, number of topics."""
_NEWS = struct.Struct(">ihqqqi")
"""Partition, error, high watermark, last stable offset, start of the log, number of aborted transactions."""
_ABORTED = struct.Struct(">qq")
_RECORDS = struct.Struct(">ii")
"""Preferred replica, bytes of the records."""
_INT = struct.Struct(">i")


class Limits(NamedTuple):
    """How long a broker waits, and how much it sends."""

    wait_ms: int
    least_bytes: int
    most_bytes: int
    partition_bytes: int
    isolation: int


class News(NamedTuple):
    """What a broker says of one partition."""

    tp: TopicPartition
    error: int
    highwater: int
    stable: int
    """Offset behind the last record that no open transaction can take back."""
    aborted: list[tuple[int, int]]
    """(producer, first offset) of each aborted transaction in the records."""
    records: memoryview


class FetchSession:
    """The session with one broker."""

    def __init__(self) -> None:
        self._session = NO_SESSION
        self._epoch = FIRST_EPOCH
        self._known: dict[TopicPartition, int] = {}
        """Partitions that the broker has in the session, with their positions."""
        self._sent: dict[TopicPartition, int] = {}

    def request(self, wanted: Mapping[TopicPartition, int], limits: Limits) -> wire.WireRequest:
        """Return the request for `wanted` (positions by partition); exactly one may be under way."""
        known = self._known
        changed = [tp for tp, offset in wanted.items() if known.get(tp) != offset]
        forgotten = [tp for tp in known if tp not in wanted]
        self._sent = dict(wanted)
        head = _HEAD.pack(-1, *limits[:3], limits.isolation, self._session, self._epoch)
        body = [head]
        by_topic = _by_topic(changed)
        body.append(_INT.pack(len(by_topic)))
        for topic, numbers in by_topic.items():
            body += [wire.text(topic), _INT.pack(len(numbers))]
            body += [
                _WANTED.pack(number, -1, wanted[TopicPartition(topic, number)], -1, limits.partition_bytes)
                for number in numbers
            ]
        by_topic = _by_topic(forgotten)
        body.append(_INT.pack(len(by_topic)))
        for topic, numbers in by_topic.items():
            body += [wire.text(topic), _INT.pack(len(numbers)), *map(_INT.pack, numbers)]
        body.append(wire.text(""))
        return wire.WireRequest(FETCH, VERSION, b"".join(body))

    def read(self, answer: wire.Reader) -> list[News]:
        """Return what the answer says; a session that the broker does not know begins anew with the next request."""
        _, error, session, topics = answer.unpack(_ANSWER)
        if error:
            self.lost()
            return []
        self._known = self._sent if session != NO_SESSION else {}
        self._session = session
        self._epoch = FIRST_EPOCH if session == NO_SESSION else max(1, (self._epoch + 1) & LAST_EPOCH)
        return [news for _ in range(topics) for news in _topic(answer)]

    def lost(self) -> None:
        """Name everything in the next request, which ends the session: a request has no usable answer."""
        self._known, self._epoch = {}, FIRST_EPOCH


def _by_topic(partitions: Iterable[TopicPartition]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for topic, number in partitions:
        found.setdefault(topic, []).append(number)
    return found


def _topic(answer: wire.Reader) -> list[News]:
    topic = answer.text()
    found = []
    for _ in range(answer.unpack(_INT)[0]):
        number, error, highwater, stable, _, transactions = answer.unpack(_NEWS)
        aborted = [answer.unpack(_ABORTED) for _ in range(transactions)]
        _, size = answer.unpack(_RECORDS)
        found.append(News(TopicPartition(topic, number), error, highwater, stable, aborted, answer.bytes(size)))
    return found
