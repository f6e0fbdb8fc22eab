"""The commands as users run them: output, exit codes, interruption."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError

from pipeline import flow
from pipeline.engine.required_topic import RequiredTopic
from pipeline.engine.topics import ensure_topics
from pipeline.records.single_object import encode

ROOT = Path(__file__).parents[2]
FULL = Path("/dev/full")


class Shell:
    def __init__(self, servers: list[str], prefix: str) -> None:
        self._env = {**os.environ, "CONSOLE_TEST": f"{servers[0]}|{prefix}"}
        self.prefix = prefix

    def start(self, *command: str, **how: object) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "faust", "-A", "tests.harness.workers.console", *command],
            cwd=ROOT,
            env=self._env,
            text=True,
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            **{"stdout": subprocess.PIPE, **how},
        )

    def run(self, *command: str, stdin: str = "") -> tuple[int, str, str]:
        process = self.start(*command)
        out, err = process.communicate(stdin, timeout=60)
        return process.returncode, out, err


@pytest.fixture
def shell(kafka: list[str], topic_prefix: str) -> Shell:
    return Shell(kafka, topic_prefix)


async def tell(shell: Shell, servers: list[str], *states: str) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=servers)
    await producer.start()
    for at, state in enumerate(states):
        told = {
            "touch_id": "t-1",
            "campaign_id": "c",
            "lead_id": "l",
            "channel": "sms",
            "state": state,
            "attempt": 0,
            "sequence": at + 1,
            "metadata": {},
            "occurred_at": 1_795_521_784_567 + at,
        }
        await producer.send_and_wait(f"{shell.prefix}touches.status", key=b"t-1", value=encode("status", told))
    await producer.stop()


async def tell_deliveries(servers: list[str], topic: str) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=servers)
    await producer.start()
    for touch_id, kind, sequence, more in (
        ("t-1", "delivered", 1, {"received_at": 1_795_521_785_567}),
        ("t-1", "bounced", 2, {"received_at": 1, "occurred_at": 1_795_521_789_567, "detail": "Permanent/General"}),
        ("t-2", "delivered", 1, {"received_at": 1_795_521_785_567}),
    ):
        told = {
            "touch_id": touch_id,
            "campaign_id": "c",
            "lead_id": "l",
            "channel": "sms",
            "sender": "main",
            "sequence": sequence,
            "kind": kind,
            "provider_message_id": "SM1",
            "metadata": {},
            **more,
        }
        await producer.send_and_wait(topic, key=touch_id.encode(), value=encode("delivery", told))
    await producer.stop()


async def arrived(servers: list[str], topic: str) -> None:
    consumer = AIOKafkaConsumer(bootstrap_servers=servers)
    await consumer.start()
    partitions = [TopicPartition(topic, 0), TopicPartition(topic, 1)]
    async with asyncio.timeout(20):
        while True:
            with contextlib.suppress(KafkaError):
                if any((await consumer.end_offsets(partitions)).values()):
                    break
            await asyncio.sleep(0.05)
    await consumer.stop()


def test_produce_ends_with_0_and_says_how_many(shell: Shell, tmp_path: Path):
    file = tmp_path / "touches.ndjson"
    file.write_text('{"touch_id":"a"}\n{"touch_id":"b"}\n')
    assert shell.run("produce", str(file)) == (0, f"2 touches produced to {shell.prefix}touches\n", "")


def test_a_broken_line_ends_with_1_and_is_named_on_standard_error(shell: Shell):
    code, out, err = shell.run("produce", "-", stdin='{"touch_id":"a"}\n{nope\n')
    assert (code, err.count("\n")) == (1, 1)
    assert err.startswith("line 2: no JSON")
    assert out == f"1 touches produced to {shell.prefix}touches; 1 lines skipped\n"


def test_csv_is_known_by_its_name_or_by_option(shell: Shell, tmp_path: Path):
    file = tmp_path / "touches.CSV"
    file.write_text("touch_id,to\na,b\n")
    assert shell.run("produce", str(file))[0] == 0
    assert shell.run("produce", "--format", "csv", "-", stdin="touch_id\na\n")[0] == 0


@pytest.mark.parametrize(
    "command",
    [
        ["produce"],
        ["produce", "no-such-file"],
        ["produce", "--format", "xml", "-"],
        ["status", "--timeout", "30s"],
        ["status", "--follow", "--timeout", "soon"],
        ["status", "a", "b"],
        ["check", "now"],
        ["produce", "--nonsense", "-"],
    ],
)
def test_wrong_usage_ends_with_2(shell: Shell, command: list[str]):
    code, _, err = shell.run(*command)
    assert code == 2
    assert "Error" in err or "Usage" in err
    assert "Traceback" not in err


@pytest.mark.parametrize("command", ["produce", "status", "check"])
def test_help_shows_examples_and_exit_codes(shell: Shell, command: str):
    code, out, _ = shell.run(command, "--help")
    assert code == 0
    assert f"faust -A pipeline {command}" in out
    assert "Exit codes:" in out


async def test_status_shows_a_line_per_record(shell: Shell, kafka: list[str]):
    shell.run("produce", "-")
    await tell(shell, kafka, "accepted", "sent")
    code, out, _ = shell.run("status", "t-1")
    assert code == 0
    assert [line.split()[:4] for line in out.splitlines()] == [
        ["2026-11-24T12:03:04.567Z", "t-1", "accepted", "-"],
        ["2026-11-24T12:03:04.568Z", "t-1", "sent", "-"],
    ]
    code, out, _ = shell.run("--json", "status")
    assert [json.loads(line)["state"] for line in out.splitlines()] == ["accepted", "sent"]


async def test_status_shows_deliveries_behind_the_records_of_a_touch(shell: Shell, kafka: list[str]):
    shell.run("produce", "-")
    await tell(shell, kafka, "accepted", "sent")
    topic = f"{shell.prefix}touches.deliveries"
    await ensure_topics({"bootstrap_servers": kafka}, [RequiredTopic(topic, 2)], 1)
    await tell_deliveries(kafka, topic)
    code, out, _ = shell.run("status", "t-1")
    assert (code, [line.split()[:4] for line in out.splitlines()][2:]) == (
        0,
        [["2026-11-24T12:03:05.567Z", "t-1", "delivered", "-"], ["2026-11-24T12:03:09.567Z", "t-1", "bounced", "-"]],
    )
    code, out, _ = shell.run("--json", "status", "t-1")
    told = [json.loads(line) for line in out.splitlines()]
    assert [(each.get("state"), each.get("kind"), each["sequence"]) for each in told] == [
        ("accepted", None, 1),
        ("sent", None, 2),
        (None, "delivered", 1),
        (None, "bounced", 2),
    ]
    assert len(shell.run("status", "--follow", "t-1")[1].splitlines()) == 2
    assert shell.run("status", "t-2")[:2] == (
        1,
        "2026-11-24T12:03:05.567Z t-2 delivered   -           sender=main id=SM1\n",
    )


async def test_status_of_an_unknown_touch_ends_with_1(shell: Shell):
    shell.run("produce", "-")
    assert shell.run("status", "nobody")[::2] == (1, "nobody has no status record\n")
    assert shell.run("status")[0] == 0


async def test_following_ends_with_the_terminal_status_or_with_1_at_the_timeout(shell: Shell, kafka: list[str]):
    shell.run("produce", "-")
    await tell(shell, kafka, "accepted")
    assert shell.run("status", "--follow", "--timeout", "500ms", "t-1")[::2] == (1, "t-1 has not ended in time\n")
    assert shell.run("status", "--follow", "--timeout", "500ms")[0] == 0
    await tell(shell, kafka, "sent")
    assert shell.run("status", "--follow", "t-1")[0] == 0


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
async def test_an_interrupted_status_ends_with_0(shell: Shell, kafka: list[str], how: signal.Signals):
    shell.run("produce", "-")
    await tell(shell, kafka, "accepted")
    process = shell.start("status", "--follow")
    assert "accepted" in process.stdout.readline()
    process.send_signal(how)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (0, "", "")


async def test_an_interrupted_produce_ends_with_1_and_says_what_is_in(shell: Shell, kafka: list[str]):
    process = shell.start("produce", "-")
    process.stdin.write('{"touch_id":"a"}\n')
    process.stdin.flush()
    await arrived(kafka, f"{shell.prefix}touches")
    process.send_signal(signal.SIGINT)
    process.wait(20)
    assert process.returncode == 1
    assert process.stderr.read() == "interrupted; 1 touches are in; produce it again, repeats are dropped\n"


async def test_a_reader_that_has_enough_is_no_failure(shell: Shell, kafka: list[str]):
    shell.run("produce", "-")
    await tell(shell, kafka, *(["accepted"] * 2_000))
    process = shell.start("status")
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(20) == 0
    assert process.stderr.read() == ""


@pytest.mark.skipif(not FULL.exists(), reason="this system has no disk that is always full")
def test_a_full_disk_is_told_in_a_line(shell: Shell):
    with FULL.open("w") as full:
        process = shell.start("version", stdout=full)
    err = process.stderr.read()
    assert (process.wait(20), err) == (1, "standard output cannot be written to: No space left on device\n")


def test_check_says_what_is_there(shell: Shell):
    code, out, _ = shell.run("check")
    assert code == 0
    lines = dict(line.split(": ", 1) for line in out.splitlines())
    assert lines["ok      configuration"] == "environment"
    needed = len(flow.topics(partitions=2, lanes=2, replication=1, dedup_for_ms=1))
    assert lines["ok      topics"].startswith(f"0 of {needed} are there")
    shell.run("produce", "-")
    assert f"ok      topics: {needed} of {needed} are there\n" in shell.run("check")[1]


def test_nothing_works_without_kafka_and_each_says_so(topic_prefix: str):
    shell = Shell(["127.0.0.1:1"], topic_prefix)
    for command in (["produce", "-"], ["status"], ["check"]):
        code, out, err = shell.run(*command)
        assert code == 1
        assert "127.0.0.1:1 cannot be reached" in out + err
        assert "Traceback" not in err


def test_the_data_directory_may_stand_behind_worker(shell: Shell):
    code, out, _ = shell.run("worker", "--help")
    assert code == 0
    assert "--datadir" in out
