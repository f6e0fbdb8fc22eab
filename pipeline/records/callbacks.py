"""Records of `touches.callbacks`, and the rows that the stage of deliveries makes of them."""

from __future__ import annotations

from typing import Any, Final, Never

from pipeline.domain.fact import Callback, FactKind, PendingOptOut, SentTouch
from pipeline.domain.value import Value
from pipeline.records.codec import RecordKind
from pipeline.records.single_object import UnknownSchema
from pipeline.records.writing import STATUS_BYTES, Writer


class TrackedTouch(Value, frozen=True):
    """A touch that was sent, and what was told of it."""

    touch: SentTouch
    told: tuple[FactKind, ...] = ()
    """In the order of their sequence, from 1."""
    is_silent: bool = False
    """Nothing was told of it for longer than configured."""


class HeldCallbacks(Value, frozen=True):
    """Callbacks about a message that is not known yet."""

    callbacks: tuple[Callback, ...]


class HiddenPerson(Value, frozen=True):
    """A WhatsApp account that hides its number."""

    people: tuple[str, ...] = ()
    """Hashes of its number, once learnt."""
    pending: tuple[Callback, ...] = ()
    """What it asked for last, until the number is learnt or an operator resolves it; () or one."""


def _no_earlier(record: bytes) -> Never:
    raise UnknownSchema(f"not written by the pipeline: it begins with {record[:10].hex()}")


CALLBACK: Final = RecordKind("callback", b"callb\0", 2, Callback, _no_earlier)
SENT: Final = RecordKind("sent", b"sent\0\0", 1, SentTouch, _no_earlier)
TRACKED: Final = RecordKind("tracked", b"track\0", 1, TrackedTouch, _no_earlier)
HIDDEN: Final = RecordKind("hidden", b"hidden", 1, HiddenPerson, _no_earlier)
PENDING: Final = RecordKind("pending", b"pendi\0", 1, PendingOptOut, _no_earlier)
HELD: Final = RecordKind("held", b"held\0\0", 2, HeldCallbacks, _no_earlier)

encode_callback, decode_callback = CALLBACK.encode, CALLBACK.decode
encode_sent, decode_sent, is_sent = SENT.encode, SENT.decode, SENT.has_written
encode_tracked, decode_tracked, is_tracked = TRACKED.encode, TRACKED.decode, TRACKED.has_written
encode_hidden, decode_hidden, is_hidden = HIDDEN.encode, HIDDEN.decode, HIDDEN.has_written
encode_pending, decode_pending = PENDING.encode, PENDING.decode
encode_held, decode_held = HELD.encode, HELD.decode


def delivery_value(write: Writer, touch: SentTouch, fact: Callback, sequence: int) -> bytes:
    """Return the value of `touches.deliveries` for a fact; `sequence` is its number among the touch's facts, from 1."""
    datum = _delivery_datum(touch, fact, sequence)
    value = write("delivery", datum)
    return value if len(value) <= STATUS_BYTES else write("delivery", {**datum, "metadata": {}})


def _delivery_datum(touch: SentTouch, fact: Callback, sequence: int) -> dict[str, Any]:
    return {
        "touch_id": touch.touch_id,
        "campaign_id": touch.campaign_id,
        "lead_id": touch.lead_id,
        "channel": touch.channel.value,
        "sender": touch.sender,
        "sequence": sequence,
        "kind": None if fact.kind is None else fact.kind.value,
        "provider_message_id": touch.message_id,
        "recipient": touch.recipient,
        "detail": fact.detail,
        "error_code": fact.error_code,
        "error": fact.error,
        "occurred_at": fact.occurred_at_ms,
        "received_at": fact.received_at_ms,
        "metadata": touch.metadata,
    }
