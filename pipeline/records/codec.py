"""Internal records: a header that names kind and version, then the value's fields in MessagePack (msgspec).

The header looks like that of an Avro single object: what wrote internal records before could read no other, and a worker of
such a version stops at a fingerprint that it does not know, instead of putting the record aside.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from msgspec import ValidationError, msgpack

from pipeline.domain.story import Event
from pipeline.domain.unconfirmed import Resolved, Unconfirmed
from pipeline.domain.value import Value
from pipeline.domain.work import Claim, Scheduled, Work
from pipeline.records import earlier
from pipeline.records.single_object import HEADER_BYTES, MARKER, UnknownSchema, UnknownVersion, decode, encode, one_of

ValueT = TypeVar("ValueT", bound=Value)

_ENCODER = msgpack.Encoder()


class RecordKind(Generic[ValueT]):
    """One kind of internal record."""

    def __init__(
        self, name: str, tag: bytes, version: int, value: type[ValueT], before: Callable[[bytes], ValueT]
    ) -> None:
        self._name, self._tag = name, tag
        self._version = version
        """Raised with every field and every member of a closed set that is added (tests/contract/test_layouts.py)."""
        self._header = MARKER + tag + version.to_bytes(2, "big")
        self._decoder = msgpack.Decoder(value)
        self._before = before
        """Reads what versions before MessagePack wrote."""

    def encode(self, value: ValueT) -> bytes:
        """Return `value` as a record."""
        return self._header + _ENCODER.encode(value)

    def decode(self, record: bytes) -> ValueT:
        """Return the value of a record of any version up to this one.

        Raises UnknownSchema, UnknownVersion; ValueError or EOFError for a record that is damaged.
        """
        if not record.startswith(self._header):
            self._check_earlier(record)
            if not self.has_written(record):
                return self._before(record)
        try:
            return self._decoder.decode(memoryview(record)[HEADER_BYTES:])
        except ValidationError as error:
            if str(error).startswith("Invalid enum value"):
                raise UnknownVersion(f"its {self._name} has an enum value {str(error)[19:]}") from None
            raise

    def has_written(self, record: bytes) -> bool:
        """Return whether `record` is of this kind, in any version since MessagePack."""
        return record.startswith(self._header[:-2])

    def _check_earlier(self, record: bytes) -> None:
        """Check that the header is of an earlier version. Raises UnknownSchema, UnknownVersion."""
        tag = record[2 : HEADER_BYTES - 2]
        if record.startswith(MARKER) and tag == self._tag:
            version = int.from_bytes(record[HEADER_BYTES - 2 : HEADER_BYTES], "big")
            if version > self._version:
                raise UnknownVersion(f"version {version} of {self._name}, known are those up to {self._version}")
        elif tag in _TAGS and record.startswith(MARKER):
            raise UnknownSchema(f"it is no {self._name}, but another record of the pipeline's own")


_WORK, _CLAIM, _EVENT, _DUE = b"work\0\0", b"claim\0", b"event\0", b"sched\0"
_TAGS = frozenset({_WORK, _CLAIM, _EVENT, _DUE})
WORK = RecordKind("work", _WORK, 1, Work, earlier.decode_work)
CLAIM = RecordKind("claim", _CLAIM, 1, Claim, earlier.decode_claim)
EVENT = RecordKind("event", _EVENT, 1, Event, earlier.decode_event)
SCHEDULED = RecordKind("scheduled", _DUE, 1, Scheduled, earlier.decode_scheduled)

encode_work, decode_work = WORK.encode, WORK.decode
encode_claim, decode_claim = CLAIM.encode, CLAIM.decode
encode_event, decode_event = EVENT.encode, EVENT.decode
encode_scheduled, decode_scheduled = SCHEDULED.encode, SCHEDULED.decode


def encode_unconfirmed(left: Unconfirmed) -> bytes:
    """Return `left` as a record."""
    work = left.work
    return encode(
        "unconfirmed",
        {
            "touch_id": work.touch_id,
            "channel": work.channel.value,
            "sender": work.sender,
            "occurred_at": left.occurred_at_ms,
            "error": left.error,
            "claim": encode_claim(left.claim),
            "resolution": None if left.resolution is None else left.resolution.value,
            "resolved_at": left.resolved_at_ms,
            "provider_message_id": left.provider_message_id,
            "resent_as": left.resent_as,
        },
    )


def decode_unconfirmed(value: bytes) -> Unconfirmed:
    """Return the unconfirmed touch of a record, resolved or not."""
    d = decode("unconfirmed", value)
    return Unconfirmed(
        decode_claim(d["claim"]),
        d["occurred_at"],
        d["error"],
        None if d["resolution"] is None else one_of(Resolved, d["resolution"]),
        d["resolved_at"],
        d["provider_message_id"],
        d["resent_as"],
    )
