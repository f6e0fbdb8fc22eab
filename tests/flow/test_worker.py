"""The worker from outside: how it starts, how it stops, and what becomes of touches good and bad."""

from __future__ import annotations

import asyncio
import base64
import gc
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
import zlib
from collections import Counter
from typing import TYPE_CHECKING

import httpx
import pytest
from aiohttp import web
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from pipeline.engine.required_topic import RequiredTopic
from pipeline.engine.topics import ensure_topics
from pipeline.records.single_object import decode, encode
from tests.harness.judge import CHANNELS
from tests.harness.stack import PARTITIONS, ROOT, Stack, touch

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def stack(kafka: list[str], topic_prefix: str, tmp_path: Path) -> Iterator[Stack]:
    stack = Stack(kafka, topic_prefix, tmp_path)
    stack.start_sandbox()
    yield stack
    stack.stop_all()


def worker(
    environment: dict[str, str], folder: Path, *more: str, wait_s: float = 60
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "faust", "-A", "pipeline", *more, "worker", "--without-web"],
        check=False,
        cwd=folder,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        timeout=wait_s,
    )


async def _produce_raw(stack: Stack, *records: tuple[bytes | None, bytes | None]) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=stack.servers, max_request_size=2_000_000)
    await producer.start()
    for key, value in records:
        await producer.send(f"{stack.prefix}touches", key=key, value=value, partition=0, headers=[("source", b"test")])
    await producer.stop()


async def _dead_letters(stack: Stack, count: int, as_json: bool = False) -> list[dict]:
    consumer = AIOKafkaConsumer(
        bootstrap_servers=stack.servers, isolation_level="read_committed", auto_offset_reset="earliest"
    )
    await consumer.start()
    consumer.assign([TopicPartition(f"{stack.prefix}touches.dead-letters", p) for p in range(PARTITIONS)])
    found: list[dict] = []
    deadline = time.monotonic() + 30
    while len(found) < count and time.monotonic() < deadline:
        for rows in (await consumer.getmany(timeout_ms=300)).values():
            found += [json.loads(r.value) if as_json else decode("dead_letter", r.value) for r in rows]
    await consumer.stop()
    return found


async def test_the_environment_alone_is_enough_and_sigterm_exits_0(stack: Stack, tmp_path: Path) -> None:
    stack.partitions = 8  # the default: no file says otherwise
    environment = {
        "KAFKA_BOOTSTRAP_SERVERS": ",".join(stack.servers),
        "KAFKA_TOPIC_PREFIX": stack.prefix,
        "RESEND_API_KEY": "re_k",
        "RESEND_FROM": "Me <me@example.com>",
        "RESEND_API_URL": f"{stack.sandbox}/resend",
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "faust", "-A", "pipeline", "worker", "--without-web"],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **environment},
    )
    try:
        await stack.wait_for_topics()
        await stack.produce([touch("email", n) for n in range(20)])
        assert await stack.follow(stack.all_ended, deadline_s=60)
    finally:
        process.terminate()
        assert process.wait(20) == 0
    assert stack.judge()["email"]["sent"] == 20


def test_a_wrong_setting_stops_the_start_with_one_line_and_exit_2(tmp_path: Path) -> None:
    (tmp_path / "p.toml").write_text("[kafka]\npartitons = 8\n")
    done = worker({"PIPELINE_CONFIG": "p.toml"}, tmp_path)
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert "kafka.partitons" in done.stderr
    assert "partitions" in done.stderr


def test_a_kafka_that_is_away_at_the_start_is_one_clear_line_and_exit_1(tmp_path: Path) -> None:
    done = worker({"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"}, tmp_path)
    assert done.returncode == 1
    assert "Kafka at 127.0.0.1:1 cannot be used" in done.stderr


async def test_a_topic_with_other_partitions_stops_the_start_with_the_command_that_mends_it(
    kafka: list[str], topic_prefix: str, tmp_path: Path
) -> None:
    await ensure_topics({"bootstrap_servers": kafka}, [RequiredTopic(f"{topic_prefix}touches", 3)], 1)
    done = await asyncio.to_thread(
        worker, {"KAFKA_BOOTSTRAP_SERVERS": kafka[0], "KAFKA_TOPIC_PREFIX": topic_prefix}, tmp_path
    )
    assert done.returncode == 1
    assert f"--alter --topic {topic_prefix}touches --partitions 8" in done.stderr


async def test_a_second_worker_on_the_same_data_folder_is_refused(stack: Stack, tmp_path: Path) -> None:
    stack.start(0)
    await stack.wait_for_topics()
    done = await asyncio.to_thread(worker, {"PIPELINE_CONFIG": str(tmp_path / "worker-0.toml")}, tmp_path)
    assert done.returncode == 1
    assert "in use by another worker" in done.stderr


