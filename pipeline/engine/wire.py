"""Kafka's requests and answers as bytes, sent over aiokafka's connections: its own encoding costs more than the round trip."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from aiokafka.errors import IncompatibleBrokerVersion

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from io import BytesIO

API_VERSIONS = 18
"""Key of the request whose answer has the same header in every version (Kafka protocol)."""


class Encoded:
    """Bytes that aiokafka takes for a header or a request."""

    __slots__ = ("_bytes",)

    def __init__(self, data: bytes) -> None:
        self._bytes = data

    def encode(self) -> bytes:
        """Return the bytes."""
        return self._bytes


class AnswerHeader(NamedTuple):
    """What aiokafka asks of a response header."""

    correlation_id: int


class WireRequest(Encoded):
    """An encoded request; aiokafka's connection sends it like one of its own. The answer is what follows its header."""

    __slots__ = ("_is_flexible", "_key", "_version")
    API_KEY = -1
    RESPONSE_TYPE: Any

    def __init__(self, key: int, version: int, body: bytes, *, is_flexible: bool = False) -> None:
        super().__init__(body)
        self._key, self._version, self._is_flexible = key, version, is_flexible

    def __repr__(self) -> str:
        return f"request {self._key} v{self._version}, {len(self._bytes)} bytes"

    def prepare(self, versions: Mapping[int, tuple[int, int]]) -> Self:
        """Return itself. Raises IncompatibleBrokerVersion."""
        least, most = versions.get(self._key, (0, -1))
        if not least <= self._version <= most:
            raise IncompatibleBrokerVersion(f"the broker knows versions {least} to {most} of {self!r}")
        return self

    def build_request_header(self, correlation_id: int, client_id: str) -> Encoded:
        """Return the header (version 2 for flexible requests, else 1)."""
        fields = struct.pack(">hhi", self._key, self._version, correlation_id) + text(client_id)
        return Encoded(fields + b"\0" if self._is_flexible else fields)

    def parse_response_header(self, answer: BytesIO) -> AnswerHeader:
        """Read the header of the answer (version 1 for flexible requests but ApiVersions, else 0)."""
        (correlation_id,) = struct.unpack(">i", answer.read(4))
        if self._is_flexible and self._key != API_VERSIONS:
            answer.seek(Reader(answer.getbuffer(), 4).skip_tags())
        return AnswerHeader(correlation_id)


class _Answer:
    @staticmethod
    def decode(answer: BytesIO) -> Reader:
        """Return a reader of what follows the header."""
        return Reader(answer.getbuffer(), answer.tell())


WireRequest.RESPONSE_TYPE = _Answer


class Reader:
    """Reads the fields of an answer one after the other."""

    __slots__ = ("_at", "_data")

    def __init__(self, data: memoryview, at: int = 0) -> None:
        self._data, self._at = data, at

    def unpack(self, layout: struct.Struct) -> tuple[Any, ...]:
        """Return the fields of a fixed layout."""
        found = layout.unpack_from(self._data, self._at)
        self._at += layout.size
        return found

    def bytes(self, size: int) -> memoryview:
        """Return the next `size` bytes."""
        start, self._at = self._at, self._at + max(size, 0)
        return self._data[start : self._at]

    def text(self) -> str:
        """Return a string."""
        return self._take(self.unpack(_SHORT)[0])

    def compact_text(self) -> str:
        """Return a compact string; an absent one is empty."""
        return self._take(self.varint() - 1)

    def varint(self) -> int:
        """Return an unsigned number of variable length."""
        value = shift = 0
        while True:
            byte = self._data[self._at]
            self._at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:  # noqa: PLR2004 - the last byte has no continuation bit
                return value
            shift += 7

    def tags(self) -> Iterator[tuple[int, Reader]]:
        """Yield each tagged field with a reader of its value."""
        for _ in range(self.varint()):
            tag, size = self.varint(), self.varint()
            yield tag, Reader(self._data[: self._at + size], self._at)
            self._at += size

    def skip_tags(self) -> int:
        """Read over the tagged fields, and return where they end."""
        for _ in self.tags():
            pass
        return self._at

    def _take(self, size: int) -> str:
        return str(self.bytes(size), "utf-8")


def text(value: str) -> bytes:
    """Return a string."""
    data = value.encode()
    return _SHORT.pack(len(data)) + data


def compact(data: bytes) -> bytes:
    """Return a compact string or byte array."""
    return varint(len(data) + 1) + data


def varint(value: int) -> bytes:
    """Return an unsigned number of variable length."""
    out = bytearray()
    while value >= 0x80:  # noqa: PLR2004
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


_SHORT = struct.Struct(">h")
