"""What a fetch brings: every codec and format that clients write is read, and what cannot be parsed costs only itself."""

from __future__ import annotations

import gzip
import struct
import zlib

import cramjam
import pytest
from aiokafka import codec as aiokafka_codec
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.legacy_records import LegacyRecordBatchBuilder
from aiokafka.record.util import calc_crc32c
from aiokafka.structs import TopicPartition
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.engine import codecs
from pipeline.engine.batch_decoder import MessageSet, PartitionRecords
from pipeline.engine.codecs import decompressed
from pipeline.engine.record_parser import UnreadableRecord
from tests.harness.odd_batches import HEADER_BYTES, batch, record, sealed

TOUCH = b'{"touch_id": "t-1", "body": "' + b"hello " * 200 + b'"}'


def read(data: bytes, start: int = 0, aborted=()) -> tuple[list, int]:
    rows = PartitionRecords(TopicPartition("t", 0), MessageSet(data), list(aborted), start, None, None, True, 1)
    return list(rows), rows.next_fetch_offset


def lz4(data: bytes, **how: object) -> bytes:
    packer = cramjam.lz4.Compressor(**how)
    packer.compress(data)
    return bytes(packer.finish())


def zlib_gzip(data: bytes, level: int) -> bytes:
    packer = zlib.compressobj(level, zlib.DEFLATED, 31)
    return packer.compress(data) + packer.flush()


HALF = len(TOUCH) // 2
PACKED = {
    "none": (0, TOUCH),
    "gzip of Python": (1, gzip.compress(TOUCH)),
    "gzip of zlib, level 1": (1, zlib_gzip(TOUCH, 1)),
    "gzip, stored": (1, zlib_gzip(TOUCH, 0)),
    "gzip in two members": (1, gzip.compress(TOUCH[:HALF]) + gzip.compress(TOUCH[HALF:])),
    "gzip, padded with zeros": (1, gzip.compress(TOUCH) + b"\0\0\0"),
    "snappy, raw (librdkafka)": (2, bytes(cramjam.snappy.compress_raw(TOUCH))),
    "snappy, xerial (Java)": (2, aiokafka_codec.snappy_encode(TOUCH)),
    "snappy, xerial in small blocks": (2, aiokafka_codec.snappy_encode(TOUCH, xerial_blocksize=100)),
    "snappy, two xerial streams": (
        2,
        aiokafka_codec.snappy_encode(TOUCH[:HALF]) + aiokafka_codec.snappy_encode(TOUCH[HALF:]),
    ),
    "lz4, as aiokafka": (3, aiokafka_codec.lz4_encode(TOUCH)),
    "lz4, linked blocks": (3, lz4(TOUCH, level=1, content_checksum=False, block_linked=True)),
    "lz4, with a content checksum": (3, lz4(TOUCH, level=4, content_checksum=True, block_linked=False)),
    "lz4, one shot": (3, bytes(cramjam.lz4.compress(TOUCH))),
    "zstd": (4, bytes(cramjam.zstd.compress(TOUCH))),
    "zstd, level 19": (4, bytes(cramjam.zstd.compress(TOUCH, 19))),
    "zstd in two frames": (4, bytes(cramjam.zstd.compress(TOUCH[:HALF])) + bytes(cramjam.zstd.compress(TOUCH[HALF:]))),
}


@pytest.mark.parametrize("name", PACKED)
def test_what_clients_compress_is_unpacked(name):
    codec, data = PACKED[name]
    assert decompressed(codec, data) == TOUCH


@pytest.mark.parametrize("codec", [0, 1, 2, 3, 4])
def test_a_batch_of_each_codec_is_read(codec):
    builder = DefaultRecordBatchBuilder(2, codec, 0, -1, -1, 0, 100_000)
    for n in range(3):
        builder.append(n, 1000 + n, b"k", TOUCH, [("h", b"v")])
    rows, position = read(bytes(builder.build()))
    assert [(r.offset, r.timestamp, r.key, r.value, list(r.headers)) for r in rows] == [
        (n, 1000 + n, b"k", TOUCH, [("h", b"v")]) for n in range(3)
    ]
    assert position == 3