async def test_sigterm_under_load_exits_0_in_time_and_loses_nothing(stack: Stack) -> None:
    stack.start(0)
    await stack.wait_for_topics()
    stack.rule(delay_ms=300)
    await stack.produce([touch(channel, n) for n in range(200) for channel in CHANNELS])
    await stack.follow(lambda: stack.ended() > 60, deadline_s=60)
    began = time.monotonic()
    assert await asyncio.to_thread(stack.stop, 0, 30.0) == 0
    assert time.monotonic() - began < 3 + 10, "request_timeout + 10 s"
    stack.behave()
    stack.start(1)
    assert await stack.follow(stack.all_ended, deadline_s=90)
    figures = stack.judge()
    assert all(f["looked up"] == 0 for f in figures.values()), "calls in flight were finished, not abandoned"


AT_EXIT = """
import atexit, gc, pathlib
atexit.register(lambda: pathlib.Path({0!r}).write_text(f"{{gc.get_threshold()[0]}} {{gc.get_freeze_count() > 10_000}}"))
"""


async def test_a_worker_sets_its_garbage_collector_and_a_command_does_not_wait_for_that(
    stack: Stack, tmp_path: Path
) -> None:
    seen = tmp_path / "seen"
    (tmp_path / "sitecustomize.py").write_text(AT_EXIT.format(str(seen)))
    path = f"{tmp_path}:{ROOT}"
    stack.start(0, PYTHONPATH=path)
    await stack.wait_for_work(0)
    assert stack.stop(0) == 0
    assert seen.read_text() == "50000 True"
    command = [sys.executable, "-m", "faust", "-A", "pipeline", "version"]
    subprocess.run(command, check=True, cwd=tmp_path, env={"PATH": os.environ["PATH"], "PYTHONPATH": path})
    assert seen.read_text() == f"{gc.get_threshold()[0]} False"


async def test_bad_input_is_put_aside_and_the_touch_behind_it_is_not_delayed(stack: Stack) -> None:
    stack.start(0)
    await stack.wait_for_topics()
    good = encode(
        "touch", {**touch("sms", 1), "variables": {}, "attachments": [], "headers": {}, "priority": 5, "metadata": {}}
    )
    bad = [
        random.Random(1).randbytes(300),
        b"{broken",
        b"[]",
        b'{"touch_id": 5}',
        b"\x00" * 50,
        b'{"a":' * 1000 + b"1" + b"}" * 1000,
        b"\xc3\x01" + b"\x07" * 8 + b"rest",
        good[:-4],
        None,
        json.dumps({**touch("sms", 2), "channel": "fax"}).encode(),
        json.dumps({**touch("sms", 3), "to": "12"}).encode(),
        json.dumps({**touch("sms", 4), "lead_id": ["x"]}).encode(),
    ]
    await _produce_raw(stack, *[(b"k%d" % n, value) for n, value in enumerate(bad)])
    await stack.produce([touch("sms", 1), touch("email", 9, body="x" * 900_000)])
    assert await stack.follow(
        lambda: all(stack.stories[t] and stack.stories[t][-1]["state"] == "sent" for t in ("sms-1", "email-9")),
        deadline_s=30,
    )
    letters = await _dead_letters(stack, len(bad))
    assert [letter["value"] for letter in sorted(letters, key=lambda each: each["source_offset"])] == bad
    assert {letter["headers"][0]["name"] for letter in letters} == {"source"}
    assert {letter["source_topic"] for letter in letters} == {f"{stack.prefix}touches"}
    assert stack.stories["sms-3"][0]["reason"] == "invalid"
    assert stack.workers[0].poll() is None


