"""The forecast command as users run it, on a real Kafka with a worker at work."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from datetime import datetime
from typing import TYPE_CHECKING

import pytest
from aiokafka import AIOKafkaProducer

from pipeline import flow
from pipeline.console.forecast.backlog import read_backlog
from pipeline.domain.work import Channel, Scheduled
from pipeline.engine.required_topic import RequiredTopic
from pipeline.engine.table import INPUT_POSITION
from pipeline.engine.topics import ensure_topics
from pipeline.kafka.cluster import Cluster
from pipeline.records import decode_work, encode_scheduled, encode_work
from tests.flow.test_console_commands import Shell
from tests.harness.lane_rig import work
from tests.harness.stack import ROOT, Stack, touch

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def shell(kafka: list[str], topic_prefix: str) -> Shell:
    return Shell(kafka, topic_prefix)


def forecast(stack: Stack, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "faust", "-A", "pipeline", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**os.environ, "PIPELINE_CONFIG": str(stack.folder / "worker-0.toml")},
    )


async def test_a_backlog_is_counted_and_its_end_foreseen_while_the_worker_is_at_work(
    kafka: list[str], topic_prefix: str, tmp_path: Path
) -> None:
    stack = Stack(kafka, topic_prefix, tmp_path, limit='{ rate = 2, per = "4s" }')
    stack.start_sandbox()
    try:
        stack.start(0)
        await stack.wait_for_topics()
        due_ms = round(time.time() * 1000) + 45_000
        await stack.produce(
            [
                *(touch("sms", n) for n in range(10)),
                touch("sms", 10, not_before=due_ms),
                touch("whatsapp", 1, not_before=due_ms),
            ]
        )
        assert await stack.follow(lambda: len(stack.stories) == 12 and stack.ended() >= 2, deadline_s=60)
        before = stack.ended()
        told = await asyncio.to_thread(forecast, stack, "--json", "forecast")
        assert told.returncode == 0, told.stderr
        said = json.loads(told.stdout)
        await stack.follow(lambda: False, deadline_s=0.5)
        lanes = {lane["channel"]: lane for lane in said["lanes"]}
        assert 12 - stack.ended() <= lanes["sms"]["left"] + lanes["whatsapp"]["left"] <= 12 - before
        assert (lanes["sms"]["deferred"], lanes["whatsapp"]["deferred"], said["not_accepted"]) == (1, 1, 0)
        assert lanes["sms"]["call_ms_is_measured"]
        shown = await asyncio.to_thread(forecast, stack, "forecast", "--channel", "sms", "--at-most", "1h")
        assert "sms default  " in shown.stdout
        assert "whatsapp" not in shown.stdout
        slow = await asyncio.to_thread(forecast, stack, "--json", "forecast", "--call-takes", "7s")
        assert {lane["call_ms"] for lane in json.loads(slow.stdout)["lanes"]} == {7_000}
        assert await stack.follow(stack.all_ended, deadline_s=120)
    finally:
        stack.stop_all()
    for channel, lane in lanes.items():
        done_ms = max(story[-1]["occurred_at"] for story in stack.stories.values() if story[-1]["channel"] == channel)
        off_s = datetime.fromisoformat(lane["done_at"]).timestamp() - done_ms / 1000
        print(f"{channel}: {lane['left']} left, foreseen {off_s:+.1f} s")
        assert abs(off_s) <= 2.5, channel


def test_without_a_backlog_it_says_so_and_names_what_no_worker_has_accepted(shell: Shell):
    code, _, err = shell.run("forecast")
    assert code == 1
    assert "start a worker once" in err
    shell.run("produce", "-")
    assert shell.run("forecast") == (0, "no backlog: nothing waits in a lane, nothing is deferred\n", "")
    shell.run("produce", "-", stdin='{"touch_id":"a"}\n{"touch_id":"b"}\n')
    code, out, _ = shell.run("--json", "forecast")
    assert code == 0
    assert (json.loads(out)["not_accepted"], json.loads(out)["lanes"]) == (2, [])


@pytest.mark.parametrize("words", [["--channel", "fax"], ["--at-most", "soon"], ["--call-takes", "5"], ["now"]])
def test_wrong_usage_ends_with_2(shell: Shell, words: list[str]):
    code, _, err = shell.run("forecast", *words)
    assert code == 2
    assert "Traceback" not in err


def test_help_shows_examples_and_exit_codes(shell: Shell):
    code, out, _ = shell.run("forecast", "--help")
    assert code == 0
    assert "faust -A pipeline forecast" in out
    assert "Exit codes:" in out


def test_a_kafka_that_is_away_is_named(topic_prefix: str):
    code, _, err = Shell(["127.0.0.1:1"], topic_prefix).run("forecast")
    assert code == 1
    assert "127.0.0.1:1 cannot be reached" in err
    assert "Traceback" not in err


async def test_the_backlog_is_what_is_committed_and_nothing_else(kafka: list[str], topic_prefix: str):
    cluster = Cluster({"bootstrap_servers": kafka}, topic_prefix)
    needed = [
        RequiredTopic(cluster.topic_name(spec.name), spec.partitions, spec.settings)
        for spec in flow.topics(partitions=2, lanes=2, replication=1, dedup_for_ms=86_400_000)
    ]
    await ensure_topics(cluster.connection, needed, 1)

    def later(touch_id: str) -> bytes:
        return encode_scheduled(Scheduled(5, Channel.SMS, 1, touch_id, encode_work(work(touch_id))))

    async def commit(*records: tuple[str, int, bytes, bytes | None], is_aborted: bool = False) -> None:
        producer = AIOKafkaProducer(bootstrap_servers=kafka, transactional_id=f"{topic_prefix}test", linger_ms=5)
        await producer.start()
        await producer.begin_transaction()
        for topic, partition, key, value in records:
            await producer.send(cluster.topic_name(topic), key=key, value=value, partition=partition)
        await (producer.abort_transaction() if is_aborted else producer.commit_transaction())
        await producer.stop()

    await commit(*[("touches", 0, b"t", b"{}")] * 7, ("touches", 1, b"t", b"{}"))
    await commit(
        ("accepted-changelog", 0, INPUT_POSITION, (3).to_bytes(8, "big")),
        *[("accepted-changelog", 0, b"e%d" % n, b"x") for n in range(2_500)],
    )
    await commit(
        *[("touches.sms", 1, b"k", encode_work(work(each))) for each in ("applied", "fresh")],
        ("touches.sms", 1, b"k", b"none of ours"),
        ("lanes-sms-changelog", 1, INPUT_POSITION, (1).to_bytes(8, "big")),
        ("lanes-sms-changelog", 1, b"wa", b"1"),
        ("lanes-sms-changelog", 1, b"wb", b"1"),
        ("lanes-sms-changelog", 1, b"eold", b"1"),
        ("lanes-sms-changelog", 1, b"wb", None),
        ("touches.scheduled", 0, b"k", later("kept")),
        ("touches.scheduled", 0, b"k", later("on its way")),
        ("deferred-changelog", 0, INPUT_POSITION, (1).to_bytes(8, "big")),
        ("deferred-changelog", 0, b"d1", later("kept")),
    )
    await commit(
        ("lanes-sms-changelog", 1, b"wa", b"2"), ("touches.sms", 1, b"k", encode_work(work("aborted"))), is_aborted=True
    )

    complaints: list[str] = []
    found = await read_backlog(cluster, [Channel.SMS], progress=lambda _: None, complain=complaints.append)
    empty, lane = found.lanes
    assert (empty.rows, empty.arrivals) == ({}, [])
    assert lane.rows == {INPUT_POSITION: (1).to_bytes(8, "big"), b"wa": b"1"}
    assert [decode_work(value).touch_id for value in lane.arrivals] == ["fresh"]
    assert [each.touch_id for each in found.deferred] == ["kept", "on its way"]
    # a marker ends each partition of `touches`: an offset like any other
    assert found.not_accepted == (7 + 1 - 3) + (1 + 1)
    assert len(complaints) == 1
    assert "touches.sms[1] offset 2: not written by the pipeline" in complaints[0]
    mail = await read_backlog(cluster, [Channel.EMAIL], progress=lambda _: None, complain=complaints.append)
    assert (mail.deferred, [each.channel for each in mail.lanes]) == ([], [Channel.EMAIL] * 2)
