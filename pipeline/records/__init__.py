"""Records in and out: the internal ones, the three framings of touches, statuses and dead letters."""

from __future__ import annotations

from pipeline.records.codec import (
    decode_claim,
    decode_event,
    decode_scheduled,
    decode_unconfirmed,
    decode_work,
    encode_claim,
    encode_event,
    encode_scheduled,
    encode_unconfirmed,
    encode_work,
)
from pipeline.records.single_object import UnknownVersion, one_of

__all__ = [
    "UnknownVersion",
    "decode_claim",
    "decode_event",
    "decode_scheduled",
    "decode_unconfirmed",
    "decode_work",
    "encode_claim",
    "encode_event",
    "encode_scheduled",
    "encode_unconfirmed",
    "encode_work",
    "one_of",
]
