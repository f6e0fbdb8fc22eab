"""Forwards a touch that arrived on another partition than its home, with a header that keeps where it came from."""

from __future__ import annotations

import base64
from typing import NamedTuple

import orjson

from pipeline.domain.home import home_of
from pipeline.domain.rules import is_touch_id
from pipeline.domain.touch import TouchHeader
from pipeline.flow import TOUCH_MESSAGE_BYTES, TOUCHES
from pipeline.stage_io import Output, Record

REPLAY_OF = "pipeline-replay-of"
"""Header of a replayed dead letter: identifies that dead letter."""
FORWARDED = "pipeline-hop"
"""Header of a forwarded touch: the partition, offset, timestamp and key at which it arrived."""
REFUSAL = "pipeline-refusal"
"""Header of a forwarded refusal: the error. The record stands for a touch that was refused where it arrived."""
WRAPPING_BYTES = 1_024
"""Upper bound of the bytes that Kafka's framing and the forward header add, without the key."""


def forwarded(record: Record, touch_id: object, partitions: int) -> Output | None:
    """Return the record that forwards a touch to its home; None if it is at home or has no valid touch_id."""
    if not is_touch_id(touch_id):
        return None
    touch_id = str(touch_id)
    home = home_of(touch_id, partitions)
    if home == record.partition or _is_home_by_sender(record, partitions):
        return None
    key = record.key
    headers = [each for each in record.headers if each[0] != FORWARDED]
    size = len(record.value or b"") + sum(len(name) + len(value or b"") + 10 for name, value in headers)
    if size + 2 * len(record.key or b"") + WRAPPING_BYTES > TOUCH_MESSAGE_BYTES:
        headers, key = [each for each in headers if each[0] == REPLAY_OF], None  # the touch itself must fit
    return Output(
        TOUCHES,
        home,
        touch_id.encode(),
        record.value,
        (*headers, (FORWARDED, _forward_header(record, home, partitions, key))),
    )


def forwarded_refusal(record: Record, header: TouchHeader, error: str, partitions: int) -> Output | None:
    """Return the record with which the touch's home ends it as refused; None if this partition is its home."""
    if header.touch_id is None or (home := home_of(header.touch_id, partitions)) == record.partition:
        return None
    value = {
        "touch_id": header.touch_id,
        "campaign_id": header.campaign_id,
        "lead_id": header.lead_id,
        "channel": header.channel,
    }
    headers = ((FORWARDED, _forward_header(record, home, partitions, None)), (REFUSAL, error.encode()))
    return Output(TOUCHES, home, header.touch_id.encode(), orjson.dumps(value), headers)


def _forward_header(record: Record, home: int, partitions: int, key: bytes | None) -> bytes:
    """Return the value of the forward header."""
    return orjson.dumps(
        {
            "of": partitions,
            "to": home,
            "partition": record.partition,
            "offset": record.offset,
            "timestamp": record.timestamp_ms,
            "key": None if key is None else base64.b64encode(key).decode(),
        }
    )


def refusal_of(record: Record) -> str | None:
    """Return the error of a forwarded refusal; None for any other record."""
    said = [value for name, value in record.headers if name == REFUSAL]
    return said[-1].decode(errors="replace") if said and _origin_of(record) is not None else None


def as_produced(record: Record) -> Record:
    """Return the record as its producer wrote it: a forwarded one gets its first partition, offset, timestamp and key back."""
    origin = _origin_of(record)
    if origin is None:
        return record
    return Record(
        record.topic,
        origin.partition,
        origin.offset,
        origin.timestamp_ms,
        origin.key,
        record.value,
        [each for each in record.headers if each[0] != FORWARDED],
    )


class _Origin(NamedTuple):
    """The contents of the forward header."""

    of: int
    """Number of partitions of `touches` known to the router that wrote the header."""
    to: int
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None


def _is_home_by_sender(record: Record, partitions: int) -> bool:
    """Return whether a router with another number of partitions chose this one as home; then it is not forwarded again."""
    origin = _origin_of(record)
    return origin is not None and origin.of != partitions and origin.to == record.partition


def _origin_of(record: Record) -> _Origin | None:
    """Return the contents of the forward header; None if it is absent or not written by a router. Never raises."""
    said = [value for name, value in record.headers if name == FORWARDED]
    if not said:
        return None
    try:
        raw = orjson.loads(said[-1] or b"")
        key = None if raw["key"] is None else base64.b64decode(raw["key"], validate=True)
        origin = _Origin(raw["of"], raw["to"], raw["partition"], raw["offset"], raw["timestamp"], key)
    except (ValueError, KeyError, TypeError):
        return None
    numbers = zip(origin[:5], (31, 31, 31, 63, 63), strict=True)
    return origin if all(type(each) is int and 0 <= each < 1 << bits for each, bits in numbers) else None
