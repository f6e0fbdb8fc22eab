"""What ended unconfirmed is found out afterwards: from the lane's last word to the provider's, or a person's."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from pipeline import flow
from pipeline.console.unconfirmed import work as resolving
from pipeline.console.unconfirmed.work import OperatorAnswer, record, unconfirmed
from pipeline.domain.audit import Door, Who
from pipeline.domain.unconfirmed import Resolved, Unconfirmed
from pipeline.domain.work import Channel, Claim, Request
from pipeline.engine.required_topic import RequiredTopic
from pipeline.engine.topics import ensure_topics
from pipeline.kafka.cluster import Cluster, CommandFailed
from pipeline.records import encode_unconfirmed
from pipeline.records.single_object import decode
from pipeline.records.writing import single_object
from tests.harness.lane_rig import T0, work
from tests.harness.stack import ROOT, Stack, touch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

SHORT = 'resolve_for = "2s"'


@pytest.fixture
def stack(kafka: list[str], topic_prefix: str, tmp_path: Path) -> Iterator[Stack]:
    stack = Stack(kafka, topic_prefix, tmp_path, whatsapp=SHORT, email=SHORT, sms=SHORT)
    stack.start_sandbox()
    yield stack
    stack.stop_all()


class Command:
    """The commands as users run them, with the worker's configuration."""

    def __init__(self, stack: Stack) -> None:
        self._env = {**os.environ, "PIPELINE_CONFIG": str(stack.folder / "worker-0.toml")}

    def start(self, *command: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "faust", "-A", "pipeline", *command],
            cwd=ROOT,
            env=self._env,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    async def run(self, *command: str) -> tuple[int, str, str]:
        process = self.start(*command)
        out, err = await asyncio.to_thread(process.communicate, timeout=60)
        return process.returncode, out, err

    async def resolve(self, *how: str) -> tuple[int, str, str]:
        return await self.run("unconfirmed", "resolve", *how)

    async def list(self, *how: str) -> list[dict[str, Any]]:
        code, out, err = await self.run("--json", "unconfirmed", "list", *how)
        assert (code, err) == (0, "")
        return [json.loads(line) for line in out.splitlines()]


async def unconfirmed_shell(stack: Stack, *touches: dict[str, Any], drop: str) -> Command:
    """Let `touches` end unconfirmed: their answers are lost (`drop` after or before they are accepted), and nobody can be asked."""
    stack.start(0)
    await stack.wait_for_topics()
    stack.rule(drop=drop)
    stack.rule(what="ask", status=500)
    await stack.produce(touches)
    assert await stack.follow(stack.all_ended, deadline_s=40)
    assert {story[-1]["state"] for story in stack.stories.values()} == {"unconfirmed"}
    stack.behave()
    return Command(stack)


async def test_a_provider_that_can_tell_later_is_asked_later_and_nothing_is_sent(stack: Stack) -> None:
    shell = await unconfirmed_shell(stack, touch("whatsapp", 1), touch("sms", 1), drop="after")
    ids = {message["provider"]: message["id"] for message in stack.accepted()}
    code, out, _ = await shell.run("unconfirmed", "list")
    assert code == 0
    assert sorted(line.split()[1:5] for line in out.splitlines()) == [
        ["sms-1", "sms", "default", "+12125550001"],
        ["whatsapp-1", "whatsapp", "default", "+12125550001"],
    ]
    for touch_id, provider in (("whatsapp-1", "waha"), ("sms-1", "twilio")):
        code, out, err = await shell.resolve("--ask-provider", touch_id)
        assert (code, out, err) == (0, f"{touch_id} is recorded as sent ({ids[provider]})\n", "")
    assert await shell.list() == []
    assert {
        each["touch_id"]: (each["resolution"], each["provider_message_id"]) for each in await shell.list("--all")
    } == {"whatsapp-1": ("sent", ids["waha"]), "sms-1": ("sent", ids["twilio"])}
    code, out, _ = await shell.resolve("--ask-provider", "sms-1")
    assert code == 0
    assert f"recorded as sent ({ids['twilio']}) since" in out
    code, _, err = await shell.resolve("--not-sent", "sms-1")
    assert code == 1
    assert f"recorded as sent ({ids['twilio']}) since" in err
    assert stack.accepted_count() == 2
    await stack.follow(lambda: False, deadline_s=1)
    assert [story[-1]["state"] for story in stack.stories.values()] == ["unconfirmed"] * 2, (
        "the status has ended with it"
    )


