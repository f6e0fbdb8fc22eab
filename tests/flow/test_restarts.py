"""Workers started as README shows: again, elsewhere, beside each other, and as copies of each other."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.harness.stack import LANE, ROOT, touch

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.harness.reporting import MakeStack
    from tests.harness.stack import Stack

WITHIN_S = 40.0


def wait_for(port: int, path: str, process: subprocess.Popen[bytes] | None = None) -> None:
    deadline = time.monotonic() + WITHIN_S
    while time.monotonic() < deadline:
        assert process is None or process.poll() is None, "the worker ended"
        try:
            if httpx.get(f"http://127.0.0.1:{port}{path}").status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise AssertionError(f"{path} on {port} never answered 200")


@contextmanager
def worker(stack: Stack, log: Path, *arguments: str, cwd: Path | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """Run `faust -A pipeline ARGUMENTS` with an environment like README's."""
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "KAFKA_BOOTSTRAP_SERVERS": ",".join(stack.servers),
        "KAFKA_TOPIC_PREFIX": stack.prefix,
    }
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "faust", "-A", "pipeline", *arguments],
            cwd=cwd or log.parent,
            env=environment,
            stdout=out,
            stderr=out,
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


async def test_workers_that_come_back_under_other_ports_and_host_names_go_on(make_stack: MakeStack):
    stack = make_stack()
    stack.start(0)
    stack.start(1)
    await stack.wait_for_topics()
    await stack.wait_for_work(0, 1)
    await stack.produce([touch(channel, n) for channel in LANE for n in range(20)])
    for number in (0, 1):
        assert await stack.stop_gently(number) == 0
    before = dict(stack.ports)
    for number in (0, 1):
        stack.start_again(number)
    assert all(stack.ports[number] != before[number] for number in (0, 1))
    await stack.produce([touch(channel, n) for channel in LANE for n in range(20, 40)])
    assert await stack.follow(stack.all_ended, deadline_s=60)
    for number in (0, 1):
        wait_for(stack.ports[number], "/ready")
        wait_for(stack.ports[number], "/live")
    assert stack.exits == []


@pytest.mark.parametrize(
    "line",
    [
        ["--datadir", "{}", "worker"],
        ["--datadir={}", "worker"],
        ["-D", "{}", "worker"],
        ["worker", "--datadir", "{}"],
        ["worker", "--datadir={}"],
        ["worker", "-D", "{}"],
    ],
)
def test_the_data_folder_is_the_one_that_was_typed(make_stack: MakeStack, tmp_path: Path, line: list[str]):
    typed = [each.format("here") for each in line]
    with worker(make_stack(), tmp_path / "log", *typed, "--without-web"):
        deadline = time.monotonic() + WITHIN_S
        while not (tmp_path / "here" / "instance-id").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        assert (tmp_path / "here" / "instance-id").exists(), (tmp_path / "log").read_text()
        assert not (tmp_path / "data").exists()


def test_a_second_worker_started_as_readme_says_runs_beside_the_first(make_stack: MakeStack, tmp_path: Path):
    stack = make_stack()
    with socket.socket() as taken:  # faust's own port, whether or not somebody else has it
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            taken.bind(("127.0.0.1", 6066))
            taken.listen()
        except OSError:
            pass
        with (
            worker(stack, tmp_path / "first", "worker", "-l", "info", "--datadir", "first-data") as first,
            worker(stack, tmp_path / "second", "worker", "-l", "info", "--datadir", "second-data") as second,
        ):
            ports = [port_told(tmp_path / name) for name in ("first", "second")]
            assert len({6066, *ports}) == 3
            wait_for(ports[0], "/ready", first)
            wait_for(ports[1], "/ready", second)


def port_told(log: Path) -> int:
    deadline = time.monotonic() + WITHIN_S
    while time.monotonic() < deadline:
        for line in log.read_text().splitlines():
            if "web port 6066 is in use" in line:
                return int(line.split(" are on ")[1].split()[0])
        time.sleep(0.1)
    raise AssertionError(log.read_text())


def test_a_web_port_that_was_asked_for_and_is_taken_is_one_line(make_stack: MakeStack, tmp_path: Path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with worker(make_stack(), tmp_path / "log", "worker", "-l", "warn", "--web-port", str(port)) as process:
            assert process.wait(WITHIN_S) == 1
    said = (tmp_path / "log").read_text()
    assert (
        f"pipeline: error: web port {port} of 127.0.0.1 is in use (another worker?); choose another with --web-port"
        in said
    )
    assert "Traceback" not in said


def test_a_data_folder_that_is_a_file_is_one_line(make_stack: MakeStack, tmp_path: Path):
    (tmp_path / "here").write_text("")
    with worker(make_stack(), tmp_path / "log", "worker", "-l", "warn", "--without-web", "-D", "here") as process:
        assert process.wait(WITHIN_S) == 1
    assert "pipeline: error: data folder here cannot be used" in (tmp_path / "log").read_text()
    assert "Traceback" not in (tmp_path / "log").read_text()


async def test_of_two_workers_with_one_instance_id_one_stays_and_the_other_comes_back_with_its_own(
    make_stack: MakeStack,
):
    stack = make_stack()
    stack.start(0)
    await stack.wait_for_topics()
    await stack.wait_for_work(0)
    # A clone that nothing tells from its original: the same id, and no word of whose it is.
    (stack.folder / "data-1").mkdir()
    shutil.copy(stack.folder / "data-0" / "instance-id", stack.folder / "data-1" / "instance-id")
    stack.start(1)
    await stack.produce((touch("sms", n) for n in range(200)), per_s=20)

    async def restart() -> None:
        stack.restart_the_dead()

    # On a slow machine the clone may join only after the last touch has ended.
    assert await stack.follow(lambda: stack.all_ended() and bool(stack.exits), deadline_s=90, meanwhile=restart)
    assert len(stack.exits) <= 2, stack.exits
    assert all(code == 1 for _, code in stack.exits)
    said = "".join(path.read_text() for path in stack.folder.glob("worker-*.log"))
    assert "another worker has joined the group with the same instance id" in said
    ids = {(stack.folder / f"data-{n}" / "instance-id").read_text() for n in (0, 1)}
    assert len(ids) == 2
    stack.judge()
