"""Record batches as no client writes them: made byte by byte, and put where the broker would not take them."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from aiokafka import codec as codecs
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.record.util import calc_crc32c, encode_varint

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiokafka import AIOKafkaProducer, TopicPartition

HEADER_BYTES = 61
PACK = {0: bytes, 1: codecs.gzip_encode, 2: codecs.snappy_encode, 3: codecs.lz4_encode, 4: codecs.zstd_encode}


def varint(number: int) -> bytes:
    out = bytearray()
    encode_varint(number, out.append)
    return bytes(out)


def record(
    delta: int,
    value: bytes,
    headers: Sequence[tuple[bytes | None, bytes]] = (),
    *,
    key: bytes | None = b"k",
    header_count: int | None = None,
    more: bytes = b"",
    key_length: int | None = None,
    value_length: int | None = None,
) -> bytes:
    """One record of format 2; what is given by name is written as it is, right or wrong."""
    said = [b"\0", varint(0), varint(delta)]
    said += [varint(len(key or b"") if key_length is None else key_length), key or b""]
    said += [varint(len(value) if value_length is None else value_length), value]
    said.append(varint(len(headers) if header_count is None else header_count))
    for name, content in headers:
        said += [varint(-1 if name is None else len(name)), name or b"", varint(len(content)), content]
    body = b"".join(said) + more
    return varint(len(body)) + body


def batch(
    records: Sequence[bytes],
    *,
    base: int = 0,
    codec: int = 0,
    attributes: int | None = None,
    producer: int = -1,
    count: int | None = None,
    last: int | None = None,
    timestamp: int = 1000,
) -> bytes:
    """A batch of format 2; `attributes` may claim another codec than the one it is written with."""
    number = len(records) if count is None else count
    head = struct.pack(
        ">qiibIhiqqqhii",
        base,
        0,
        0,
        2,
        0,
        codec,
        number - 1 if last is None else last,
        timestamp,
        timestamp,
        producer,
        0,
        -1 if producer < 0 else 0,
        number,
    )
    return sealed(head + PACK[codec](b"".join(records)), attributes=codec if attributes is None else attributes)


def sealed(data: bytes, *, attributes: int | None = None) -> bytes:
    """Give a batch its length and its checksum."""
    out = bytearray(data)
    struct.pack_into(">i", out, 8, len(out) - 12)
    if attributes is not None:
        struct.pack_into(">h", out, 21, attributes)
    struct.pack_into(">I", out, 17, calc_crc32c(bytes(out[21:])))
    return bytes(out)


async def put(producer: AIOKafkaProducer, tp: TopicPartition, data: bytes) -> None:
    """Put a batch into a topic as it is."""
    await producer.partitions_for(tp.topic)
    node = producer.client.cluster.leader_for_partition(tp)
    request = ProduceRequest(None, -1, 10_000, [(tp.topic, [(tp.partition, data)])])
    answer = await producer.client.send(node, request)
    assert answer.topics[0][1][0][1] == 0, f"{tp}: the broker refuses it with {answer.topics}"
