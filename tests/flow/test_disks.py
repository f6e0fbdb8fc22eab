"""A worker whose disk is full, or becomes read-only: one line, and nothing is lost or sent twice."""

from __future__ import annotations

import shutil
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from pipeline.lab.local.kafka import LocalKafka
from tests.harness.stack import LANE, touch

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.harness.reporting import MakeStack
    from tests.harness.stack import Stack

PER_CHANNEL = 300


def _mount(folder: Path, options: str) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], check=True, capture_output=True)


@contextmanager
def disk_at(folder: Path) -> Iterator[None]:
    """Put a disk of its own under `folder`."""
    folder.mkdir(mode=0o700)
    try:
        _mount(folder, "size=64m,mode=0700")
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"a disk of its own needs the right to mount one: {error}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def fill(folder: Path) -> None:
    """Leave no byte free."""
    with (folder / "ballast").open("wb", buffering=0) as ballast:
        for size in (1 << 20, 1 << 12, 1):
            try:
                while ballast.write(b"\0" * size) == size:
                    pass
            except OSError:
                continue


async def at_work(stack: Stack) -> None:
    """Start a worker and give it half of the touches."""
    stack.start(0)
    await stack.wait_for_topics()
    await stack.wait_for_work(0)
    await stack.produce([touch(channel, n) for channel in LANE for n in range(PER_CHANNEL)])


async def the_other_half(stack: Stack) -> None:
    await stack.produce([touch(channel, n) for channel in LANE for n in range(PER_CHANNEL, 2 * PER_CHANNEL)])


def the_last_line(written: str) -> str:
    """Return the line that says why the worker ended; it is the only one that does, and there is no traceback."""
    ends = [line for line in written.splitlines() if "[CRITICAL]" in line]
    assert len(ends) == 1, ends
    assert "Traceback" not in written
    return ends[0]


async def goes_on(stack: Stack) -> None:
    stack.start_again(0)
    assert await stack.follow(stack.all_ended, deadline_s=90)
    stack.judge()


async def test_a_full_disk_ends_the_worker_with_one_line_and_loses_nothing(make_stack: MakeStack):
    stack = make_stack()
    folder = stack.folder / "data-0"
    with disk_at(folder):
        await at_work(stack)
        fill(folder)
        await the_other_half(stack)
        assert stack.workers[0].wait(60) == 1
        assert "No space left" in the_last_line((stack.folder / "worker-0.log").read_text())
        (folder / "ballast").unlink()
        await goes_on(stack)
        stack.stop_all()


async def test_a_worker_that_comes_back_to_a_read_only_disk_ends_with_one_line_and_loses_nothing(make_stack: MakeStack):
    # The kernel lets nobody make a disk read-only while files on it are being written.
    stack = make_stack()
    folder = stack.folder / "data-0"
    with disk_at(folder):
        await at_work(stack)
        stack.workers[0].kill()
        stack.workers[0].wait()
        _mount(folder, "remount,ro")
        await the_other_half(stack)
        before = len((stack.folder / "worker-0.log").read_text())
        stack.start_again(0)
        assert stack.workers[0].wait(60) == 1
        written = (stack.folder / "worker-0.log").read_text()[before:]
        assert f"pipeline: error: data folder {folder} cannot be used" in written
        assert "Read-only file system" in written
        assert "Traceback" not in written
        _mount(folder, "remount,rw")
        await goes_on(stack)
        stack.stop_all()


async def test_a_changelog_that_is_damaged_at_the_broker_stops_the_worker_that_must_read_it(
    make_stack: MakeStack, tmp_path: Path
):
    with LocalKafka(tmp_path / "kafka") as kafka:
        stack = make_stack(kafka.bootstrap_servers)
        await at_work(stack)
        assert await stack.follow(stack.all_ended, deadline_s=60)
        assert await stack.stop_gently(0) == 0
        shutil.rmtree(stack.folder / "data-0")
        [log] = (tmp_path / "kafka" / "broker-0" / "log").glob(f"{stack.prefix}lanes-sms-changelog-2/*.log")
        with log.open("r+b") as file:  # in the middle of the first batch
            file.seek(200)
            byte = file.read(1)
            file.seek(200)
            file.write(bytes([byte[0] ^ 0xFF]))
        before = len((stack.folder / "worker-0.log").read_text())
        stack.start_again(0)
        assert stack.workers[0].wait(60) == 1
        line = the_last_line((stack.folder / "worker-0.log").read_text()[before:])
        assert f"ChangelogDamaged: {stack.prefix}lanes-sms-changelog[2]@" in line
        assert "let the partition be led by an undamaged replica" in line
        stack.stop_all()