async def test_poison_of_every_kind_ends_no_worker(stack: Stack) -> None:
    stack.start(0)
    await stack.wait_for_topics()
    control = "\x01" * 170_000  # JSON makes six bytes of each
    touches = [
        touch("whatsapp", 1, body=control),
        touch("email", 1, body=control),
        touch("email", 2, body=control),
        touch("email", 3, body=control),
        touch("sms", 1, metadata={"m": control}),
        touch("email", 4, body="x" * 700_000, metadata={"m": "y" * 200_000}),
        touch("sms", 2, headers={f"h {n}": "x" for n in range(20_000)}),
        touch("sms", 3, variables={f"v{n}" * 10: [] for n in range(8_000)}),
    ]
    avro = encode(
        "touch",
        {
            **touch("whatsapp", 9, body="\x01" * 1_000_000),
            "variables": {},
            "attachments": [],
            "headers": {},
            "priority": 5,
            "metadata": {},
        },
    )
    stack.produced["whatsapp-9"] = touch("whatsapp", 9, body="\x01" * 1_000_000)
    await _produce_raw(stack, (b"whatsapp-9", avro))
    await stack.produce(touches)
    producer = AIOKafkaProducer(bootstrap_servers=stack.servers)
    await producer.start()
    for topic in ("touches.sms", "touches.scheduled", "touches.results"):
        await producer.send(f"{stack.prefix}{topic}", b"garbage", partition=0)
    await producer.stop()
    await stack.produce([touch(channel, 100 + n) for n in range(20) for channel in CHANNELS])
    assert await stack.follow(stack.all_ended, deadline_s=60), stack.ended()
    assert stack.workers[0].poll() is None
    assert stack.stories["whatsapp-9"][-1]["state"] == "sent"
    assert {stack.stories[t][-1]["state"] for t in ("sms-2", "sms-3")} == {"failed"}
    assert stack.stories["sms-1"][-1]["metadata"] == {"m": control}


async def test_lost_answers_are_looked_up_and_never_become_second_messages(stack: Stack) -> None:
    for number in range(2):
        stack.start(number)
    await stack.wait_for_topics()
    stack.rule(drop="after", probability=0.05, seed=3)
    stack.rule(drop="before", probability=0.02)
    await stack.produce([touch(channel, n) for n in range(300) for channel in CHANNELS])
    assert await stack.follow(stack.all_ended, deadline_s=120)
    figures = stack.judge()
    assert all(f["unconfirmed"] == 0 and f["sent"] == 300 for f in figures.values())
    assert sum(f["looked up"] for f in figures.values()) > 10


async def test_an_outage_burns_no_attempt_and_the_lanes_are_at_work_again_within_five_seconds(stack: Stack) -> None:
    stack.start(0)
    await stack.wait_for_topics()
    stack.rule(status=429)
    await stack.produce([touch(channel, n) for n in range(20) for channel in CHANNELS])
    await stack.follow(
        lambda: any(s["reason"] == "outage" for story in stack.stories.values() for s in story), deadline_s=20
    )
    await stack.follow(lambda: False, deadline_s=8)
    assert stack.ended() == 0
    stack.behave()
    began = time.monotonic()
    assert await stack.follow(lambda: stack.ended() >= 3, deadline_s=10)
    assert time.monotonic() - began < 5 + 1
    assert await stack.follow(stack.all_ended, deadline_s=30)
    assert all(f["sent"] == 20 for f in stack.judge().values())
    for touch_id, story in stack.stories.items():
        assert sum(s["reason"] == "outage" for s in story) <= 1, f"{touch_id} is told once per outage"


async def test_the_limit_holds_at_the_provider_through_a_kill(
    kafka: list[str], topic_prefix: str, tmp_path: Path
) -> None:
    stack = Stack(kafka, topic_prefix, tmp_path, limit='{ rate = 5, per = "1s" }')
    stack.start_sandbox()
    try:
        stack.start(0)
        await stack.wait_for_topics()
        await stack.produce([touch(channel, n) for n in range(40) for channel in ("whatsapp", "sms")])
        await stack.follow(lambda: stack.ended() > 30, deadline_s=30)
        stack.kill(0)
        assert await stack.follow(stack.all_ended, deadline_s=90)
        for provider in ("waha", "twilio"):
            at = [arrival["at_ms"] for arrival in stack.arrivals(provider)]
            assert max(sum(t <= each < t + 1_000 for each in at) for t in at) <= 5
            before = at[:12]
            assert (before[-1] - before[0]) / 11 < 200 * 1.15, "and it is used"
        assert all(f["unconfirmed"] == 0 for f in stack.judge().values())
    finally:
        stack.stop_all()


async def test_a_whatsapp_session_that_logs_out_pauses_its_lane_only(stack: Stack) -> None:
    stack.start(0)
    await stack.wait_for_topics()
    httpx.post(f"{stack.sandbox}/control/session", json={"session": "default", "status": "SCAN_QR_CODE"})
    await stack.produce([touch(channel, n) for n in range(10) for channel in CHANNELS])
    others = [f"{channel}-{n}" for channel in ("email", "sms") for n in range(10)]
    assert await stack.follow(
        lambda: all(stack.stories[t] and stack.stories[t][-1]["state"] == "sent" for t in others), deadline_s=30
    )
    assert all(stack.stories[f"whatsapp-{n}"][-1]["state"] != "sent" for n in range(10))
    httpx.post(f"{stack.sandbox}/control/session", json={"session": "default", "status": "WORKING"})
    began = time.monotonic()
    assert await stack.follow(lambda: stack.stories["whatsapp-0"][-1]["state"] == "sent", deadline_s=10)
    assert time.monotonic() - began < 6
    assert await stack.follow(stack.all_ended, deadline_s=20)
    assert stack.judge()["whatsapp"]["sent"] == 10


