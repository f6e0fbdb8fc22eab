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


class Homes(NamedTuple):
    """Where a touch has its home, and where it had it before partitions were added to `touches`."""

    partitions: int
    before: int | None = None
    """The earlier number of partitions, while touches that were accepted then are remembered there."""

    def asks_first(self, touch_id: str) -> int:
        """Return the partition that must be asked first whether it knows the touch: its earlier home, if there is one."""
        return home_of(touch_id, self.partitions if self.before is None else self.before)

    def next_for(self, record: Record, touch_id: str) -> int:
        """Return the partition that decides next about a touch that `record`'s partition does not know; its own: it decides."""
        home, origin = home_of(touch_id, self.partitions), _origin_of(record)
        if origin is not None and origin.to == record.partition:
            if origin.of not in (self.partitions, self.before):
                return record.partition  # a router that knows another number of partitions chose it: never further
            if record.partition == home and origin.is_asked:
                return home
        first = home if self.before is None else home_of(touch_id, self.before)
        return home if record.partition == first else first


def forwarded(record: Record, touch_id: object, homes: Homes) -> Output | None:
    """Return the record that forwards a touch to where it is decided next; None if that is here, or it has no valid touch_id."""
    if not is_touch_id(touch_id):
        return None
    touch_id = str(touch_id)
    onward = homes.next_for(record, touch_id)
    if onward == record.partition:
        return None
    produced = as_produced(record)
    key = produced.key
    headers = list(produced.headers)
    size = len(record.value or b"") + sum(len(name) + len(value or b"") + 10 for name, value in headers)
    if size + 2 * len(key or b"") + WRAPPING_BYTES > TOUCH_MESSAGE_BYTES:
        headers, key = [each for each in headers if each[0] in (REPLAY_OF, REFUSAL)], None  # the touch itself must fit
    header = _forward_header(produced, onward, homes, key, is_asked=record.partition == homes.asks_first(touch_id))
    return Output(TOUCHES, onward, touch_id.encode(), record.value, (*headers, (FORWARDED, header)))


def forwarded_refusal(record: Record, header: TouchHeader, error: str, homes: Homes) -> Output | None:
    """Return the record with which the touch's home ends it as refused; None if this partition decides."""
    if header.touch_id is None or (onward := homes.next_for(record, header.touch_id)) == record.partition:
        return None
    value = {
        "touch_id": header.touch_id,
        "campaign_id": header.campaign_id,
        "lead_id": header.lead_id,
        "channel": header.channel,
    }
    is_asked = record.partition == homes.asks_first(header.touch_id)
    hop = _forward_header(as_produced(record), onward, homes, None, is_asked=is_asked)
    return Output(
        TOUCHES, onward, header.touch_id.encode(), orjson.dumps(value), ((FORWARDED, hop), (REFUSAL, error.encode()))
    )


def _forward_header(produced: Record, to: int, homes: Homes, key: bytes | None, *, is_asked: bool) -> bytes:
    """Return the value of the forward header of a record as its producer wrote it."""
    return orjson.dumps(
        {
            "of": homes.partitions,
            "to": to,
            "asked": is_asked,
            "partition": produced.partition,
            "offset": produced.offset,
            "timestamp": produced.timestamp_ms,
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
    is_asked: bool
    """The touch's first home does not know it."""


def _origin_of(record: Record) -> _Origin | None:
    """Return the contents of the forward header; None if it is absent or not written by a router. Never raises."""
    said = [value for name, value in record.headers if name == FORWARDED]
    if not said:
        return None
    try:
        raw = orjson.loads(said[-1] or b"")
        key = None if raw["key"] is None else base64.b64decode(raw["key"], validate=True)
        origin = _Origin(
            raw["of"], raw["to"], raw["partition"], raw["offset"], raw["timestamp"], key, raw.get("asked") is True
        )
    except (ValueError, KeyError, TypeError):
        return None
    numbers = zip(origin[:5], (31, 31, 31, 63, 63), strict=True)
    return origin if all(type(each) is int and 0 <= each < 1 << bits for each, bits in numbers) else None
