"""Callbacks and clicks end to end: real web processes, a real Kafka, a real worker, and providers who come again."""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
from collections import Counter, defaultdict
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from pipeline import flow
from pipeline.domain.address_hash import address_hash
from pipeline.domain.unsubscribe import UnsubscribeLinks
from pipeline.domain.work import Channel
from pipeline.engine.required_topic import RequiredTopic
from pipeline.engine.topics import ensure_topics
from pipeline.kafka.cluster import Cluster, partition_counts
from pipeline.lab.local.kafka import LocalKafka
from pipeline.records.single_object import decode
from tests.harness.callbacks import (
    INBOUND_PATH,
    KEY,
    RESEND_PATH,
    STATUS_PATH,
    WAHA_PATH,
    CallbackStack,
    Signed,
    resend,
    resend_event,
    twilio,
    waha,
    waha_event,
)
from tests.harness.stack import ROOT, touch

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator
    from pathlib import Path

COPIES = 5
LINKS = UnsubscribeLinks("", KEY.encode())
CALLBACK_TOPICS = (flow.CALLBACKS, flow.DELIVERIES, flow.SUPPRESSIONS, flow.OPT_OUTS)


@pytest.fixture
def callback_stack(kafka: list[str], topic_prefix: str, tmp_path: Path) -> Iterator[CallbackStack]:
    stack = CallbackStack(kafka, topic_prefix, tmp_path, timeout="20s", lease="2s")
    yield stack
    stack.stop_all()


def facts_of(message: dict[str, Any]) -> dict[str, tuple[str, Signed]]:
    """Return what the provider tells of a message: kind → (path, signed request)."""
    name = message["id"]
    match message["provider"]:
        case "resend":
            return {
                kind: (RESEND_PATH, resend(resend_event(kind, name))) for kind in ("delivered", "opened", "clicked")
            }
        case "twilio":
            form = {"MessageSid": name, "AccountSid": "AC0"}
            return {
                kind: (STATUS_PATH, twilio(STATUS_PATH, {**form, "MessageStatus": kind}))
                for kind in ("delivered", "undelivered")
            }
        case _:
            acks = {"delivered": 2, "read": 3}
            return {
                kind: (WAHA_PATH, waha(waha_event("message.ack", {"id": name, "fromMe": True, "ack": ack})))
                for kind, ack in acks.items()
            }