@pytest.mark.parametrize(("magic", "codec"), [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (1, 3)])
def test_the_formats_of_old_brokers_are_read(magic, codec):
    builder = LegacyRecordBatchBuilder(magic, codec, 100_000)
    for n in range(3):
        builder.append(n, timestamp=5, key=b"k", value=TOUCH)
    data = bytearray(builder.build())
    if codec:
        data[0:8] = struct.pack(">q", 2)  # the broker gives the wrapper the offset of its last message
    rows, _ = read(bytes(data))
    assert [(r.offset, r.value) for r in rows] == [(n, TOUCH) for n in range(3)]


GOOD = [record(0, TOUCH), record(1, TOUCH), record(2, TOUCH)]
BROKEN_RECORDS = {
    "a header name that is no UTF-8": record(1, TOUCH, [(b"\xff\xfe", b"v")]),
    "a header name in Latin-1": record(1, TOUCH, [("Größe".encode("latin-1"), b"v")]),
    "a header without a name": record(1, TOUCH, [(None, b"v")]),
    "fewer headers than error_line": record(1, TOUCH, header_count=5),
    "a negative number of headers": record(1, TOUCH, header_count=-1),
    "millions of headers": record(1, TOUCH, header_count=10_000_000),
    "more bytes than error_line": record(1, TOUCH, more=b"xyz"),
    "a key longer than the record": record(1, TOUCH, key_length=10_000),
    "a value longer than the record": record(1, TOUCH, value_length=100_000),
    "a number without an end": record(1, TOUCH, more=b"\xff" * 12),
}


@pytest.mark.parametrize("codec", [0, 1, 4])
@pytest.mark.parametrize("name", BROKEN_RECORDS)
def test_one_record_that_cannot_be_parsed_costs_only_itself(name, codec):
    rows, position = read(batch([GOOD[0], BROKEN_RECORDS[name], GOOD[2]], codec=codec))
    assert position == 3
    assert [r.offset for r in rows] == [0, 1, 2]
    assert [r.value for r in rows if type(r) is not UnreadableRecord] == [TOUCH, TOUCH]
    assert type(rows[1]) is UnreadableRecord
    assert TOUCH in rows[1].value
    assert "cannot be read" in rows[1].flaw


def test_a_record_whose_length_makes_no_sense_costs_what_follows_in_its_batch_and_nothing_else():
    data = batch([GOOD[0], b"\x7f" + GOOD[1], GOOD[2]], count=3) + batch([record(0, TOUCH)], base=3)
    rows, position = read(data)
    assert position == 4
    assert [type(r) is UnreadableRecord for r in rows] == [False, True, False]
    assert "offsets 1 to 2" in rows[1].flaw
    assert rows[-1].offset == 3


def damaged(data: bytes, at: int, byte: int | None = None) -> bytes:
    out = bytearray(data)
    out[at] = out[at] ^ 0x20 if byte is None else byte
    return bytes(out)


WHOLE = batch(GOOD, base=7)
BROKEN_BATCHES = {
    "a flipped byte": (damaged(WHOLE, HEADER_BYTES + 20), "checksum"),
    "a wrong checksum": (damaged(WHOLE, 17), "checksum"),
    "codec 5": (batch(GOOD, base=7, attributes=5), "codec 5 is not known"),
    "codec 7": (batch(GOOD, base=7, attributes=7), "codec 7 is not known"),
    "format 3": (damaged(WHOLE, 16, 3), "format 3"),
    "gzip that is none": (batch(GOOD, base=7, attributes=1), "cannot be read"),
    "snappy that is none": (batch(GOOD, base=7, attributes=2), "cannot be read"),
    "lz4 that is none": (batch(GOOD, base=7, attributes=3), "cannot be read"),
    "zstd that is none": (batch(GOOD, base=7, attributes=4), "cannot be read"),
    "gzip that ends too soon": (
        sealed(WHOLE[:HEADER_BYTES] + gzip.compress(TOUCH)[:-9], attributes=1),
        "ends too soon",
    ),
    "a bomb": (
        sealed(WHOLE[:HEADER_BYTES] + zlib_gzip(bytes(2 * codecs.DECOMPRESSED_BYTES), 9), attributes=1),
        "expands to more",
    ),
    "a control batch without a marker": (batch([], base=7, attributes=0x30, count=0, last=2), "cannot be read"),
}


