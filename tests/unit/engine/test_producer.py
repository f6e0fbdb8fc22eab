"""A transaction against a broker that fails as told: what is sent again keeps its numbers, and nothing half is committed."""

from __future__ import annotations

import struct
from collections import deque
from io import BytesIO
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import KafkaConnectionError, NotCoordinatorError
from aiokafka.protocol.produce import ProduceRequest_v7
from aiokafka.protocol.transaction import AddPartitionsToTxnRequest_v0, EndTxnRequest_v0
from aiokafka.record.default_records import DefaultRecordBatch

from pipeline.engine import coordinator, producer, wire
from pipeline.engine import transaction_requests as requests
from pipeline.engine.coordinator import Coordinator
from pipeline.engine.producer import CommitFailed, Fenced, FencedProducer, RecordRefused

RECORDS = [("t", 0, b"k", b"1", ()), ("t", 0, b"k", b"2", ()), ("u", 3, b"k", b"3", ())]


class Broker:
    """Answers one request after the other; `faults` has what goes wrong: an error of the connection, or a code."""

    def __init__(self, *, is_v2: bool) -> None:
        self.is_v2 = is_v2
        self.faults: deque[tuple[int, Any]] = deque()
        self.seen: list[tuple[Any, ...]] = []
        self.offset = 100
        self.cluster = SimpleNamespace(leader_for_partition=lambda _: 1, partitions_for_topic=lambda _: {0, 3})

    async def send(self, _: int, request: wire.WireRequest, **__: Any) -> wire.Reader:
        fault = self.faults.popleft()[1] if self.faults and self.faults[0][0] == request._key else 0
        body = request.encode()
        answer = {
            requests.PRODUCE: self._produced,
            requests.ADD_PARTITIONS: self._added,
            requests.END_TRANSACTION: self._ended,
        }[request._key](body, 0 if isinstance(fault, Exception) else fault)
        if isinstance(fault, Exception):
            raise fault
        return wire.Reader(BytesIO(answer).getbuffer())

    def _produced(self, body: bytes, code: int) -> bytes:
        batches = _batches_v2(body) if self.is_v2 else _batches_v1(body)
        self.seen.append(("produce", {tp: (b.producer_epoch, b.base_sequence, n) for tp, b, n in batches}))
        rows = [(tp, code if number == 0 else 0) for number, (tp, _, _) in enumerate(batches)]
        if not self.is_v2:
            out = struct.pack(">i", len(rows))
            for tp, error in rows:
                out += wire.text(tp.topic) + struct.pack(">iihqqq", 1, tp.partition, error, self.offset, -1, 0)
            return out + struct.pack(">i", 0)
        out = wire.varint(len(rows) + 1)
        for tp, error in rows:
            out += wire.compact(tp.topic.encode()) + wire.varint(2)
            out += struct.pack(">ihqqq", tp.partition, error, self.offset, -1, 0)
            out += (
                wire.varint(2) + struct.pack(">i", 0) + wire.compact(b"too long") + b"\0" + wire.compact(b"bad") + b"\0"
            )
            out += b"\0"
        return out + struct.pack(">i", 0) + b"\0"

    def _added(self, body: bytes, code: int) -> bytes:
        topics = AddPartitionsToTxnRequest_v0.decode(body).topics
        self.seen.append(("add", {TopicPartition(topic, p) for topic, rows in topics for p in rows}))
        out = struct.pack(">ii", 0, len(topics))
        for topic, rows in topics:
            out += wire.text(topic) + struct.pack(">i", len(rows)) + b"".join(struct.pack(">ih", p, code) for p in rows)
        return out

    def _ended(self, body: bytes, code: int) -> bytes:
        epoch, commits = struct.unpack(">hb", body[-4:-1] if self.is_v2 else body[-3:])
        self.seen.append(("commit" if commits else "abort", epoch))
        if not self.is_v2:
            assert EndTxnRequest_v0.decode(body).encode() == body
            return struct.pack(">ih", 0, code)
        return struct.pack(">ihqh", 0, code, 7, epoch + 1) + b"\0"

    def force_metadata_update(self) -> None:
        """Do nothing: the partitions stay where they are."""

    async def _maybe_wait_metadata(self) -> None:
        """As above."""

    async def coordinator_lookup(self, *_: Any) -> int:
        self.seen.append(("lookup",))
        return 1

    async def ready(self, *_: Any, **__: Any) -> bool:
        return True


def _batches_v1(body: bytes) -> list[tuple[TopicPartition, DefaultRecordBatch, int]]:
    told = ProduceRequest_v7.decode(body)
    assert told.encode() == body
    found = [
        (TopicPartition(topic, number), DefaultRecordBatch(raw)) for topic, rows in told.topics for number, raw in rows
    ]
    return [(tp, batch, len(list(batch))) for tp, batch in found]


def _batches_v2(body: bytes) -> list[tuple[TopicPartition, DefaultRecordBatch, int]]:
    reader = wire.Reader(memoryview(body))
    assert reader.compact_text() == "id"
    assert reader.unpack(struct.Struct(">hi"))[0] == -1
    found = []
    for _ in range(reader.varint() - 1):
        topic = reader.compact_text()
        for _ in range(reader.varint() - 1):
            (number,) = reader.unpack(struct.Struct(">i"))
            batch = DefaultRecordBatch(bytes(reader.bytes(reader.varint() - 1)))
            found.append((TopicPartition(topic, number), batch, len(list(batch))))
            reader.skip_tags()
        reader.skip_tags()
    assert reader.skip_tags() == len(body)
    return found


