"""Decompresses batches up to a bounded size: a crafted batch of 1 MiB can expand to more than a gigabyte."""

from __future__ import annotations

import struct
import zlib
from mmap import mmap
from typing import TYPE_CHECKING

import cramjam
from aiokafka.errors import CorruptRecordException, UnsupportedCodecError

if TYPE_CHECKING:
    from collections.abc import Callable

DECOMPRESSED_BYTES = 64 * 1024 * 1024
"""A batch that expands to more is not read."""
XERIAL = b"\x82SNAPPY\x00"
XERIAL_HEADER_BYTES = 16
GZIP = b"\x1f\x8b"
GZIP_FRAMED = 31
"""zlib's `wbits` for a gzip header and trailer."""


def decompressed(codec: int, data: bytes) -> bytes:
    """Return `data` decompressed; `codec` is the number in a batch's attributes (Kafka protocol, record batch).

    Raises UnsupportedCodecError, CorruptRecordException, or what the codec raises.
    """
    unpack = _CODECS.get(codec)
    if unpack is None:
        raise UnsupportedCodecError(f"codec {codec} is not known (known: gzip, snappy, lz4, zstd)")
    return unpack(data)


def _gzip(data: bytes) -> bytes:
    parts: list[bytes] = []
    room = DECOMPRESSED_BYTES
    while data.startswith(GZIP) or not parts:
        stream = zlib.decompressobj(GZIP_FRAMED)
        parts.append(stream.decompress(data, room + 1))
        room -= len(parts[-1])
        if room < 0:
            raise _too_long()
        if not stream.eof:
            raise CorruptRecordException("its gzip data ends too soon")
        data = stream.unused_data
    return b"".join(parts)


def _snappy(data: bytes) -> bytes:
    blocks = _xerial_blocks(data) if data.startswith(XERIAL) else [data]
    if sum(cramjam.snappy.decompress_raw_len(block) for block in blocks) > DECOMPRESSED_BYTES:
        raise _too_long()
    return b"".join(bytes(cramjam.snappy.decompress_raw(block)) for block in blocks)


def _xerial_blocks(data: bytes) -> list[bytes]:
    """Return the blocks of the framing that Java clients use with snappy: a header, then each block with its length."""
    blocks: list[bytes] = []
    at = XERIAL_HEADER_BYTES
    while at < len(data):
        if data.startswith(XERIAL, at):  # several streams in a row
            at += XERIAL_HEADER_BYTES
            continue
        (length,) = struct.unpack_from(">i", data, at)
        at += 4
        if not 0 < length <= len(data) - at:
            raise CorruptRecordException(f"a snappy block of {length} bytes")
        blocks.append(data[at : at + length])
        at += length
    return blocks


def _lz4(data: bytes) -> bytes:
    return _into_room(cramjam.lz4.decompress_into, data)


def _zstd(data: bytes) -> bytes:
    return _into_room(cramjam.zstd.decompress_into, data)


def _into_room(unpack: Callable[[bytes, mmap], int], data: bytes) -> bytes:
    # Mapped memory is not allocated until it is written to, so the bound costs nothing for small batches.
    with mmap(-1, DECOMPRESSED_BYTES) as room:
        try:
            length = unpack(data, room)
        except Exception as error:
            if "whole buffer" in str(error):
                raise _too_long() from None
            raise
        return room[:length]


def _too_long() -> CorruptRecordException:
    return CorruptRecordException(f"it expands to more than {DECOMPRESSED_BYTES} bytes")


_CODECS: dict[int, Callable[[bytes], bytes]] = {0: bytes, 1: _gzip, 2: _snappy, 3: _lz4, 4: _zstd}
