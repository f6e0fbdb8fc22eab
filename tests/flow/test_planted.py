"""A whole run, debugging output and all, in which every secret, address and text is planted and then looked for."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import subprocess
import sys
from base64 import b64encode
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import httpx
import pytest
from aiohttp import web
from aiokafka import AIOKafkaProducer
from prometheus_client.parser import text_string_to_metric_families

from pipeline.records.single_object import encode
from tests.harness.judge import CHANNELS
from tests.harness.secured import PASSWORDS, SecuredKafka, SmallStack
from tests.harness.stack import ROOT, Stack, touch

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

OPERATIONS = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
SECRETS = {
    "waha": "planted-waha-key-0001",
    "resend": "re_planted_key_0002",
    "twilio": "planted-token-0003",
    "registry": "planted-registry-0004",
    "callback": "planted-callback-0005",
    "sasl": PASSWORDS["pipeline"],
    "privacy": "planted-privacy-key-0006-of-32-bytes",
    "waha webhook": "planted-webhook-0007",
    "resend webhook": "whsec_cGxhbnRlZC13ZWJob29rLTAwMDg=",
    "twilio webhook": "planted-webhook-0009",
}
TEXT = "Zebra crossings wait"
NOTE = "Okapis said so"
"""What an operator types: shown by who asks for it, and nowhere else."""
PHONE, MAIL = "+1212555", "planted.person"
WRITTEN = re.compile(rf"{NOTE}( to)? {re.escape(PHONE)}\d{{4}}")
TEMPLATE = (
    SmallStack.template.replace(
        'api_key = "k"', f'api_key = "{SECRETS["waha"]}"\nwebhook_secrets = "{SECRETS["waha webhook"]}"'
    )
    .replace('"re_k"', f'"{SECRETS["resend"]}"\nwebhook_secrets = ["{SECRETS["resend webhook"]}"]')
    .replace(
        'auth_token = "t"',
        f'auth_token = "{SECRETS["twilio"]}"\nwebhook_secrets = "{SECRETS["twilio webhook"]}"\n'
        f'status_callback = "https://me:{SECRETS["callback"]}@hook.example.com/{{{{touch_id}}}}"',
    )
    .replace(
        "[kafka]",
        f'[privacy]\nkey = "{SECRETS["privacy"]}"\n[web]\npublic_url = "https://touch.example.com"\n[kafka]',
        1,
    )
    .replace(
        "[channels.whatsapp]", 'schema_registry_url = "{registry}"\nstatus_format = "json"\n[channels.whatsapp]', 1
    )
)


class PlantedStack(SmallStack):
    """A stack whose statuses are JSON, and whose workers tell everything."""

    template = TEMPLATE
    level = "debug"

    async def _read(self, consumer: Any, timeout_ms: int) -> None:
        for rows in (await consumer.getmany(timeout_ms=timeout_ms)).values():
            for row in rows:
                status = json.loads(row.value)
                self.stories[status["touch_id"]].append(status)


@pytest.fixture
async def registry() -> AsyncIterator[str]:
    """A schema registry that wants the planted password, and fails at first; its URL with user and password."""
    asked: list[str] = []
    schema = (ROOT / "schemas" / "touch.avsc").read_text(encoding="utf-8")

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.path)
        if request.headers.get("Authorization") != "Basic " + b64encode(f"me:{SECRETS['registry']}".encode()).decode():
            return web.json_response({"message": "who are you?"}, status=401)
        return web.json_response({"schema": schema}) if len(asked) > 1 else web.json_response({}, status=500)

    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://me:{SECRETS['registry']}@127.0.0.1:{runner.addresses[0][1]}"
    assert any(path.startswith("/schemas/ids/") for path in asked)
    await runner.cleanup()


def planted(channel: str, number: int) -> dict[str, Any]:
    to = f"{MAIL}{number}@example.com" if channel == "email" else f"{PHONE}{number:04d}"
    said = {
        "body": f"{TEXT} {number}, at noon, for {to}",
        "to": to,
        **({"subject": f"{TEXT} {number} in the subject"} if channel == "email" else {}),
    }
    # In front: aiokafka's debugging output shows the first hundred bytes of what it writes and reads.
    return {**dict(sorted(said.items(), reverse=number % 2 == 1)), **touch(channel, number), **said}


async def produce_odd_ones(stack: Stack) -> None:
    """One in Confluent's framing, which needs the registry, and some that cannot be read."""
    datum = {**planted("sms", 900), "variables": {}, "attachments": [], "headers": {}, "priority": 5, "metadata": {}}
    framed = b"\0" + (7).to_bytes(4, "big") + encode("touch", datum)[10:]
    stack.produced[datum["touch_id"]] = datum
    producer = AIOKafkaProducer(bootstrap_servers=stack.servers)
    await producer.start()
    for value in (
        framed,
        f'{{"touch_id": "odd", "body": "{TEXT}", "to": "{PHONE}0001"'.encode(),
        json.dumps({**planted("sms", 901), "channel": "fax"}).encode(),
    ):
        await producer.send_and_wait(f"{stack.prefix}touches", value, b"odd", partition=0)
    await producer.stop()


