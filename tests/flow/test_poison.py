"""One record in a hundred is poison, of every sort: nothing stops, every good touch is sent, every bad one answered or put aside."""

from __future__ import annotations

import gzip
import json
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from pipeline.domain.home import home_of
from pipeline.records.single_object import decode
from tests.harness.judge import CHANNELS
from tests.harness.odd_batches import batch, put, record
from tests.harness.stack import PARTITIONS, Stack, touch
from tests.harness.workers.poisoned import BUGS

if TYPE_CHECKING:
    from tests.harness.reporting import MakeStack

GOOD = 1_000
"""Touches by channel."""
CODECS = {1: "gzip", 2: "snappy", 3: "lz4", 4: "zstd"}


def value_of(channel: str, name: str, /, **more: Any) -> bytes:
    return json.dumps({**touch(channel, 0), "touch_id": name, "body": f"Hello, this is {name}.", **more}).encode()


@dataclass
class Poison:
    """What is put among the good touches, and what must become of it."""

    plain: list[tuple[bytes | None, list[tuple[str, bytes]]]] = field(default_factory=list)
    """Values as any producer sends them, with their headers."""
    raw: list[tuple[str, int, bytes]] = field(default_factory=list)
    """(topic, partition, batch): as no client sends them."""
    letters: int = 0
    """Dead letters that must come of it."""
    states: dict[str, str] = field(default_factory=dict)
    """How a touch must end."""

    def garbage(self) -> None:
        values = [
            None,
            b"",
            b"\x00",
            b"\xff\xfe{",
            b"{",
            b"[]",
            b'"text"',
            b"NaN",
            b'{"touch_id": NaN}',
            b"[" * 5_000,
            b"\xc3\x01" + bytes(20),
            b'{"touch_id": "\\ud800"}',
            b"Obj\x01" + bytes(30),
            gzip.compress(b"{}"),
            bytes(100_000),
        ]
        self.plain += [(value, []) for value in values]
        self.letters += len(values)

    def invalid(self) -> None:
        wrongs: list[dict[str, Any]] = [
            {"to": "nobody"},
            {"channel": "fax"},
            {"template": "missing", "body": None},
            {"time_zone": "Mars/Olympus"},
            {"attachments": [{}] * 5_000},
            {"variables": {"a": [[]] * 100}},
            {"priority": 10**30},
            {"not_before": "soon"},
            {"metadata": {"k": {"deep": {}}}},
            {"to": ""},
            {"campaign_id": "\x00"},
        ]
        for number, wrong in enumerate(wrongs):
            self.plain.append((value_of("sms", f"invalid-{number}", **wrong), []))
            self.letters += 1
            self.states[f"invalid-{number}"] = "failed"
        self.plain.append((value_of("email", "header-1"), [(f"h{n}", b"v" * 50) for n in range(2_000)]))
        self.states["header-1"] = "sent"

    def too_long(self) -> None:
        long = value_of("sms", "too-long-1", variables={"v": "a" * 6_000_000})
        self.raw.append(("touches", home_of("too-long-1", PARTITIONS), batch([record(0, long)], codec=1)))
        away = value_of("sms", "too-long-2", variables={"v": "a" * 2_000_000})
        self.raw.append(
            ("touches", (home_of("too-long-2", PARTITIONS) + 1) % PARTITIONS, batch([record(0, away)], codec=4))
        )
        self.states |= {"too-long-1": "failed", "too-long-2": "failed"}
        self.letters += 2

    def of_every_codec(self) -> None:
        for codec, name in CODECS.items():
            rows = [record(n, value_of(CHANNELS[n % 3], f"{name}-{n}")) for n in range(6)]
            self.raw.append(("touches", codec % PARTITIONS, batch(rows, codec=codec)))
            self.states |= {f"{name}-{n}": "sent" for n in range(6)}

    def broken_records(self) -> None:
        """The broker does not look into a compressed batch; a reader must."""
        good = [record(n, value_of("sms", f"beside-{n}")) for n in (0, 2)]
        odd = [record(1, b"{}", [(b"\xff\xfe", b"v")]), record(1, b"{}", [("Größe".encode("latin-1"), b"v")])]
        for number, each in enumerate(odd):
            self.raw.append(("touches", number, batch([good[0], each, good[1]], codec=1)))
        self.states |= {"beside-0": "sent", "beside-2": "sent"}
        self.letters += len(odd)

    def internal(self) -> None:
        for topic in ("touches.sms", "touches.whatsapp", "touches.email", "touches.scheduled", "touches.results"):
            self.raw += [
                (topic, n, batch([record(0, value, [(b"\xff", b"v")] if n else ())], codec=1))
                for n, value in enumerate((b"none of ours", b"{}"))
            ]
            self.letters += 2

    def bugs(self) -> None:
        for bug in BUGS:
            later = {"not_before": int(time.time() * 1000) + 8_000} if bug in {"schedule", "hand-back"} else {}
            for number in range(2):
                name = f"bug-{bug}-{number}"
                self.plain.append((value_of("sms", name, **later, metadata={"k": "v"}), []))
                self.states[name] = "sent" if bug in {"settle", "dedup"} else "failed"
                self.letters += 1 + (bug == "dedup")

    def is_answered(self, stack: Stack) -> bool:
        return not self.open(stack)

    def open(self, stack: Stack) -> dict[str, Any]:
        ends = {name: stack.stories[name][-1] for name in self.states if stack.stories.get(name)}
        return {
            name: ends.get(name)
            for name, state in self.states.items()
            if name not in ends or ends[name]["state"] != state
        }


