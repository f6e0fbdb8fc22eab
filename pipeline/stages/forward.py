"""The hop of a touch that came to another partition than its own: what goes along, and what its home sees of it."""

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
"""Header of a replayed dead letter: which one it is a replay of."""
FORWARDED = "pipeline-hop"
"""Header of a touch that was sent on to its home: where it came from."""
REFUSAL = "pipeline-refusal"
"""Header of what is sent home in place of a touch that was refused where it came: why."""
WRAPPING_BYTES = 1_024
"""What Kafka's framing and the hop's header add at most, the key not counted."""


def forwarded(record: Record, touch_id: object, partitions: int) -> Output | None:
    """Return the record that takes a touch home; None when it is at home, or has no touch_id to have one by."""
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
    """Return the record that lets the home of a touch tell that it was refused here; None when this is its home."""
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
    """Return the hop's header."""
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
    """Return why the touch was refused where it came, or None: it was not."""
    said = [value for name, value in record.headers if name == REFUSAL]
    return said[-1].decode(errors="replace") if said and _origin_of(record) is not None else None


def as_produced(record: Record) -> Record:
    """Return the record as its producer wrote it: of one that hopped, the partition, offset, time and key before."""
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
    """What the hop's header says."""

    of: int
    """How many partitions `touches` has, for the router that wrote it."""
    to: int
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None


def _is_home_by_sender(record: Record, partitions: int) -> bool:
    """Whether a router that knows another number of partitions takes this one for the home: then it goes no further."""
    origin = _origin_of(record)
    return origin is not None and origin.of != partitions and origin.to == record.partition


def _origin_of(record: Record) -> _Origin | None:
    """Return what the hop's header says; None without one, or with one that no router wrote. Never raises."""
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
