"""Orders, suppressions and lane reports as the copy keeps them: the latest under each key.

A worker keeps the first two in a view of its own (`agents/control.py`), which answers what holds one touch. The web process
lists them, newest first and paged, and therefore has them in its copy: read by the same reader, of the same moment.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from pipeline.lookup import keys
from pipeline.records.control import PRIVACY_KEY, decode_order, decode_suppression, suppression_datum
from pipeline.records.lane_report import decode_lane_report

if TYPE_CHECKING:
    from collections.abc import Callable

    from pipeline.lookup.draft import Draft
    from pipeline.records.control import ReadValue
    from pipeline.stage_io import Record

_encode: Final = msgspec.msgpack.Encoder().encode


def take_order(draft: Draft, record: Record) -> None:
    """Take an order in, or that one is forgotten. Raises UndecodableValue."""
    if record.key == PRIVACY_KEY:
        return
    key = keys.ORDER + (record.key or b"")
    if not record.value:
        draft.delete(key)
        return
    decode_order(record.key, record.value)
    draft.put(key, record.offset.to_bytes(8) + record.value)


def take_lane(draft: Draft, record: Record) -> None:
    """Take a lane's report in, or that it is gone. Raises UndecodableValue."""
    key = keys.LANE + (record.key or b"")
    if not record.value:
        draft.delete(key)
        return
    decode_lane_report(record.value)
    draft.put(key, record.value)


def take_entry(read: ReadValue) -> Callable[[Draft, Record], None]:
    """Return what takes a suppression in, or that it is lifted."""

    def take(draft: Draft, record: Record) -> None:
        if not record.value:
            _remove_entry(draft, record.key or b"")
            return
        entry = decode_suppression(read, record.key, record.value, record.timestamp_ms)
        key = entry.key.encode()
        _remove_entry(draft, key)
        at = keys.newest(record.offset)
        draft.put(keys.ENTRY + at, _encode({"key": entry.key, "offset": record.offset, **suppression_datum(entry)}))
        draft.put(keys.ENTRY_OFFSET + key, record.offset.to_bytes(8))
        draft.put(keys.ENTRY_OF + keys.name(whom_of(entry.key)) + at, b"")

    return take


def _remove_entry(draft: Draft, key: bytes) -> None:
    value = draft.get(keys.ENTRY_OFFSET + key)
    if value is not None:
        at = keys.newest(int.from_bytes(value))
        draft.delete(keys.ENTRY + at)
        draft.delete(keys.ENTRY_OFFSET + key)
        draft.delete(keys.ENTRY_OF + keys.name(whom_of(key.decode())) + at)


def whom_of(key: str) -> str:
    """Return whom the entry under `key` is about: an address hash, or `lead:` and the escaped lead."""
    return key.partition(":")[2].rpartition(":")[0]


def order_value(value: bytes) -> tuple[int, bytes]:
    """Return offset and value of an order's row."""
    return int.from_bytes(value[:8]), value[8:]