BROKEN_ENTRIES = "".join(
    f"{json.dumps(each)}\n"
    for each in (
        {"address": f"{PHONE}9001", "note": f"{NOTE} {PHONE}9001"},
        {"address": f"{PHONE}9001", "scope": f"{PHONE}9001"},
        {"address": f"{MAIL}@example.com", "reason": f"{MAIL}@example.com"},
        {"address": f"{PHONE}90019001900190019001"},
        {"lead_id": f"{MAIL}@example.com\n"},
        {"address": f"{PHONE}9001", "touch_id": f"{MAIL}@example.com"},
        [f"{MAIL}@example.com"],
    )
)
COMMANDS = (
    # line, standard input, and whether what it shows may have the operator's own note
    (
        ("check", "", False),
        ("status", "", False),
        ("--json status", "", False),
        ("dead-letters list", "", False),
        ("unconfirmed list", "", False),
        ("produce -", json.dumps(planted("sms", 950)) + "\n" + f'{{"body": "{TEXT}", "to": "{PHONE}0001"\n', False),
        (f"pause --campaign nobodys --no-wait --note '{NOTE} to {PHONE}9002'", "", False),
        ("suppressions import --by tester -", BROKEN_ENTRIES, False),
    ),
    (("--json orders", "", True), ("suppressions list", "", True), ("suppressions export", "", True)),
)
"""Those of the second row show what those of the first have written."""


