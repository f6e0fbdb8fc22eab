"""README's lines as a stranger types them: one Kafka, the sandbox, the environment as README exports it, nothing else."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import time
import warnings
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jgo
import pytest
from aiokafka import AIOKafkaConsumer

from pipeline.lab.local.kafka import KAFKA, _classpath, _java

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
TOOLS = {
    "kafka-console-producer.sh": "org.apache.kafka.tools.ConsoleProducer",
    "kafka-console-consumer.sh": "org.apache.kafka.tools.consumer.ConsoleConsumer",
}
PATIENCE_S = 120.0
ENDS = {"sent", "failed", "expired", "unconfirmed"}
EMAIL = '{"touch_id": "e-%d", "campaign_id": "autumn", "lead_id": "l%d", "channel": "email", "to": "p%d@example.com", "subject": "S", "body": "Hi %d"}'


def block(language: str) -> str:
    """Return README's reader in that language."""
    return re.search(rf"```{language}\n(.*?)```", README, re.DOTALL)[1]


@cache
def tools_classpath() -> str:
    """Return the jars of Kafka's command line tools; empty where they cannot be had."""
    try:
        return ":".join(map(str, jgo.build(KAFKA.replace("kafka_2.13", "kafka-tools")).all_jars))
    except Exception as error:  # noqa: BLE001 - jgo has no family of errors of its own
        warnings.warn(f"Kafka's console tools are left out: {error}", stacklevel=1)
        return ""


