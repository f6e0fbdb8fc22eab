"""A short writer's records are in one transaction, or none is; acts have their record in it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from aiokafka.errors import KafkaError, MessageSizeTooLargeError

from pipeline.console.dead_letters.replay import AT_ONCE, replay
from pipeline.console.dead_letters.view import ShownLetter
from pipeline.console.suppressions.work import add, lift
from pipeline.domain.audit import Door, Role, Who
from pipeline.domain.dead_letter import DeadLetter, DeadReason
from pipeline.domain.suppression import Scope, Suppression, SuppressionReason
from pipeline.flow import AUDIT, TOUCH_MESSAGE_BYTES, TOUCHES
from pipeline.kafka import transaction as transactions
from pipeline.kafka.cluster import Cluster, CommandFailed
from pipeline.kafka.topic import RecordPosition
from pipeline.kafka.transaction import Outgoing, open_short_writer
from pipeline.records.single_object import decode
from tests.harness.web_rig import T0, command_context

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

CLUSTER = Cluster({"bootstrap_servers": ["127.0.0.1:1"]}, "p.", 4)
BOB = Who("bob", Role.OPERATOR, Door.API, "10.0.0.1")
ENTRY = Suppression(Scope.ANY, lead_id="ann", reason=SuppressionReason.MANUAL, by="bob", at_ms=T0)


class Broker:
    """Takes transactions of a producer that is called as aiokafka's is."""

    def __init__(self) -> None:
        self.committed: list[list[tuple[str, bytes | None, bytes | None, int | None]]] = []
        self.aborted = 0
        self.refuses: Exception | None = None
        self.largest = 1 << 30
        self.offsets: dict[str, int] = {}

    def __call__(self, **config: Any) -> Broker.Producer:
        return Broker.Producer(self, config)

    class Producer:
        def __init__(self, broker: Broker, config: dict[str, Any]) -> None:
            self._broker, self.config, self._open = broker, config, []

        async def start(self) -> None:
            assert self.config["transactional_id"].startswith("p.pipeline-")
            assert self.config["transaction_timeout_ms"] == 10_000

        async def stop(self) -> None:
            pass

        async def begin_transaction(self) -> None:
            self._open = []

        async def abort_transaction(self) -> None:
            self._broker.aborted += 1

        async def commit_transaction(self) -> None:
            if self._broker.refuses is not None:
                raise self._broker.refuses
            self._broker.committed.append(self._open)

        async def send(
            self,
            topic: str,
            value: bytes | None = None,
            key: bytes | None = None,
            partition: int | None = None,
            timestamp_ms: int | None = None,
            headers: Any = None,
        ) -> Any:
            assert isinstance(headers, list)
            self._open.append((topic, key, value, partition))
            offset = self._broker.offsets.get(topic, 0)
            self._broker.offsets[topic] = offset + 1

            async def acknowledged() -> Any:
                if len(value or b"") > self._broker.largest:
                    raise MessageSizeTooLargeError
                return SimpleNamespace(partition=partition or 0, offset=offset)

            return acknowledged()


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> Broker:
    async def check_topics(_cluster: Cluster, _topics: Any) -> None:
        return None

    broker = Broker()
    monkeypatch.setattr(transactions, "TransactionalProducer", broker)
    monkeypatch.setattr(transactions, "check_topics", check_topics)
    return broker


async def test_records_of_several_topics_are_committed_together_and_told_where_they_stand(broker: Broker):
    async with open_short_writer(CLUSTER, TOUCHES, AUDIT) as write:
        found = await write([Outgoing(TOUCHES, b"k", b"v", partition=2), Outgoing(AUDIT, b"bob", b"a", partition=0)])
        assert found == [RecordPosition(2, 0), RecordPosition(0, 0)]
        assert (await write([Outgoing(AUDIT, b"bob", b"b", partition=0)])) == [RecordPosition(0, 1)]
    assert [[each[0] for each in one] for one in broker.committed] == [
        ["p.touches", "p.touches.audit"],
        ["p.touches.audit"],
    ]


@pytest.mark.parametrize("error", [KafkaError("no"), OSError("cut"), TimeoutError()])
async def test_what_cannot_be_committed_is_aborted_and_a_failure(broker: Broker, error: Exception):
    broker.refuses = error
    with pytest.raises(CommandFailed):
        await add(command_context(CLUSTER), ENTRY, BOB)
    assert (broker.committed, broker.aborted) == ([], 1)


async def test_an_entry_and_its_lifting_have_a_record_each(broker: Broker):
    context = command_context(CLUSTER)
    assert await add(context, ENTRY, BOB) == 0
    assert await lift(context, [ENTRY, ENTRY], BOB, note="+12125550001") == 2
    (added, lifted) = broker.committed
    assert [each[:2] for each in added] == [("p.touches.suppressions", ENTRY.key.encode()), ("p.touches.audit", b"bob")]
    assert [each[2] is None for each in lifted] == [True, True, False, False]
    told = decode("audit", lifted[2][2])
    assert (told["action"], told["target"], told["note"], told["remote"]) == ("lift", ENTRY.key, "***", "10.0.0.1")


def letter(number: int, value: bytes = b"v") -> ShownLetter:
    dead = DeadLetter(DeadReason.INVALID, "wrong", "p.touches", 1, number, b"k", value, [], None, T0)
    return ShownLetter(RecordPosition(0, number), dead)


async def letters(*values: ShownLetter) -> AsyncGenerator[ShownLetter, None]:
    for each in values:
        yield each


async def test_each_replayed_letter_is_in_a_transaction_with_its_record(broker: Broker):
    progress: list[int] = []
    done = await replay(
        command_context(CLUSTER),
        letters(*(letter(number) for number in range(AT_ONCE + 1))),
        BOB,
        new_id=None,
        refuse=pytest.fail,
        progress=progress.append,
    )
    assert done == [RecordPosition(1, number) for number in range(AT_ONCE + 1)]
    assert progress[-1] == AT_ONCE + 1
    assert [len(one) for one in broker.committed] == [2 * AT_ONCE, 2]
    assert decode("audit", broker.committed[1][1][2])["target"] == f"0/{AT_ONCE}"


async def test_a_letter_that_is_too_large_is_refused_and_the_rest_is_replayed(broker: Broker):
    refused: list[str] = []

    async def replayed(*values: ShownLetter) -> int:
        done = await replay(
            command_context(CLUSTER),
            letters(*values),
            BOB,
            new_id=None,
            refuse=lambda place, _: refused.append(place),
            progress=lambda _: None,
        )
        return len(done)

    broker.largest = TOUCH_MESSAGE_BYTES - 1_000
    many = [letter(1), letter(2, b"x" * (TOUCH_MESSAGE_BYTES - 500)), letter(3), letter(4, b"x" * TOUCH_MESSAGE_BYTES)]
    assert await replayed(*many) == 2
    assert refused == ["0/4", "0/2"]
    assert [each[0] for one in broker.committed for each in one] == ["p.touches", "p.touches.audit"] * 2