@pytest.mark.parametrize("name", BROKEN_BATCHES)
def test_a_batch_that_cannot_be_read_is_handed_on_as_it_is_and_the_next_fetch_begins_behind_it(name):
    data, error_line = BROKEN_BATCHES[name]
    follows = batch([record(0, TOUCH)], base=10)
    rows, position = read(data + follows, start=7)
    assert [type(r) for r in rows] == [UnreadableRecord]
    assert (rows[0].offset, rows[0].value) == (7, data)
    assert error_line in rows[0].flaw
    assert "offsets 7 to 9" in rows[0].flaw
    assert position == 10
    assert [r.value for r in read(follows, start=10)[0]] == [TOUCH]
    assert read(data, start=7)[1] == 10, "the same when it is the last there is"


@pytest.mark.parametrize("codec", [1, 2, 3, 4])
def test_what_unpacks_to_too_much_is_refused_without_being_unpacked(codec, monkeypatch):
    monkeypatch.setattr(codecs, "DECOMPRESSED_BYTES", 1_000_000)
    zeros = bytes(1_000_001)
    pack = {
        1: gzip.compress,
        2: aiokafka_codec.snappy_encode,
        3: aiokafka_codec.lz4_encode,
        4: aiokafka_codec.zstd_encode,
    }[codec]
    with pytest.raises(CorruptRecordException, match="expands to more than 1000000 bytes"):
        decompressed(codec, pack(zeros))
    assert len(decompressed(codec, pack(zeros[1:]))) == 1_000_000


def test_records_already_read_are_not_read_again_and_markers_are_passed_over():
    marker = batch(
        [record(0, struct.pack(">hi", 0, 0), key=struct.pack(">hh", 0, 1))], base=3, attributes=0x30, producer=9
    )
    rows, position = read(batch(GOOD) + marker + batch([record(0, b"last")], base=4), start=2)
    assert [r.offset for r in rows] == [2, 4]
    assert position == 5


def test_aborted_records_are_passed_over():
    aborted = batch(GOOD, attributes=0x10, producer=9)
    marker = batch(
        [record(0, struct.pack(">hi", 0, 0), key=struct.pack(">hh", 0, 0))], base=3, attributes=0x30, producer=9
    )
    kept = batch([record(0, b"kept")], base=4, attributes=0x10, producer=9)
    rows, position = read(aborted + marker + kept, aborted=[(9, 0)])
    assert [r.value for r in rows] == [b"kept"]
    assert position == 5


@example(b"\x00\x00\x00\x00", 0)
@given(st.binary(max_size=300), st.integers(0, 4))
def test_no_bytes_stop_the_reading(noise, codec):
    rows, position = read(sealed(WHOLE[:HEADER_BYTES] + noise, attributes=codec), start=7)
    assert position == 10
    assert all(7 <= r.offset < 10 for r in rows)


@given(st.binary(min_size=1, max_size=200))
def test_no_fetch_stops_the_reading_where_it_is(noise):
    rows, position = read(noise, start=7)
    assert position > 7
    assert [r.offset for r in rows] == [7]


@given(st.integers(0, len(WHOLE) - 1), st.integers(0, 255))
def test_whichever_byte_is_damaged_the_reading_goes_on(at, byte):
    rows, position = read(damaged(WHOLE, at, byte), start=7)
    assert position > 7
    assert all(r.offset >= 7 for r in rows)


def test_the_checksum_is_that_of_kafka():
    data = batch(GOOD)
    assert struct.unpack_from(">I", data, 17)[0] == calc_crc32c(data[21:])
