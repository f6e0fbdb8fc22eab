"""The home of a touch: the one partition of `touches` that keeps its state, wherever its record arrived."""

from __future__ import annotations

from struct import Struct

_SEED = 0x9747B28C
_MULTIPLIER = 0x5BD1E995
_MASK = 0xFFFFFFFF
_WORDS = tuple(Struct(f"<{count}I") for count in range(33))
"""A touch_id has 128 characters at most."""


def murmur2(data: bytes) -> int:
    """Return Kafka's 32-bit hash of at most 131 bytes, not negative (org.apache.kafka.common.utils.Utils.murmur2).

    aiokafka's goes byte by byte and takes five times as long; every touch needs it.
    """
    length = len(data)
    count = length >> 2
    hashed = _SEED ^ length
    for word in _WORDS[count].unpack_from(data):
        mixed = (word * _MULTIPLIER) & _MASK
        hashed = (hashed * _MULTIPLIER ^ (mixed ^ mixed >> 24) * _MULTIPLIER) & _MASK
    if length & 3:
        hashed = ((hashed ^ int.from_bytes(data[count << 2 :], "little")) * _MULTIPLIER) & _MASK
    hashed = ((hashed ^ hashed >> 13) * _MULTIPLIER) & _MASK
    return hashed ^ hashed >> 15


def home_of(touch_id: str, partitions: int) -> int:
    """Return the partition that Kafka's default partitioner gives the key `touch_id` (a legal one, so ASCII)."""
    return (murmur2(touch_id.encode()) & 0x7FFFFFFF) % partitions