async def test_what_the_provider_does_not_have_is_sent_again_once_whatever_its_twin_has(stack: Stack) -> None:
    lost = touch("sms", 1, metadata={"k": "v"})
    shell = await unconfirmed_shell(stack, lost, drop="before")
    await stack.produce([{**lost, "touch_id": "twin"}])
    assert await stack.follow(stack.all_ended, deadline_s=20)
    code, out, _ = await shell.resolve("--ask-provider", "sms-1")
    assert code == 0
    assert "the provider has no such message" in out
    assert "resolve --not-sent sms-1" in out
    assert [each["touch_id"] for each in await shell.list()] == ["sms-1"]

    both = [shell.start("unconfirmed", "resolve", "--not-sent", "sms-1") for _ in range(2)]
    ended = [(await asyncio.to_thread(each.communicate, timeout=60), each.returncode) for each in both]
    assert 0 in {code for _, code in ended}, ended
    assert all(code == 0 or err.startswith("another `unconfirmed resolve` is running") for (_, err), code in ended), (
        ended
    )
    code, out, _ = await shell.resolve("--not-sent", "sms-1")
    assert code == 0
    assert "sms-1 is recorded as not sent since" in out
    assert "status --follow sms-1:again" in out

    stack.produced["sms-1:again"] = lost
    assert await stack.follow(lambda: stack.stories["sms-1:again"][-1:] and stack.all_ended(), deadline_s=30)
    assert [status["state"] for status in stack.stories["sms-1:again"]] == ["accepted", "sent"]
    assert stack.stories["sms-1:again"][0]["metadata"] == {"k": "v", "resends": "sms-1"}
    assert stack.stories["sms-1"][-1]["state"] == "unconfirmed"
    assert [message["text"] for message in stack.accepted()] == [lost["body"]] * 2, "the twin's, and this one's"
    assert (await shell.list("--all"))[0]["resent_as"] == "sms-1:again"


async def test_resend_is_never_asked_because_asking_may_send(stack: Stack) -> None:
    shell = await unconfirmed_shell(stack, *(touch("email", n) for n in range(3)), drop="after")
    calls = len(stack.arrivals("resend"))
    code, _, err = await shell.resolve("--ask-provider", "email-1")
    assert code == 1
    assert "https://resend.com/emails (to p1@example.com" in err
    assert len(stack.arrivals("resend")) == calls
    code, out, _ = await shell.resolve("--sent", "--id", "abc", "email-1")
    assert (code, out) == (0, "email-1 is recorded as sent (abc)\n")
    code, _, err = await shell.resolve("--sent", "--id", "xyz", "email-1")
    assert code == 1
    assert "--force records it otherwise" in err
    code, out, _ = await shell.resolve("--sent", "--id", "xyz", "--force", "email-1")
    assert (code, out) == (0, "email-1 is recorded as sent (xyz)\n")
    assert sorted(each["touch_id"] for each in await shell.list()) == ["email-0", "email-2"]
    for wrong in (("--sent", "--not-sent"), ("--not-sent", "--id", "abc")):
        assert (await shell.resolve(*wrong, "email-0"))[0] == 2
    code, _, err = await shell.resolve("--sent", "nobody")
    assert code == 1
    assert "nobody has not ended unconfirmed" in err


# --- recording, without a worker ---------------------------------------------------------------------------------