async def test_statuses_and_dead_letters_may_be_json(kafka: list[str], topic_prefix: str, tmp_path: Path) -> None:
    stack = Stack(kafka, topic_prefix, tmp_path)
    stack.start_sandbox()
    try:
        stack.start(0)
        path = tmp_path / "worker-0.toml"
        text = path.read_text().replace("[kafka]", '[kafka]\nstatus_format = "json"')
        stack.workers.pop(0).kill()
        path.write_text(text)
        with (tmp_path / "json.log").open("ab") as log:
            stack.workers[0] = subprocess.Popen(
                [sys.executable, "-m", "faust", "-A", "pipeline", "worker", "--without-web"],
                env={**os.environ, "PIPELINE_CONFIG": str(path)},
                cwd=ROOT,
                stdout=log,
                stderr=log,
            )
        await stack.wait_for_topics()
        await _produce_raw(stack, (b"k", b"\xff\xfe"))
        (letter,) = await _dead_letters(stack, 1, as_json=True)
        assert base64.b64decode(letter["value"]) == b"\xff\xfe"
        assert isinstance(letter["occurred_at"], int)
    finally:
        stack.stop_all()


async def test_with_a_registry_touches_come_and_statuses_go_in_confluent_framing_and_wait_while_it_is_away(
    kafka: list[str], topic_prefix: str, tmp_path: Path
) -> None:
    schemas: list[str] = [(ROOT / "schemas" / "touch.avsc").read_text()]
    answers = {"ok": True}
    subjects: list[str] = []

    async def by_id(request: web.Request) -> web.Response:
        if not answers["ok"]:
            return web.Response(status=503)
        number = int(request.match_info["id"])
        return (
            web.json_response({"schema": schemas[number]})
            if number < len(schemas)
            else web.json_response({}, status=404)
        )

    async def register(request: web.Request) -> web.Response:
        schemas.append((await request.json())["schema"])
        subjects.append(request.match_info["subject"])
        return web.json_response({"id": len(schemas) - 1})

    app = web.Application()
    app.add_routes([web.get("/schemas/ids/{id}", by_id), web.post("/subjects/{subject}/versions", register)])
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    stack = Stack(kafka, topic_prefix, tmp_path)
    stack.start_sandbox()
    try:
        stack.start(0)
        path = tmp_path / "worker-0.toml"
        stack.workers.pop(0).kill()
        path.write_text(
            path.read_text().replace(
                "[kafka]", f'[kafka]\nschema_registry_url = "http://127.0.0.1:{runner.addresses[0][1]}"'
            )
        )
        with (tmp_path / "registry.log").open("ab") as log:
            stack.workers[0] = subprocess.Popen(
                [sys.executable, "-m", "faust", "-A", "pipeline", "worker", "--without-web"],
                env={**os.environ, "PIPELINE_CONFIG": str(path)},
                cwd=ROOT,
                stdout=log,
                stderr=log,
            )
        await stack.wait_for_topics()
        answers["ok"] = False
        datum = {**touch("sms", 1), "variables": {}, "attachments": [], "headers": {}, "priority": 5, "metadata": {}}
        framed = b"\x00" + (0).to_bytes(4, "big") + encode("touch", datum)[10:]
        await _produce_raw(stack, (b"k", framed))
        await asyncio.sleep(2)
        assert httpx.get(f"{stack.sandbox}/control/counts").json() == {}
        answers["ok"] = True
        deadline = time.monotonic() + 20
        while httpx.get(f"{stack.sandbox}/control/counts").json() == {} and time.monotonic() < deadline:
            await asyncio.sleep(0.2)
        assert httpx.get(f"{stack.sandbox}/control/counts").json() == {"twilio": 1}
        consumer = AIOKafkaConsumer(
            bootstrap_servers=kafka, isolation_level="read_committed", auto_offset_reset="earliest"
        )
        await consumer.start()
        consumer.assign([TopicPartition(f"{topic_prefix}touches.status", n) for n in range(4)])
        rows = [r for rows in (await consumer.getmany(timeout_ms=5_000)).values() for r in rows]
        await consumer.stop()
        assert rows
        assert subjects == [
            f"{topic_prefix}{topic}-value"
            for topic in ("touches", "touches.status", "touches.dead-letters", "touches.suppressions")
        ]
        assert all(
            row.value[:1] == b"\x00" and "Status" in schemas[int.from_bytes(row.value[1:5], "big")] for row in rows
        )
    finally:
        stack.stop_all()
        await runner.cleanup()


