"""How far each topic is in the copy, and as of when the copy is complete."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
from msgspec import Struct

from pipeline.engine.store import StorePosition
from pipeline.lookup import keys

if TYPE_CHECKING:
    from pipeline.lookup.draft import Rows

LAYOUT: Final = 2
"""Version of all rows; a copy with another one is read anew."""


class CopyNote(Struct, frozen=True, array_like=True, gc=False):
    """The copy as a whole."""

    layout: int = LAYOUT
    as_of_ms: int = 0
    """All that was committed before is in it."""


_ABOUT: Final = msgspec.msgpack.Decoder(CopyNote)


def about(rows: Rows) -> CopyNote | None:
    """Return what the copy says of itself; None: nothing, or something of another layout."""
    value = rows.get(keys.ABOUT)
    if value is None:
        return None
    try:
        found = _ABOUT.decode(value)
    except msgspec.DecodeError:
        return None
    return found if found.layout == LAYOUT else None


def about_value(as_of_ms: int) -> bytes:
    """Return the value of the row about the copy."""
    return msgspec.msgpack.encode(CopyNote(as_of_ms=as_of_ms))


def position_key(topic: str, partition: int) -> bytes:
    """Return the key of the position in a partition; `topic` is the logical name."""
    return keys.POSITION + keys.name(topic) + partition.to_bytes(4)


def position_value(offset: int, written_s: int, identity: bytes) -> bytes:
    """Return the value of a position: the next offset, when it was written, and the topic's identity."""
    return offset.to_bytes(8) + written_s.to_bytes(8) + identity


def positions(rows: Rows) -> dict[tuple[str, int], StorePosition]:
    """Return all positions by (logical topic, partition)."""
    found = {}
    for key, value in rows.rows(keys.POSITION):
        (topic,) = keys.names(key[:-4])
        place = StorePosition(int.from_bytes(value[:8]), int.from_bytes(value[8:16]), value[16:])
        found[topic, int.from_bytes(key[-4:])] = place
    return found
