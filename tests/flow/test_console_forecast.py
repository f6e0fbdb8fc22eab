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

from tests.chaos.stack import ROOT, Stack, touch
from tests.flow.test_console_commands import Shell

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def shell(kafka: list[str], topic_prefix: str) -> Shell:
    return Shell(kafka, topic_prefix)


def forecast(stack: Stack, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "faust", "-A", "pipeline", *words], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60,
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
        due_ms = round(time.time() * 1000) + 25_000
        await stack.produce([*(touch("sms", n) for n in range(10)), touch("sms", 10, not_before=due_ms), touch("whatsapp", 1, not_before=due_ms)])
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
        assert await stack.follow(stack.all_ended, deadline_s=60)
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