async def test_a_worker_answers_signals_while_kafka_is_silent(stack: Stack) -> None:
    stack.start(0)
    await stack.wait_for_topics()
    stack.send(0, signal.SIGTERM)
    assert await asyncio.to_thread(stack.workers.pop(0).wait, 20) == 0


OLD_SENDER = """
[[channels.sms.senders]]
name = "old"
lane = 3
enabled = {enabled}
base_url = "{sandbox}/twilio"
account_sid = "AC1"
auth_token = "t"
from = "+15005550009"
"""


async def test_a_disabled_sender_hands_its_backlog_to_the_others_and_nobody_hears_twice(
    kafka: list[str], topic_prefix: str, tmp_path: Path
) -> None:
    stack = Stack(kafka, topic_prefix, tmp_path, limit='{ rate = 4, per = "1s" }')
    stack.start_sandbox()
    try:
        stack.config["sms"] = OLD_SENDER.format(enabled="true", sandbox=stack.sandbox)
        stack.start(0)
        await stack.wait_for_topics()
        await stack.produce(
            [*(touch("sms", n) for n in range(60)), *(touch("sms", n, sender="old") for n in range(60, 90))]
        )
        await stack.follow(lambda: stack.ended() > 20, deadline_s=60)
        assert await asyncio.to_thread(stack.stop, 0) == 0
        await stack.follow(lambda: False, deadline_s=2)
        before = {touch_id for touch_id, story in stack.stories.items() if story[-1]["state"] == "sent"}
        stack.config["sms"] = OLD_SENDER.format(enabled="false", sandbox=stack.sandbox)
        stack.start(0)
        assert await stack.follow(stack.all_ended, deadline_s=90)
        figures = stack.judge()["sms"]
        assert {stack.stories[touch_id][-1]["sender"] for touch_id in before} == {"default", "old"}
        after = {touch_id: story[-1] for touch_id, story in stack.stories.items() if touch_id not in before}
        assert {status["sender"] for status in after.values() if status["state"] == "sent"} == {"default"}
        pinned = [status for status in after.values() if status["state"] == "failed"]
        assert {(status["reason"], status["error"]) for status in pinned} == {
            ("unknown_sender", "sender 'old' is disabled")
        }
        assert figures["sent"] + len(pinned) == 90
        assert all(stack.produced[status["touch_id"]].get("sender") == "old" for status in pinned)
        assert pinned
    finally:
        stack.stop_all()


async def test_one_touch_id_is_one_touch_whatever_key_and_partitioner_it_comes_by(stack: Stack) -> None:
    """Keys hashed by murmur2 (Java, kafkajs, aiokafka), by crc32 (librdkafka), and no key at all (a console producer)."""
    touches = [touch("email", number) for number in range(8)]
    for each in touches:
        stack.produced[each["touch_id"]] = each
    stack.start(0)
    await stack.wait_for_topics()
    topic = f"{stack.prefix}touches"
    producer = AIOKafkaProducer(bootstrap_servers=stack.servers)
    await producer.start()
    for rounds, body in enumerate(["same", "same", "other"]):
        for number, each in enumerate(touches):
            key, value = each["touch_id"].encode(), json.dumps({**each, "body": body}).encode()
            await producer.send_and_wait(topic, value, key)
            await producer.send_and_wait(topic, value, key, partition=zlib.crc32(key) % PARTITIONS)
            await producer.send_and_wait(topic, value, partition=(number + rounds) % PARTITIONS)
    await producer.stop()
    letters = await _dead_letters(stack, 24)
    assert await stack.follow(stack.all_ended, deadline_s=30)
    assert [(s["state"], s["sequence"]) for story in stack.stories.values() for s in story] == [
        ("accepted", 1),
        ("sent", 2),
    ] * 8
    assert len(stack.accepted()) == 8
    assert {message["text"] for message in stack.accepted()} == {"same"}
    assert Counter((letter["reason"], letter["touch_id"]) for letter in letters) == {
        ("conflict", each["touch_id"]): 3 for each in touches
    }
    metrics = httpx.get(f"http://127.0.0.1:{stack.ports[0]}/metrics").text
    assert float(re.search(r"^pipeline_strays_total (\S+)", metrics, re.MULTILINE)[1]) > 20
    said = [
        line
        for line in (stack.folder / "worker-0.log").read_text().splitlines()
        if "away from their home partition" in line
    ]
    assert len(said) == 1
