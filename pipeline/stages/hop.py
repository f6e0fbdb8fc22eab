"""The hop of a touch that came to another partition than its own: what goes along, and what its home sees of it."""

from __future__ import annotations

import base64
from typing import Any

import orjson

from pipeline.domain.home import home_of
from pipeline.domain.rules import is_touch_id
from pipeline.flow import TOUCH_MESSAGE_BYTES, TOUCHES
from pipeline.log import Output, Record

HOP = "pipeline-hop"
"""Header of a touch that was sent on to its home: where it came from."""
WRAPPING_BYTES = 1_024
"""What Kafka's framing and the hop's header add at most, the key not counted."""


def sent_on(record: Record, touch_id: object, partitions: int) -> Output | None:
    """Return the record that takes a touch home; None when it is at home, or has no touch_id to have one by."""
    if not is_touch_id(touch_id):
        return None
    touch_id = str(touch_id)
    home = home_of(touch_id, partitions)
    if home == record.partition or _came_to(record) == record.partition:
        return None
    came = {
        "to": home, "partition": record.partition, "offset": record.offset, "timestamp": record.timestamp_ms,
        "key": None if record.key is None else base64.b64encode(record.key).decode(),
    }  # fmt: skip
    headers = [each for each in record.headers if each[0] != HOP]
    size = len(record.value or b"") + sum(len(name) + len(value or b"") + 10 for name, value in headers)
    if size + 2 * len(record.key or b"") + WRAPPING_BYTES > TOUCH_MESSAGE_BYTES:
        headers, came["key"] = [], None  # they only serve a dead letter; the touch itself must fit
    return Output(TOUCHES, home, touch_id.encode(), record.value, (*headers, (HOP, orjson.dumps(came))))


def as_it_came(record: Record) -> Record:
    """Return the record as its producer wrote it: of one that hopped, the partition, offset, time and key before."""
    came = _came(record)
    if came is None:
        return record
    key = came.get("key")
    return Record(
        record.topic, int(came["partition"]), int(came["offset"]), int(came["timestamp"]),
        None if key is None else base64.b64decode(key), record.value, [each for each in record.headers if each[0] != HOP],
    )  # fmt: skip


def _came_to(record: Record) -> int | None:
    came = _came(record)
    return None if came is None else int(came["to"])


def _came(record: Record) -> dict[str, Any] | None:
    """Return what the hop's header says; None without one, or with one that no router wrote."""
    said = [value for name, value in record.headers if name == HOP]
    if not said:
        return None
    try:
        came = orjson.loads(said[-1] or b"")
        return came if all(isinstance(came[name], int) for name in ("to", "partition", "offset", "timestamp")) else None
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return None
