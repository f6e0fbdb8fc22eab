"""Avro in and out: the internal records, the three framings of touches, statuses and dead letters."""

from __future__ import annotations

from pipeline.records.codec import (
    UnknownVersion,
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
    one_of,
)

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