@pytest.fixture(params=[False, True], ids=["before Kafka 4", "Kafka 4"])
async def broker(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Broker:
    for module in (producer, coordinator):
        monkeypatch.setattr(module, "RETRY_S", 0.0)
    return Broker(is_v2=request.param)


def opened(broker: Broker) -> FencedProducer:
    made = FencedProducer("id", {"bootstrap_servers": "nowhere:1"})
    made._client = broker
    made._coordinator = Coordinator("id", broker)
    made._coordinator._node = 1
    made._own, made._is_v2 = requests.Identity(7, 4), broker.is_v2
    return made


def produced(broker: Broker) -> list[dict[TopicPartition, tuple[int, int, int]]]:
    return [what[1] for what in broker.seen if what[0] == "produce"]


T0, U3 = TopicPartition("t", 0), TopicPartition("u", 3)


async def test_a_transaction_takes_as_few_requests_as_the_broker_allows(broker: Broker):
    made = opened(broker)
    assert await made.commit(RECORDS) == {("t", 0): 102, ("u", 3): 101}
    assert await made.commit(RECORDS[:1]) == {("t", 0): 101}
    kinds = [what[0] for what in broker.seen]
    assert kinds == (["produce", "commit"] * 2 if broker.is_v2 else ["add", "produce", "commit"] * 2)
    second = (5, 0, 1) if broker.is_v2 else (4, 2, 1)
    assert produced(broker) == [{T0: (4, 0, 2), U3: (4, 0, 1)}, {T0: second}], "a new epoch counts from 0"


async def test_a_batch_whose_answer_is_lost_is_sent_again_under_the_same_numbers(broker: Broker):
    broker.faults.append((requests.PRODUCE, KafkaConnectionError()))
    assert await opened(broker).commit(RECORDS) == {("t", 0): 102, ("u", 3): 101}
    first, second = produced(broker)
    assert first == second


@pytest.mark.parametrize("code", [3, 6, 7, 19])
async def test_only_the_batch_that_a_leader_did_not_take_is_sent_again(broker: Broker, code: int):
    broker.faults.append((requests.PRODUCE, code))
    await opened(broker).commit(RECORDS)
    assert produced(broker) == [{T0: (4, 0, 2), U3: (4, 0, 1)}, {T0: (4, 0, 2)}]


async def test_it_waits_while_the_last_transaction_is_being_completed(broker: Broker):
    broker.faults.extend([(requests.PRODUCE if broker.is_v2 else requests.ADD_PARTITIONS, 51)] * 3)
    await opened(broker).commit(RECORDS)
    assert [what[0] for what in broker.seen].count("commit") == 1


async def test_a_refused_record_aborts_the_transaction(broker: Broker):
    broker.faults.append((requests.PRODUCE, 10))
    with pytest.raises(
        RecordRefused, match=r"t\[0\]: MessageSizeTooLargeError" + (" bad; too long" if broker.is_v2 else "$")
    ):
        await opened(broker).commit(RECORDS)
    assert broker.seen[-1] == ("abort", 4)
    assert "commit" not in [what[0] for what in broker.seen]


@pytest.mark.parametrize("code", [47, 90])
@pytest.mark.parametrize("at", [requests.PRODUCE, requests.END_TRANSACTION])
async def test_a_fenced_producer_ends_nothing(broker: Broker, code: int, at: int):
    broker.faults.append((at, code))
    with pytest.raises(Fenced):
        await opened(broker).commit(RECORDS)
    assert "abort" not in [what[0] for what in broker.seen]


@pytest.mark.parametrize("fault", [KafkaConnectionError(), NotCoordinatorError.errno, 15])
async def test_a_commit_without_an_answer_is_sent_again_to_the_coordinator_of_now(broker: Broker, fault: Any):
    broker.faults.append((requests.END_TRANSACTION, fault))
    await opened(broker).commit(RECORDS)
    assert broker.seen[-3:] == [("commit", 4), ("lookup",), ("commit", 4)]


@pytest.mark.parametrize("code", [48, 53])
async def test_a_commit_that_is_refused_is_an_unknown_outcome(broker: Broker, code: int):
    broker.faults.append((requests.END_TRANSACTION, code))
    with pytest.raises(CommitFailed) as failed:
        await opened(broker).commit(RECORDS)
    assert type(failed.value) is CommitFailed


def test_the_version_of_transactions_is_read_among_the_features():
    def features(*named: tuple[str, int]) -> bytes:
        rows = b"".join(wire.compact(name.encode()) + struct.pack(">hh", most, 0) + b"\0" for name, most in named)
        value = wire.varint(len(named) + 1) + rows
        return b"\x02" + b"\1\x08" + bytes(8) + b"\2" + wire.varint(len(value)) + value

    head = struct.pack(">h", 0) + wire.varint(2) + struct.pack(">hhh", 0, 3, 13) + b"\0" + struct.pack(">i", 0)

    def version(tags: bytes) -> int:
        return requests.read_transaction_version(wire.Reader(memoryview(head + tags)))

    assert version(features(("metadata.version", 27), ("transaction.version", 2))) == 2
    assert version(features(("metadata.version", 20))) == 0
    assert version(b"\0") == 0
