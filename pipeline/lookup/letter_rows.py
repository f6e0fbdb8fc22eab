"""Dead letters, unconfirmed touches and audit records as the copy keeps them: as long as their topics do."""

from __future__ import annotations

import base64
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import Struct

from pipeline.domain.instant import instant_ms
from pipeline.domain.unconfirmed import members_of
from pipeline.lookup import keys
from pipeline.records import UnknownVersion, decode_unconfirmed
from pipeline.records.published import UndecodableValue

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pipeline.lookup.draft import Draft
    from pipeline.records.control import ReadValue
    from pipeline.stage_io import Record


class LetterRow(Struct, frozen=True, array_like=True, gc=False):
    """A dead letter without what came."""

    reason: str
    error: str
    source_topic: str
    source_partition: int
    source_offset: int
    touch_id: str | None
    occurred_at: int


class LetterRaw(Struct, frozen=True, array_like=True, gc=False):
    """What came."""

    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]


class UnconfirmedRow(Struct, frozen=True, array_like=True, gc=False):
    """A touch that ended unconfirmed, as it was told last."""

    partition: int
    offset: int
    told: dict[str, Any]
    """With the members of `unconfirmed list --json`."""


decode_letter: Final = msgspec.msgpack.Decoder(LetterRow).decode
decode_raw: Final = msgspec.msgpack.Decoder(LetterRaw).decode
decode_unconfirmed_row: Final = msgspec.msgpack.Decoder(UnconfirmedRow).decode
_encode: Final = msgspec.msgpack.Encoder().encode


# --- dead letters ------------------------------------------------------------------------------------------------


def take_letter(read: ReadValue) -> Callable[[Draft, Record], None]:
    """Return what takes a dead letter in."""

    def take(draft: Draft, record: Record) -> None:
        letter, raw = _letter(read(record.value))
        place = keys.place(record.partition, record.offset)
        draft.put(keys.DEAD + place, _encode(letter))
        draft.put(keys.DEAD_RAW + place, _encode(raw))
        draft.put(_dead_of_reason(letter, place), b"")
        draft.count(keys.DEAD_REASON + keys.name(letter.reason), 1)

    return take


def trim_letters(draft: Draft, partition: int, first: int, most: int) -> bool:
    """Let go the letters of a partition before `first`, at most so many; return whether there may be more."""
    found = _before(draft, keys.DEAD, partition, first, most)
    for place, value in found:
        letter = decode_letter(value)
        draft.delete(keys.DEAD + place)
        draft.delete(keys.DEAD_RAW + place)
        draft.delete(_dead_of_reason(letter, place))
        draft.count(keys.DEAD_REASON + keys.name(letter.reason), -1)
    return len(found) == most


def _dead_of_reason(letter: LetterRow, place: bytes) -> bytes:
    return keys.DEAD_OF_REASON + keys.name(letter.reason) + keys.newest(letter.occurred_at) + place


def _letter(datum: Mapping[str, Any]) -> tuple[LetterRow, LetterRaw]:
    """Return the letter of a record in any of its forms. Raises UndecodableValue."""
    try:
        letter = {
            **{name: datum[name] for name in ("reason", "error", "source_topic", "source_partition", "source_offset")},
            "touch_id": datum.get("touch_id"),
            "occurred_at": instant_ms(datum["occurred_at"], earliest_ms=0),
        }
        headers = tuple((each["name"], _bytes(each.get("value"))) for each in datum.get("headers") or ())
        raw = [_bytes(datum.get("key")), _bytes(datum.get("value")), headers]
        return msgspec.convert(list(letter.values()), LetterRow), msgspec.convert(raw, LetterRaw)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UndecodableValue(f"no dead_letter: {type(error).__name__}: {error}") from error


def _bytes(value: Any) -> bytes | None:
    """Return bytes as they are, or out of JSON's base64."""
    return base64.b64decode(value, validate=True) if isinstance(value, str) else value


# --- unconfirmed -------------------------------------------------------------------------------------------------


def take_unconfirmed(draft: Draft, record: Record) -> None:
    """Take in a touch that ended unconfirmed, or what was found out about it later. Raises UndecodableValue."""
    try:
        left = decode_unconfirmed(record.value or b"")
    except (UnknownVersion, ValueError, EOFError, IndexError, KeyError, TypeError) as error:
        raise UndecodableValue(f"no unconfirmed touch: {error}") from error
    touch = left.work.touch_id.encode()
    _remove_unconfirmed(draft, touch)
    draft.put(keys.UNCONFIRMED + touch, _encode(UnconfirmedRow(record.partition, record.offset, members_of(left))))
    draft.put(keys.UNCONFIRMED_NEWEST + keys.newest(left.occurred_at_ms) + touch, b"")
    draft.put(keys.UNCONFIRMED_PLACE + keys.place(record.partition, record.offset), touch)


def trim_unconfirmed(draft: Draft, partition: int, first: int, most: int) -> bool:
    """Let go the touches whose latest record is before `first`, at most so many; return whether there may be more."""
    found = _before(draft, keys.UNCONFIRMED_PLACE, partition, first, most)
    for _, touch in found:
        _remove_unconfirmed(draft, touch)
    return len(found) == most


def _remove_unconfirmed(draft: Draft, touch: bytes) -> None:
    value = draft.get(keys.UNCONFIRMED + touch)
    if value is not None:
        row = decode_unconfirmed_row(value)
        draft.delete(keys.UNCONFIRMED + touch)
        draft.delete(keys.UNCONFIRMED_NEWEST + keys.newest(row.told["occurred_at"]) + touch)
        draft.delete(keys.UNCONFIRMED_PLACE + keys.place(row.partition, row.offset))


# --- audit -------------------------------------------------------------------------------------------------------


def take_audit(read: ReadValue) -> Callable[[Draft, Record], None]:
    """Return what takes an audit record in."""

    def take(draft: Draft, record: Record) -> None:
        said = _encode(dict(read(record.value)))
        draft.put(keys.AUDIT + keys.newest(record.offset) + record.partition.to_bytes(4), said)

    return take


def trim_audit(draft: Draft, partition: int, first: int, most: int) -> bool:
    """Let go the audit records before `first`, at most so many; return whether there may be more."""
    rows = draft.store.rows(keys.AUDIT, keys.newest(first - 1)) if first else iter(())
    own = partition.to_bytes(4)
    found = [key for key, _ in islice(rows, most) if key[keys.INSTANT_BYTES :] == own]
    for key in found:
        draft.delete(keys.AUDIT + key)
    return len(found) == most


def _before(draft: Draft, prefix: bytes, partition: int, first: int, most: int) -> list[tuple[bytes, bytes]]:
    """Return the rows of a partition's records before the offset `first`, at most `most`."""
    begin, end = keys.place(partition, 0), keys.place(partition, first)
    found = []
    for key, value in islice(draft.store.rows(prefix, begin), most):
        if key >= end:
            break
        found.append((key, value))
    return found
