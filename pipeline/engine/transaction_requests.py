"""The requests of a transaction: identity, partitions, batches, end; those of Kafka 4 and those before."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

from aiokafka import TopicPartition

from pipeline.engine.wire import API_VERSIONS, Reader, WireRequest, compact, text, varint

if TYPE_CHECKING:
    from collections.abc import Mapping

PRODUCE, INIT_PRODUCER_ID, ADD_PARTITIONS, END_TRANSACTION = 0, 22, 24, 26
"""API keys (Kafka protocol)."""
TRANSACTION_FEATURE = "transaction.version"
FINALIZED_FEATURES = 2
"""Tag of the cluster's features in an ApiVersions answer."""

_SHORT = struct.Struct(">h")
_INT = struct.Struct(">i")
_PRODUCED = struct.Struct(">ihqqq")
"""Partition, error, offset of the first record, time of the append, start of the log."""
_PARTITION_ERROR = struct.Struct(">ih")
_ENDED = struct.Struct(">ih")
_PRODUCER = struct.Struct(">qh")
_TWO_INTS = struct.Struct(">ii")
_API = struct.Struct(">hhh")
_TWO_SHORTS = struct.Struct(">hh")


class Identity(NamedTuple):
    """A producer's id and epoch."""

    producer_id: int
    epoch: int


def init_producer(transactional_id: str, timeout_ms: int) -> WireRequest:
    """Return the request for an identity; it fences the previous producer of this transactional id."""
    return WireRequest(INIT_PRODUCER_ID, 0, text(transactional_id) + _INT.pack(timeout_ms))


def read_identity(answer: Reader) -> tuple[int, Identity]:
    """Return (error, identity)."""
    _, error = answer.unpack(_ENDED)
    return error, Identity(*answer.unpack(_PRODUCER))


def add_partitions(transactional_id: str, own: Identity, partitions: Mapping[str, list[int]]) -> WireRequest:
    """Return the request that adds partitions, by topic, to the transaction."""
    body = [text(transactional_id), _PRODUCER.pack(*own), _INT.pack(len(partitions))]
    for topic, numbers in partitions.items():
        body += [text(topic), _INT.pack(len(numbers)), *map(_INT.pack, numbers)]
    return WireRequest(ADD_PARTITIONS, 0, b"".join(body))


def read_added(answer: Reader) -> set[int]:
    """Return the errors of all partitions."""
    _, topics = answer.unpack(_TWO_INTS)
    found = set()
    for _ in range(topics):
        answer.text()
        found |= {answer.unpack(_PARTITION_ERROR)[1] for _ in range(answer.unpack(_INT)[0])}
    return found


def end_transaction(transactional_id: str, own: Identity, *, commits: bool, is_v2: bool) -> WireRequest:
    """Return the request that commits or aborts; a transaction of version 2 gets a new epoch for the next one."""
    end = _PRODUCER.pack(*own) + (b"\1" if commits else b"\0")
    if is_v2:
        return WireRequest(END_TRANSACTION, 5, compact(transactional_id.encode()) + end + b"\0", is_flexible=True)
    return WireRequest(END_TRANSACTION, 1, text(transactional_id) + end)


def read_ended(answer: Reader, *, is_v2: bool) -> tuple[int, Identity | None]:
    """Return (error, identity of the next transaction; None if it stays)."""
    _, error = answer.unpack(_ENDED)
    return error, Identity(*answer.unpack(_PRODUCER)) if is_v2 else None


def produce(
    transactional_id: str, timeout_ms: int, batches: Mapping[TopicPartition, bytes], *, is_v2: bool
) -> WireRequest:
    """Return the request that appends one batch to each partition, on all in-sync replicas."""
    by_topic: dict[str, list[tuple[int, bytes]]] = {}
    for tp, batch in batches.items():
        by_topic.setdefault(tp.topic, []).append((tp.partition, batch))
    acks = struct.pack(">hi", -1, timeout_ms)
    if is_v2:
        body = [compact(transactional_id.encode()), acks, varint(len(by_topic) + 1)]
        for topic, rows in by_topic.items():
            body += [compact(topic.encode()), varint(len(rows) + 1)]
            for number, batch in rows:
                body += [_INT.pack(number), varint(len(batch) + 1), batch, b"\0"]
            body.append(b"\0")
        return WireRequest(PRODUCE, 12, b"".join([*body, b"\0"]), is_flexible=True)
    body = [text(transactional_id), acks, _INT.pack(len(by_topic))]
    for topic, rows in by_topic.items():
        body += [text(topic), _INT.pack(len(rows))]
        for number, batch in rows:
            body += [_TWO_INTS.pack(number, len(batch)), batch]
    return WireRequest(PRODUCE, 7, b"".join(body))


class Appended(NamedTuple):
    """What a broker says about one batch."""

    error: int
    offset: int
    """Offset of its first record."""
    message: str


def read_produced(answer: Reader, *, is_v2: bool) -> dict[TopicPartition, Appended]:
    """Return what became of the batch of each partition."""
    found = {}
    for _ in range(answer.varint() - 1 if is_v2 else answer.unpack(_INT)[0]):
        topic = answer.compact_text() if is_v2 else answer.text()
        for _ in range(answer.varint() - 1 if is_v2 else answer.unpack(_INT)[0]):
            partition, error, offset, _, _ = answer.unpack(_PRODUCED)
            message = _why(answer) if is_v2 else ""
            found[TopicPartition(topic, partition)] = Appended(error, offset, message)
        if is_v2:
            answer.skip_tags()
    return found


def _why(answer: Reader) -> str:
    """Return the message of a produced partition, and read over the rest of it."""
    of_records = []
    for _ in range(answer.varint() - 1):
        answer.unpack(_INT)
        of_records.append(answer.compact_text())
        answer.skip_tags()
    message = answer.compact_text()
    answer.skip_tags()
    return "; ".join(filter(None, [message, *of_records[:1]]))


def api_versions() -> WireRequest:
    """Return the request for the cluster's versions and features."""
    name = compact(b"faust-pipeline") + compact(b"1")
    return WireRequest(API_VERSIONS, 3, name + b"\0", is_flexible=True)


def read_transaction_version(answer: Reader) -> int:
    """Return the version of transactions that the cluster has agreed on; 0 if it names none."""
    answer.unpack(_SHORT)
    for _ in range(answer.varint() - 1):
        answer.unpack(_API)
        answer.skip_tags()
    answer.unpack(_INT)
    for tag, value in answer.tags():
        if tag == FINALIZED_FEATURES:
            for _ in range(value.varint() - 1):
                name, (most, _) = value.compact_text(), value.unpack(_TWO_SHORTS)
                value.skip_tags()
                if name == TRANSACTION_FEATURE:
                    return int(most)
    return 0