def command(path: Path, *words: str, stdin: str = "") -> str:
    done = subprocess.run(
        [sys.executable, "-m", "faust", "-A", "pipeline", *words],
        check=False,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
        env={**os.environ, "PIPELINE_CONFIG": str(path)},
        input=stdin,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return f"{done.stdout}{done.stderr}"


def secret_forms() -> list[str]:
    logins = [f"me:{SECRETS['registry']}", f"me:{SECRETS['callback']}", f"AC0:{SECRETS['twilio']}"]
    encoded = [b64encode(each.encode()).decode().rstrip("=")[4:-4] for each in logins]
    return [
        *SECRETS.values(),
        *(quote(each, safe="") for each in SECRETS.values()),
        repr(SECRETS["sasl"].encode())[2:-1],
        *encoded,
    ]


def found_in(text: str, *forms: str) -> list[str]:
    return [line[:300] for line in text.splitlines() if any(form.lower() in line.lower() for form in forms)]


async def ask(config: Path) -> dict[str, str]:
    """Return what each command shows, by its line; what may have the note, without it."""
    told: dict[str, str] = {}
    for rows in COMMANDS:
        shown = await asyncio.gather(
            *(asyncio.to_thread(command, config, *shlex.split(line), stdin=stdin) for line, stdin, _ in rows)
        )
        for (line, _, has_note), text in zip(rows, shown, strict=True):
            assert not has_note or NOTE in text, line
            told[line] = WRITTEN.sub("", text) if has_note else text
    assert "1 entries added" in told["suppressions import --by tester -"]
    assert "6 lines skipped" in told["suppressions import --by tester -"]
    return told


async def test_nothing_planted_is_found_in_logs_statuses_errors_and_metrics(
    secured: SecuredKafka, registry: str, topic_prefix: str, tmp_path: Path
) -> None:
    way = secured.by_password("pipeline", "SASL_PLAINTEXT", "PLAIN")
    await secured.grant(OPERATIONS, topic_prefix)
    stack = PlantedStack(secured.admin, topic_prefix, tmp_path, kafka=way.toml, registry=registry)
    stack.worker_servers = way.servers
    stack.start_sandbox()
    try:
        stack.start(0, program="tests.harness.workers.loud")
        await stack.wait_for_topics()
        for rule in (
            {"provider": "twilio", "drop": "after", "times": 2},
            {"provider": "twilio", "what": "ask", "drop": "before", "times": 2},
            {"provider": "twilio", "status": 429, "times": 1},
            {"provider": "resend", "drop": "after", "times": 1},
            {"provider": "resend", "status": 500, "times": 1},
            {"provider": "waha", "drop": "after", "times": 1},
            {"provider": "waha", "what": "ask", "status": 500, "times": 1},
            {"provider": "twilio", "status": 400, "code": "21211", "text": " 3, at noon"},
        ):
            stack.rule(**rule)
        await produce_odd_ones(stack)
        await stack.produce([planted(channel, n) for n in range(4) for channel in CHANNELS])
        await stack.follow(lambda: stack.ended() > 6, deadline_s=60)
        metrics = httpx.get(f"http://127.0.0.1:{stack.ports[0]}/metrics").text
        await stack.produce([planted(channel, n) for n in range(4, 8) for channel in CHANNELS])
        stack.template = f'log_format = "json"\n{TEMPLATE}'
        stack.kill(0)
        assert await stack.follow(stack.all_ended, deadline_s=90)
        await stack.wait_for_work(0)
        told = await ask(tmp_path / "worker-0.toml")
        after = httpx.get(f"http://127.0.0.1:{stack.ports[0]}/metrics").text
        _demand_true_gauges(after)
        metrics += after
        assert await stack.stop_gently(0) == 0
        callbacks = {each["extra"]["status_callback"] for each in stack.accepted() if each["provider"] == "twilio"}
    finally:
        stack.stop_all()
    log = (tmp_path / "worker-0.log").read_text()
    _demand_a_whole_run(stack, log, metrics, told)
    assert f"https://me:{SECRETS['callback']}@hook.example.com/sms-1" in callbacks, (
        "Twilio itself is told user and password"
    )
    for where, text in {
        "log": log,
        "metrics": metrics,
        **{f"faust {line}": text for line, text in told.items()},
        "statuses": json.dumps([*stack.stories.values()], indent=0),
        "crash": "".join(path.read_text() for path in tmp_path.rglob("crash.txt")),
    }.items():
        assert not found_in(text, *secret_forms()), where
        assert not found_in(text, TEXT, "zebra", quote(TEXT), NOTE, "okapi"), where
        assert not found_in(text, PHONE[1:], quote(PHONE), MAIL), where
    _demand_objects(log.encode()[stack.begins_at(0) :])
    _demand_no_secret_on_disk(secured.folder, tmp_path)
    _demand_privacy(tmp_path / "data-0")


def _demand_a_whole_run(stack: Stack, log: str, metrics: str, told: dict[str, str]) -> None:
    """Nothing is found where nothing was said: the debugging output is there, and so is each planted trouble."""
    assert re.search(r"Request to .*SaslAuthenticateRequest", log)
    assert re.search(r"Request to .*ProduceRequest", log)
    assert re.search(r"Response from .*FetchResponse", log)
    assert "touches of schema 7 wait" in log
    assert "HTTP Request: GET http://127.0.0.1" in log
    assert "pipeline_calls_total" in metrics
    assert 'pipeline_suppressions{reason="manual",scope="phone"} 1.0' in metrics
    assert all(text for line, text in told.items() if line != "unconfirmed list"), told
    states = {status["state"] for story in stack.stories.values() for status in story}
    assert {"accepted", "sent", "failed", "retrying"} <= states


def _demand_true_gauges(metrics: str) -> None:
    """After a kill the gauges are there, and the worker knows when each lane last sent, although it has sent nothing since."""
    found = {
        (sample.name, sample.labels.get("channel")): sample.value
        for family in text_string_to_metric_families(metrics)
        for sample in family.samples
    }
    for channel in CHANNELS:
        assert found["pipeline_last_sent_timestamp_seconds", channel] > 1_700_000_000
        assert found["pipeline_window_open", channel] == 1
        assert found["pipeline_oldest_due_seconds", channel] == 0
    assert found["pipeline_deferred", None] >= 0
    assert found["pipeline_input_lag_records", None] >= 0
    assert found["process_start_time_seconds", None] > 1_700_000_000


def _demand_objects(log: bytes) -> None:
    """Since its second start the worker writes an object a line, debugging output and exceptions included."""
    lines = [json.loads(line) for line in log.splitlines()]
    assert len(lines) > 100
    assert {"time", "level", "logger", "message"} <= set.intersection(*(set(line) for line in lines))
    assert {"DEBUG", "INFO"} <= {line["level"] for line in lines}
    assert any("ready: " in line["message"] for line in lines)


def _demand_no_secret_on_disk(*folders: Path) -> None:
    """Neither in Kafka, where claims and dead letters live for 90 days, nor in a worker's tables."""
    stored = [
        path
        for folder in folders
        for path in folder.rglob("*")
        if path.is_file() and path.suffix in {".log", ".sst", ".blob"} and path.name[0].isdigit()
    ]
    assert stored
    secrets = [each.encode() for name, each in SECRETS.items() if name != "sasl"]
    for path in stored:
        content = path.read_bytes()
        assert not [secret for secret in secrets if secret in content], path


def _demand_privacy(folder: Path) -> None:
    assert folder.stat().st_mode & 0o777 == 0o700
    for path in folder.rglob("*"):
        assert path.stat().st_mode & 0o077 == 0, path