async def records(stack: CallbackStack, logical: str) -> AsyncGenerator[Any, None]:
    """Yield the committed records of a topic, for ever."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=stack.servers, isolation_level="read_committed", auto_offset_reset="earliest"
    )
    await consumer.start()
    try:
        name = f"{stack.prefix}{logical}"
        count = (await partition_counts(Cluster({"bootstrap_servers": stack.servers})))[name]
        consumer.assign([TopicPartition(name, each) for each in range(count)])
        async for record in consumer:
            yield record
    finally:
        await consumer.stop()


async def deliveries(stack: CallbackStack, count: int) -> list[dict[str, Any]]:
    """Return the first `count` deliveries."""
    found: list[dict[str, Any]] = []
    async with asyncio.timeout(60), aclosing(records(stack, flow.DELIVERIES)) as told:
        async for record in told:
            found.append(decode("delivery", record.value))
            if len(found) == count:
                break
    return found


async def ends(stack: CallbackStack) -> dict[TopicPartition, int]:
    counts = await partition_counts(Cluster({"bootstrap_servers": stack.servers}))
    names = {f"{stack.prefix}{each}" for each in CALLBACK_TOPICS} & counts.keys()
    if not names:
        return {}
    consumer = AIOKafkaConsumer(bootstrap_servers=stack.servers)
    await consumer.start()
    try:
        partitions = [TopicPartition(name, number) for name in names for number in range(counts[name])]
        return dict(await consumer.end_offsets(partitions))
    finally:
        await consumer.stop()


async def metric(stack: CallbackStack, name: str) -> float:
    """Return a metric of worker 0."""
    async with httpx.AsyncClient() as client:
        page = (await client.get(f"http://127.0.0.1:{stack.ports[0]}/metrics")).text
    return next((float(line.rpartition(" ")[2]) for line in page.splitlines() if line.startswith(name)), 0.0)


async def until(look: Any, is_enough: Any, deadline_s: float = 60.0) -> Any:
    async with asyncio.timeout(deadline_s):
        while not is_enough(found := await look()):
            await asyncio.sleep(0.1)
    return found


async def test_what_providers_and_recipients_say_is_told_once_and_obeyed(callback_stack: CallbackStack) -> None:
    stack = callback_stack
    stack.start_sandbox()
    stack.start(0)
    await stack.wait_for_work(0)
    for number in (0, 1):
        stack.start_web(number)
    await stack.wait_for_web(0)
    await stack.wait_for_web(1)
    await every_fact_is_told_once(stack)
    await nothing_forged_is_written(stack)
    await words_clicks_and_bounces_suppress(stack)
    await an_opt_out_without_a_number_waits_for_it(stack)
    assert [await stack.stop_web(number) for number in (0, 1)] == [0, 0]


async def every_fact_is_told_once(stack: CallbackStack) -> None:
    """Each fact comes five times, shuffled, half of them before `sent`, while both web processes are killed."""
    stack.rule(text="held", delay_after_ms=9_000)
    channels = ("email", "sms", "whatsapp")
    plain = [touch(channel, number) for channel in channels for number in range(3)]
    held = [touch(channel, number, body=f"held {channel} {number}") for channel in channels for number in range(3, 6)]
    await stack.produce(plain)
    assert await stack.follow(stack.all_ended, deadline_s=60)
    await stack.produce(held)
    messages = await until(lambda: asyncio.to_thread(stack.accepted), lambda found: len(found) == 18)
    assert stack.ended() == 9, "the other half is not sent yet"
    due = [(message["id"], kind, *how) for message in messages for kind, how in facts_of(message).items()]
    dice = random.Random(17)
    calls = dice.sample(due * COPIES, len(due) * COPIES)
    half = len(calls) // 2
    await post_all(stack, calls[:half])
    for number in (0, 1):
        stack.kill_web(number)
    await post_all(stack, calls[half:])
    assert await stack.follow(stack.all_ended, deadline_s=60)
    told = await deliveries(stack, len(due))
    assert Counter((each["provider_message_id"], each["kind"]) for each in told) == Counter(
        (message_id, kind) for message_id, kind, *_ in due
    )
    by_touch = defaultdict(list)
    for each in told:
        by_touch[each["touch_id"]].append(each["sequence"])
    assert all(numbers == list(range(1, len(numbers) + 1)) for numbers in by_touch.values())
    dropped = (COPIES - 1) * len(due)
    name = "pipeline_facts_dropped_total"
    await until(lambda: repeats(stack), lambda found: found >= dropped)
    assert await metric(stack, f'{name}{{channel="sms",why="unmatched"') == 0


async def repeats(stack: CallbackStack) -> float:
    return sum(
        [
            await metric(stack, f'pipeline_facts_dropped_total{{channel="{each}",why="repeated"}}')
            for each in ("email", "sms", "whatsapp")
        ]
    )


async def post_all(stack: CallbackStack, calls: list[Any]) -> None:
    """Post them side by side, at both web processes in turn."""
    room = asyncio.Semaphore(20)

    async def one(at: int, path: str, signed: Signed) -> None:
        async with room:
            await stack.post_as_providers_do(path, signed, at % 2)

    await asyncio.gather(*(one(at, path, signed) for at, (_, _, path, signed) in enumerate(calls)))


async def nothing_forged_is_written(stack: CallbackStack) -> None:
    before = await ends(stack)
    assert {tp.topic.removeprefix(stack.prefix) for tp in before} == set(CALLBACK_TOPICS)
    body = resend_event("bounced", "e-1", bounce={"type": "Permanent"}, to=["ann@example.com"])
    other = twilio(STATUS_PATH, {"MessageSid": "SM1", "AccountSid": "AC9", "MessageStatus": "delivered"})
    inbound = {"MessageSid": "SM2", "AccountSid": "AC0", "From": "+12125550001", "Body": "STOP"}
    forged = [
        (RESEND_PATH, ({}, body)),
        (RESEND_PATH, (resend(body)[0], body + b" ")),
        (RESEND_PATH, resend(body, at_s=1)),
        (STATUS_PATH, other),
        (INBOUND_PATH, twilio(INBOUND_PATH, inbound, "wrong")),
        (INBOUND_PATH, twilio(INBOUND_PATH, inbound, public_url=f"http://{stack.public[0]}")),
        (WAHA_PATH, waha(waha_event("message.ack", {"id": "x", "fromMe": True, "ack": 2}, "other"))),
        (WAHA_PATH, waha(waha_event("message.ack", {"id": "x", "fromMe": True, "ack": 2}), "wrong")),
    ]
    assert [await stack.post(path, signed) for path, signed in forged] == [403] * len(forged)
    link = f"http://{stack.public[0]}/u/{LINKS.code(address_hash(Channel.EMAIL, 'p1@example.com', KEY.encode()))}"
    async with httpx.AsyncClient() as client:
        answers = [await client.get(link), await client.head(link), await client.post(link, data={"other": "1"})]
    assert [each.status_code for each in answers] == [200, 200, 400]
    assert await ends(stack) == before


async def words_clicks_and_bounces_suppress(stack: CallbackStack) -> None:
    """STOP by SMS, a click, a hard bounce, a complaint, 21610: the next touch is suppressed without a call; START lifts its own only."""
    before = stack.accepted_count()
    sms, click, bounced = touch("sms", 0)["to"], "p1@example.com", "p2@example.com"
    stop = {"MessageSid": "SMstop", "AccountSid": "AC0", "From": sms, "Body": " Stop. "}
    assert await stack.post(INBOUND_PATH, twilio(INBOUND_PATH, stop)) == 200
    link = f"http://{stack.public[1]}/u/{LINKS.code(address_hash(Channel.EMAIL, click, KEY.encode()))}"
    async with httpx.AsyncClient() as client:
        answer = await client.post(link, data={"List-Unsubscribe": "One-Click"})
    assert (answer.status_code, answer.content, "set-cookie" in answer.headers) == (200, b"", False)
    bounce = resend_event("bounced", "e-9", bounce={"type": "Permanent", "subType": "NoEmail"}, to=[bounced])
    complaint = resend_event("complained", "e-9", to=["p3@example.com"])
    assert [await stack.post(RESEND_PATH, resend(each)) for each in (bounce, complaint)] == [200, 200]
    refused = {"MessageSid": "SMx", "AccountSid": "AC0", "To": touch("sms", 1)["to"], "MessageStatus": "failed"}
    assert await stack.post(STATUS_PATH, twilio(STATUS_PATH, {**refused, "ErrorCode": "21610"})) == 204

    async def entries() -> list[float]:
        names = ("phone,opt_out", "email,unsubscribed", "email,bounced", "email,complained")
        pairs = (each.split(",") for each in names)
        return [await metric(stack, f'pipeline_suppressions{{reason="{r}",scope="{s}"}}') for s, r in pairs]

    await until(entries, lambda found: found == [2, 1, 1, 1])
    following = [
        touch("sms", 100, to=sms),
        touch("whatsapp", 100, to=sms),
        touch("sms", 101, to=touch("sms", 1)["to"]),
        *(touch("email", number, to=f"p{number - 100}@example.com") for number in (101, 102, 103)),
    ]
    transactional = touch("email", 111, to=click, purpose="transactional")
    await stack.produce([*following, transactional])
    assert await stack.follow(stack.all_ended, deadline_s=60)
    ended = {each["touch_id"]: stack.stories[each["touch_id"]][-1] for each in following}
    assert {name: (each["state"], each["reason"]) for name, each in ended.items()} == {
        "sms-100": ("suppressed", "opt_out"),
        "whatsapp-100": ("suppressed", "opt_out"),
        "sms-101": ("suppressed", "opt_out"),
        "email-101": ("suppressed", "unsubscribed"),
        "email-102": ("suppressed", "bounced"),
        "email-103": ("suppressed", "complained"),
    }
    assert stack.stories["email-111"][-1]["state"] == "sent"
    assert stack.accepted_count() == before + 1
    start = {"MessageSid": "SMstart", "AccountSid": "AC0", "From": sms, "Body": "start"}
    assert await stack.post(INBOUND_PATH, twilio(INBOUND_PATH, start)) == 200
    assert await stack.post(INBOUND_PATH, twilio(INBOUND_PATH, stop)) == 200, "an old STOP, replayed"
    await until(entries, lambda found: found == [1, 1, 1, 1])


async def an_opt_out_without_a_number_waits_for_it(stack: CallbackStack) -> None:
    """STOP of an account that hides its number is pending, and listed, until an operator finds the number."""
    said = {"id": "false_77@lid_3EB0C7", "from": "77@lid", "fromMe": False, "body": "STOP"}
    assert await stack.post(WAHA_PATH, waha(waha_event("message", said))) == 200
    await until(lambda: metric(stack, "pipeline_pending_opt_outs"), lambda found: found == 1)
    code, out, _ = await command(stack, "--json", "opt-outs", "list")
    (listed,) = [json.loads(line) for line in out.splitlines()]
    assert (code, listed["id"], listed["sender"], sorted(listed)) == (0, "3EB0C7", "default", ["at", "id", "sender"])
    number = touch("whatsapp", 5)["to"]
    resolve = ("opt-outs", "resolve", "3EB0C7", "--address", number, "--note", "found in the chat")
    code, out, err = await command(stack, *resolve)
    assert (code, out) == (0, "3EB0C7 is resolved: the number is suppressed\n"), err
    await until(lambda: metric(stack, "pipeline_pending_opt_outs"), lambda found: found == 0)
    code, out, err = await command(stack, *resolve)
    assert (code, out, err) == (1, "", "there is no pending opt-out 3EB0C7\n")
    name = 'pipeline_suppressions{reason="opt_out",scope="phone"}'
    await until(lambda: metric(stack, name), lambda found: found == 2)
    await stack.produce([touch("whatsapp", 205, to=number)])
    assert await stack.follow(stack.all_ended, deadline_s=60)
    ended = stack.stories["whatsapp-205"][-1]
    assert (ended["state"], ended["reason"], ended["error"]) == ("suppressed", "opt_out", "found in the chat")


async def command(stack: CallbackStack, *typed: str) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "faust", "-A", "pipeline", *typed),
        cwd=ROOT,
        env={**os.environ, "PIPELINE_CONFIG": str(stack.folder / "worker-0.toml")},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    return process.returncode or 0, out.decode(), err.decode()


async def test_without_its_topics_or_kafka_it_answers_503_and_goes_on_by_itself(
    topic_prefix: str, tmp_path: Path
) -> None:
    with LocalKafka(tmp_path / "kafka") as kafka:
        stack = CallbackStack(kafka.bootstrap_servers, topic_prefix, tmp_path, kafka="")
        stack.sandbox = "http://127.0.0.1:1"
        try:
            await goes_on(stack, kafka)
        finally:
            stack.stop_all()


async def goes_on(stack: CallbackStack, kafka: LocalKafka) -> None:
    stack.start_web(0)
    said = await stack.wait_for_web(0, lambda status, text: status == 503 and "does not exist" in text)
    assert f"{stack.prefix}touches.callbacks" in said
    event = resend(resend_event("delivered", "e-1"))
    assert await stack.post(RESEND_PATH, event) == 503
    assert await ends(stack) == {}, "asking creates no topic"
    needed = flow.topics(partitions=4, lanes=4, replication=1, dedup_for_ms=86_400_000, callbacks=True)
    required = [RequiredTopic(stack.prefix + each.name, each.partitions, each.settings) for each in needed]
    await ensure_topics({"bootstrap_servers": stack.servers}, required, 1)
    await stack.wait_for_web(0)
    assert await stack.post(RESEND_PATH, event) == 200
    kafka.kill()
    assert await stack.post(RESEND_PATH, event) == 503
    assert (await stack.ready(0))[0] == 503
    assert await stack.post(RESEND_PATH, (event[0], b"altered")) == 403
    kafka.start_broker(0)
    await stack.post_as_providers_do(RESEND_PATH, event)
    await stack.wait_for_web(0)
    assert sum(end for tp, end in (await ends(stack)).items() if tp.topic.endswith(flow.CALLBACKS)) >= 2
    assert await stack.stop_web(0) == 0