async def send(stack: Stack, poison: Poison) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=stack.servers, max_request_size=2_000_000)
    await producer.start()
    try:
        for number, (value, headers) in enumerate(poison.plain):
            await producer.send(
                f"{stack.prefix}touches", value, key=b"k", partition=number % PARTITIONS, headers=headers
            )
        await producer.flush()
        for topic, partition, data in poison.raw:
            await put(producer, TopicPartition(f"{stack.prefix}{topic}", partition), data)
    finally:
        await producer.stop()


async def dead_letters(stack: Stack, count: int) -> list[dict[str, Any]]:
    consumer = AIOKafkaConsumer(
        bootstrap_servers=stack.servers,
        isolation_level="read_committed",
        auto_offset_reset="earliest",
        max_partition_fetch_bytes=8_000_000,
    )
    await consumer.start()
    consumer.assign([TopicPartition(f"{stack.prefix}touches.dead-letters", p) for p in range(PARTITIONS)])
    found: list[dict[str, Any]] = []
    deadline = time.monotonic() + 20
    while len(found) < count and time.monotonic() < deadline:
        for rows in (await consumer.getmany(timeout_ms=300)).values():
            found += [decode("dead_letter", row.value) for row in rows]
    await consumer.stop()
    return found


async def test_one_poisoned_record_in_a_hundred_stops_nothing(make_stack: MakeStack) -> None:
    stack = make_stack()
    stack.start(0, program="tests.harness.workers.poisoned")
    await stack.wait_for_topics()
    poison = Poison()
    for sort in (
        poison.garbage,
        poison.invalid,
        poison.too_long,
        poison.of_every_codec,
        poison.broken_records,
        poison.internal,
    ):
        sort()
    good = [touch(channel, number) for number in range(GOOD) for channel in CHANNELS]
    await stack.produce(good[: len(good) // 2])
    poison.bugs()
    await send(stack, poison)
    await stack.produce(good[len(good) // 2 :])
    names = set(stack.produced)
    is_done = await stack.follow(
        lambda: (
            poison.is_answered(stack)
            and all(stack.stories.get(n) and stack.stories[n][-1]["state"] == "sent" for n in names)
        ),
        deadline_s=60,
    )
    log = stack._log(0).read_text()
    assert stack.workers[0].poll() is None, log[-3000:]
    assert is_done, (poison.open(stack), [n for n in names if not stack.stories.get(n)][:10])
    letters = await dead_letters(stack, poison.letters)
    for each in letters:
        print(
            each["reason"],
            each["source_topic"],
            each["source_partition"],
            each["source_offset"],
            len(each["value"] or b""),
            each["error"][:150],
        )
    assert len(letters) == poison.letters
    assert "Traceback" not in log
    assert [s for s in stack.stories if [e["state"] for e in stack.stories[s]].count("sent") > 1] == []
