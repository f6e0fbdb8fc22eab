"""What a fetch makes of a batch that cannot be read: it comes in its place, and everything around it comes too."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition

from pipeline.engine.record_consumer import ReadRecord, RecordFetcher
from tests.harness.odd_batches import batch, record

A, B = TopicPartition("t", 0), TopicPartition("t", 1)
UNKNOWN_CODEC = 7
LOOKS = 30


class State(SimpleNamespace):
    """Where a partition is read."""

    def __init__(self) -> None:
        super().__init__(has_valid_position=True, paused=False, position=0, highwater=None, lso=None, timestamp=None)

    def consumed_to(self, position: int) -> None:
        self.position = position


class Broker:
    """Answers each fetch with all that it has from the asked offset on, whole batches as a broker does."""

    def __init__(self, **batches: list[bytes]) -> None:
        self._batches = {A: batches["a"], B: batches["b"]}
        self.states = {A: State(), B: State()}
        self.fetcher = RecordFetcher.__new__(RecordFetcher)
        vars(self.fetcher).update(
            _client=self,
            _client_rack=None,
            _preferred_read_replica={},
            _records={},
            _key_deserializer=None,
            _value_deserializer=None,
            _check_crcs=True,
            _isolation_level=1,
            _prefetch_backoff=0,
            _subscriptions=SimpleNamespace(reassignment_in_progress=False),
            _wait_consume_future=None,
            _notify=lambda _: None,
            _closed=True,
        )

    async def send(self, _node: int, request: Any) -> Any:
        answers = [(tp, 0, 99, 99, [], self._from(TopicPartition("t", tp), at)) for tp, at, _ in request.topics[0][1]]
        return SimpleNamespace(API_VERSION=4, topics=[("t", answers)])

    def _from(self, tp: TopicPartition, offset: int) -> bytes:
        return b"".join(each for each in self._batches[tp] if last_offset(each) >= offset)

    async def read(self, max_records: int | None = None) -> dict[TopicPartition, list[ReadRecord]]:
        assignment = SimpleNamespace(active=True, state_value=self.states.get)
        wanted = [
            (tp.partition, state.position, 1) for tp, state in self.states.items() if tp not in self.fetcher._records
        ]
        if wanted:
            await self.fetcher._proc_fetch_request(assignment, 1, SimpleNamespace(topics=[("t", wanted)]))
        return await self.fetcher.fetched_records((), max_records=max_records)

    async def read_all(self, max_records: int | None = None) -> dict[TopicPartition, list[tuple[int, bool]]]:
        found: dict[TopicPartition, list[tuple[int, bool]]] = {A: [], B: []}
        for _ in range(LOOKS):
            for tp, rows in (await self.read(max_records)).items():
                assert all((row.topic, row.partition) == tp for row in rows)
                found[tp] += [(row.offset, row.flaw is None) for row in rows]
        return found


def last_offset(data: bytes) -> int:
    return int.from_bytes(data[:8], "big") + int.from_bytes(data[23:27], "big")


def good(base: int, count: int = 3) -> bytes:
    return batch([record(n, b"v%d" % (base + n)) for n in range(count)], base=base)


def damaged(base: int) -> bytes:
    data = bytearray(good(base))
    data[-1] ^= 1
    return bytes(data)


BAD = {
    "a codec that nobody knows": batch([record(n, b"v") for n in range(3)], base=3, attributes=UNKNOWN_CODEC),
    "a checksum that is wrong": damaged(3),
    "bytes that do not unpack": batch([record(n, b"v") for n in range(3)], base=3, attributes=3),
}


@pytest.mark.parametrize("max_records", [None, 1, 2, 100])
@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
async def test_a_batch_that_cannot_be_read_takes_no_record_of_any_partition_with_it(
    bad: bytes, max_records: int | None
):
    broker = Broker(a=[good(0, 4)], b=[good(0), bad, good(6)])
    found = await broker.read_all(max_records)
    assert found[A] == [(n, True) for n in range(4)]
    assert found[B] == [(0, True), (1, True), (2, True), (3, False), (6, True), (7, True), (8, True)]
    assert (broker.states[A].position, broker.states[B].position) == (4, 9)


@pytest.mark.parametrize("max_records", [None, 1])
async def test_of_a_batch_with_one_odd_record_the_others_are_read(max_records: int | None):
    odd = batch([record(0, b"v"), record(1, b"v", [(b"\xff", b"")]), record(2, b"v")], base=3, codec=1)
    broker = Broker(a=[], b=[good(0), odd])
    found = await broker.read_all(max_records)
    assert found[B] == [(0, True), (1, True), (2, True), (3, True), (4, False), (5, True)]


async def test_a_record_comes_with_all_it_has():
    broker = Broker(a=[batch([record(0, b"v", [(b"h", b"1")])], base=0)], b=[])
    assert await broker.read() == {A: [ReadRecord("t", 0, 0, 1000, b"k", b"v", (("h", b"1"),), None)]}


async def test_a_flaw_says_which_offsets_and_why():
    broker = Broker(a=[BAD["a codec that nobody knows"]], b=[])
    broker.states[A].position = 3
    [row] = (await broker.read())[A]
    assert (
        row.flaw
        == "the batch of offsets 3 to 5 cannot be read: UnsupportedCodecError: UnsupportedCodecError: codec 7 is not known (known: gzip, snappy, lz4, zstd)"
    )