class Book:
    """`touches.unconfirmed` with one touch in it, and what is in both topics."""

    def __init__(self, kafka: list[str], prefix: str) -> None:
        self.cluster = Cluster({"bootstrap_servers": kafka}, prefix)

    async def open(self, left: Unconfirmed) -> None:
        specs = [
            spec
            for spec in flow.topics(partitions=2, lanes=1, replication=1, dedup_for_ms=86_400_000)
            if spec.name in {flow.UNCONFIRMED, flow.TOUCHES, flow.AUDIT}
        ]
        await ensure_topics(
            self.cluster.connection,
            [RequiredTopic(self.cluster.topic_name(s.name), s.partitions, s.settings) for s in specs],
            1,
        )
        producer = AIOKafkaProducer(**self.cluster.connection, max_request_size=flow.CLAIM_BYTES)
        await producer.start()
        await producer.send_and_wait(
            self.cluster.topic_name(flow.UNCONFIRMED),
            encode_unconfirmed(left),
            left.work.touch_id.encode(),
            partition=left.work.origin,
        )
        await producer.stop()

    async def record(self, answer: OperatorAnswer) -> tuple[Unconfirmed, bool]:
        context: Any = SimpleNamespace(cluster=self.cluster, now_ms=lambda: T0, writer=lambda: single_object)
        return await record(context, "t-1", answer, Who("bob", None, Door.CLI), print)

    async def known(self) -> Unconfirmed:
        return (await unconfirmed(self.cluster, print))["t-1"]

    async def touches(self) -> list[tuple[bytes, str]]:
        """Return key and touch_id of what is in `touches`, read committed."""
        consumer = AIOKafkaConsumer(
            **self.cluster.connection, isolation_level="read_committed", auto_offset_reset="earliest"
        )
        await consumer.start()
        partitions = [TopicPartition(self.cluster.topic_name(flow.TOUCHES), n) for n in range(2)]
        consumer.assign(partitions)
        ends, found = await consumer.end_offsets(partitions), []
        while any([await consumer.position(tp) < ends[tp] for tp in partitions]):
            for records in (await consumer.getmany(timeout_ms=200)).values():
                found += [(each.key, decode("touch", each.value)["touch_id"]) for each in records]
        await consumer.stop()
        return found


@pytest.fixture
def book(kafka: list[str], topic_prefix: str) -> Book:
    return Book(kafka, topic_prefix)


def left(**more: Any) -> Unconfirmed:
    claim = Claim("c1", (work("t-1", origin=1, **more),), Request("/send", b"", "text/plain", ""), T0, T0 + 5_000)
    return Unconfirmed(claim, T0, "no answer")


async def test_the_latest_answer_counts_and_the_touch_is_produced_once_under_its_own_key(book: Book) -> None:
    await book.open(left())
    assert (await book.record(OperatorAnswer(Resolved.NOT_SENT)))[1]
    assert not (await book.record(OperatorAnswer(Resolved.NOT_SENT)))[1]
    assert await book.touches() == [(b"t-1:again", "t-1:again")]
    await book.record(OperatorAnswer(Resolved.SENT, "SM1", overrules=True))
    known = await book.known()
    assert (known.resolution, known.provider_message_id, known.resent_as) == (Resolved.SENT, "SM1", "t-1:again")


async def test_a_touch_too_large_to_be_produced_again_is_not_recorded_as_if_it_were(book: Book) -> None:
    await book.open(left(body="x" * 1_500_000, channel=Channel.EMAIL))
    with pytest.raises(CommandFailed, match="too large to be produced again"):
        await book.record(OperatorAnswer(Resolved.NOT_SENT))
    assert (await book.known()).resolution is None
    assert (await book.record(OperatorAnswer(Resolved.SENT)))[1], "and it can still be recorded"


async def test_who_is_overtaken_while_resolving_records_nothing(book: Book, monkeypatch: pytest.MonkeyPatch) -> None:
    await book.open(left())
    read = resolving.unconfirmed

    async def slowly(cluster: Cluster, complain: Callable[[str], None]) -> dict[str, Unconfirmed]:
        monkeypatch.setattr(resolving, "unconfirmed", read)
        found = await read(cluster, complain)
        await book.record(OperatorAnswer(Resolved.SENT, "SM1"))
        return found

    monkeypatch.setattr(resolving, "unconfirmed", slowly)
    with pytest.raises(CommandFailed, match="another `unconfirmed resolve` is running"):
        await book.record(OperatorAnswer(Resolved.NOT_SENT))
    assert (await book.known()).resolution is Resolved.SENT
    assert await book.touches() == []