class Stranger:
    """A shell in an empty folder."""

    def __init__(self, folder: Path, servers: list[str], prefix: str) -> None:
        self.folder, self.servers, self.prefix = folder, servers[0], prefix
        self._tools = folder / "bin"
        self._tools.mkdir()
        for name, java_class in TOOLS.items():
            tool = self._tools / name
            tool.write_text(f'#!/bin/sh\nexec "{_java()}" -Xmx256m -cp "{tools_classpath()}" {java_class} "$@"\n')
            tool.chmod(0o755)
        self.sandbox = subprocess.Popen(
            [sys.executable, "-u", "-m", "pipeline.sandbox", "--port", "0"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        at = re.search(r"http://\S+", self.sandbox.stdout.readline())[0]
        ours = ("PIPELINE_", "KAFKA_", "WAHA_", "RESEND_", "TWILIO_", "SCHEMA_REGISTRY_")
        self.environ = {
            **{name: value for name, value in os.environ.items() if not name.startswith(ours)},
            "PATH": f"{self._tools}:{Path(sys.executable).parent}:{os.environ['PATH']}",
            "KAFKA_BOOTSTRAP_SERVERS": self.servers,
            "KAFKA_TOPIC_PREFIX": prefix,
            "KAFKA_STATUS_FORMAT": "json",
            "WAHA_BASE_URL": f"{at}/waha",
            "WAHA_API_KEY": "k",
            "RESEND_API_URL": f"{at}/resend",
            "RESEND_API_KEY": "re_hidden",
            "RESEND_FROM": "Shop <hello@shop.example.com>",
            "TWILIO_API_URL": f"{at}/twilio",
            "TWILIO_ACCOUNT_SID": "AC1",
            "TWILIO_AUTH_TOKEN": "hidden-token",
            "TWILIO_FROM": "+15005550006",
        }

    def here(self, line: str) -> str:
        """Return a line of the documents with this Kafka's address and topics."""
        return (
            line.replace("kafka:9092", self.servers)
            .replace("touches.status", f"{self.prefix}touches.status")
            .replace("--topic touches\n", f"--topic {self.prefix}touches\n")
        )

    def start(self, line: str, **more: Any) -> subprocess.Popen[str]:
        return subprocess.Popen(
            ["bash", "-c", self.here(line + "\n")],
            cwd=self.folder,
            env=self.environ,
            text=True,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            **more,
        )

    def type(self, line: str) -> tuple[int, str, str]:
        """Type one line; return exit code, output and errors."""
        process = self.start(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        try:
            out, err = process.communicate(timeout=PATIENCE_S)
        finally:
            _end(process)
        return process.returncode, out, err

    def worker(self, line: str) -> tuple[subprocess.Popen[str], Path]:
        """Start a worker and wait until its log says that it is ready."""
        log = self.folder / "worker.log"
        with log.open("w") as out:
            process = self.start(line, stdout=out, stderr=out)
        deadline = time.monotonic() + PATIENCE_S
        while "ready: " not in log.read_text():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        return process, log


def _end(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.fixture
def stranger(kafka: list[str], topic_prefix: str, tmp_path: Path) -> Iterator[Stranger]:
    made = Stranger(tmp_path, kafka, topic_prefix)
    yield made
    made.sandbox.terminate()
    made.sandbox.wait()


async def read_by_python(stranger: Stranger, touches: set[str]) -> list[dict[str, Any]]:
    """Run README's Python reader until these touches have ended."""
    seen: list[dict[str, Any]] = []
    names = {"AIOKafkaConsumer": AIOKafkaConsumer, "json": json, "print": seen.append}
    exec(stranger.here(block("python")), names)
    reader = asyncio.create_task(names["read"]())
    async with asyncio.timeout(PATIENCE_S):
        while not touches <= {each["touch_id"] for each in seen if each["state"] in ENDS}:
            assert not reader.done(), reader.exception()
            await asyncio.sleep(0.1)
    reader.cancel()
    return seen


def read_by_java(stranger: Stranger) -> list[str]:
    """Compile and run README's Java reader, where there is a compiler, for as long as it takes to see a record."""
    imports = (
        "org.apache.kafka.clients.consumer.*",
        "org.apache.kafka.common.serialization.*",
        "java.time.*",
        "java.util.*",
    )
    body = stranger.here(block("java")).replace('"reporting"', '"java"')
    (stranger.folder / "Reader.java").write_text(
        "".join(f"import {each};\n" for each in imports)
        + f"public class Reader {{ public static void main(String[] a) {{\n{body}}} }}\n"
    )
    process = stranger.start(
        f"exec java -cp '{_classpath()}' Reader.java", stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    try:
        return [process.stdout.readline() for _ in range(2)]
    finally:
        _end(process)


def has_java_compiler() -> bool:
    java = shutil.which("java")
    return (
        java is not None
        and "jdk.compiler"
        in subprocess.run([java, "--list-modules"], capture_output=True, text=True, check=False).stdout
    )


async def test_a_stranger_types_readme_s_lines_and_each_does_what_it_says(stranger: Stranger):
    code, out, _ = stranger.type("faust -A pipeline check")
    assert (code, out.count("failed")) == (0, 0), out
    assert "email default" in out
    worker, log = stranger.worker("exec faust -A pipeline worker")
    try:
        _look_at_first_lines(log.read_text())
        _produce(stranger)
        seen = await read_by_python(stranger, {"e-1", "e-2", "e-3", "e-4", "bad"})
        # Whether t-1, an SMS, is sent or waits for New York's morning is the hour's affair.
        assert {each["touch_id"] for each in seen if each["state"] == "sent"} - {"t-1"} == {"e-1", "e-2", "e-3", "e-4"}
        assert all(each["sequence"] == 1 for each in seen if each["state"] == "accepted")
        _look(stranger)
        if has_java_compiler():
            assert all('"touch_id"' in line for line in await asyncio.to_thread(read_by_java, stranger))
    finally:
        _end(worker)
    assert worker.returncode == 0, log.read_text()[-2_000:]
    assert "hidden" not in log.read_text()


def _look_at_first_lines(log: str) -> None:
    assert "statuses as JSON" in log
    assert re.search(r"email default: sends to http://127.0.0.1:\d+/resend, not Resend itself", log)
    assert "half sandbox" not in log
    assert "ERROR" not in log, log
    assert "Traceback" not in log


def _produce(stranger: Stranger) -> None:
    """By Kafka's own console producer, from NDJSON, CSV and standard input."""
    echo = README[README.index("    echo '{") :].split("    faust -A")[0]
    code, _, err = stranger.type(_console(textwrap.dedent(echo).rstrip()))
    assert code == 0, err
    (stranger.folder / "touches.ndjson").write_text("\n".join(EMAIL % (n, n, n, n) for n in (1, 2)) + "\n{broken\n")
    assert stranger.type("faust -A pipeline produce touches.ndjson")[0] == 1
    (stranger.folder / "leads.csv").write_text(
        "touch_id,campaign_id,lead_id,channel,to,subject,body\ne-3,c,l,email,a@example.com,S,B\n"
    )
    assert stranger.type("faust -A pipeline produce leads.csv")[0] == 0
    assert stranger.type(f"echo '{EMAIL % (4, 4, 4, 4)}' | faust -A pipeline produce -")[0] == 0
    assert stranger.type("""echo '{"touch_id": "bad"}' | faust -A pipeline produce -""")[0] == 0


def _console(line: str) -> str:
    return (
        line
        if tools_classpath()
        else line.replace(
            "kafka-console-producer.sh --bootstrap-server kafka:9092 --topic touches", "faust -A pipeline produce -"
        )
    )


def _look(stranger: Stranger) -> None:
    """The other commands, and a record as Kafka's own console consumer shows it."""
    consumer = re.search(r"^    (kafka-console-consumer.sh .*)$", README, re.MULTILINE)[1]
    if tools_classpath():
        code, out, err = stranger.type(f"{consumer} --max-messages 2")
        assert (code, [json.loads(line)["sequence"] for line in out.splitlines()] != []) == (0, True), err
    code, out, _ = stranger.type("faust -A pipeline status --follow e-1")
    assert (code, [line.split()[2] for line in out.splitlines()]) == (0, ["accepted", "sent"])
    code, out, _ = stranger.type("faust -A pipeline status t-1")
    assert (code, out.split()[1:3]) == (0, ["t-1", "accepted"])
    code, out, _ = stranger.type("faust -A pipeline dead-letters list")
    assert (code, "invalid" in out) == (0, True), out
    place = out.split()[1]
    assert stranger.type(f"faust -A pipeline dead-letters show {place}")[0] == 0
    assert stranger.type(f"faust -A pipeline dead-letters replay --dry-run {place}")[0] == 0
    assert stranger.type("faust -A pipeline unconfirmed list")[:2] == (0, "")
    code, out, _ = stranger.type("faust -A pipeline --json forecast")
    assert (code, isinstance(json.loads(out), dict)) == (0, True)


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        ("faust -A pipeline wrok", 2, "No such command 'wrok'"),
        ("faust -A pipeline tables", 2, "No such command 'tables'"),
        ("faust -A pipeline worker --web-prot 1", 2, "No such option"),
        ("faust -A pipeline produce none.ndjson", 2, "none.ndjson"),
        (
            "PIPELINE_CONFIG=none.toml faust -A pipeline worker",
            2,
            'PIPELINE_CONFIG: found "none.toml" (No such file or directory)',
        ),
        ("PIPELINE_CONFIG=/ faust -A pipeline check", 2, "Is a directory"),
        (
            "KAFKA_BOOTSTRAP_SERVERS= KAFKA_BOOTSTRAP_SERVER=k:9092 faust -A pipeline check",
            2,
            "KAFKA_BOOTSTRAP_SERVERS, which is not set",
        ),
        (
            "KAFKA_BOOTSTRAP_SERVERS=127.0.0.1:1 faust -A pipeline worker -l crit",
            1,
            "Kafka at 127.0.0.1:1 cannot be used",
        ),
        ("KAFKA_BOOTSTRAP_SERVERS=127.0.0.1:1 faust -A pipeline status", 1, "Kafka at 127.0.0.1:1 cannot be reached"),
        ("KAFKA_BOOTSTRAP_SERVERS=127.0.0.1:1 faust -A pipeline dead-letters list", 1, "cannot be reached"),
        (
            "mkdir w; echo 'x = 1' > w/p.toml; PIPELINE_CONFIG=p.toml faust -A pipeline --workdir w check",
            2,
            "x: found an unknown key",
        ),
        ("faust -A pipeline version", 0, "touch-pipeline "),
        ("faust -A pipeline --version", 0, "Faust"),
    ],
)
def test_what_goes_wrong_at_once_is_told_in_a_line_with_its_exit_code(
    stranger: Stranger, line: str, code: int, said: str
):
    found, out, err = stranger.type(line)
    assert (found, said in out + err) == (code, True), out + err
    assert "Traceback" not in out + err
    assert len(err.splitlines()) <= 4, err


def test_a_worker_without_kafka_shows_what_quiet_logfile_and_without_web_do(stranger: Stranger):
    line = "KAFKA_BOOTSTRAP_SERVERS=127.0.0.1:1 faust -A pipeline"
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        code, out, err = stranger.type(f"{line} worker -p {port} --logfile run.log")
        assert (code, "touch-pipeline" in out, f"web port {port} of 127.0.0.1 is in use" in err) == (1, True, True), (
            out + err
        )
        code, out, err = stranger.type(f"{line} --quiet worker -p {port} --without-web --logfile run.log")
    assert (code, out.strip(), "Kafka at 127.0.0.1:1 cannot be used" in err) == (1, "", True), out + err
    log = (stranger.folder / "run.log").read_text()
    assert "email default: sends to " in log
    assert "cannot be used" in log
