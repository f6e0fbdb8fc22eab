"""Two versions side by side: an upgrade while touches come and go, and the way back."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.harness.stack import LANE, ROOT, touch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.harness.stack import Stack

BEFORE = "196e816a509dfc8b3c691b91050f0c25de8f47e1"
"""The version to upgrade from as long as none is tagged."""
PER_S = 40


def _git(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["git", "-C", str(ROOT), *arguments], check=False, capture_output=True)


def _version_before() -> str:
    """Return the latest tag that this tree descends from, or BEFORE."""
    tag = _git("describe", "--tags", "--abbrev=0", "HEAD^")
    return tag.stdout.decode().strip() if tag.returncode == 0 else BEFORE


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with the wheel of the version before, unpacked."""
    version, folder = _version_before(), tmp_path_factory.mktemp("before")
    if shutil.which("git") is None or _git("cat-file", "-e", f"{version}^{{commit}}").returncode:
        why = f"version {version} is not in this clone: fetch the whole history"
        if "CI" in os.environ:
            pytest.fail(why)
        pytest.skip(why)
    (folder / "source").mkdir()
    subprocess.run(["tar", "-x", "-C", str(folder / "source")], check=True, input=_git("archive", version).stdout)
    subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "wheel",
            "--quiet",
            "--disable-pip-version-check",
            "--no-deps",
            "-w",
            str(folder),
            str(folder / "source"),
        ],
        check=True,
    )
    [wheel] = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as packed:
        packed.extractall(folder / "wheel")
    asked = [sys.executable, "-c", "import pipeline; print(pipeline.__file__)"]
    found = subprocess.run(asked, cwd=folder / "wheel", check=True, capture_output=True, text=True).stdout
    assert found.startswith(str(folder)), f"the version before is not what runs: {found}"
    yield folder / "wheel"
    shutil.rmtree(folder)


class Fleet:
    """Two workers, each of one version or the other, and what was asked of them."""

    def __init__(self, stack: Stack, trees: dict[str, Path]) -> None:
        self.stack, self._trees = stack, trees

    def start(self, number: int, version: str) -> None:
        tree = self._trees[version]
        self.stack.start(number, tree=tree, PYTHONPATH=str(tree))

    async def change(self, number: int, version: str) -> None:
        """Stop one worker, and start the other version on its folder, as operations.md says."""
        assert await self.stack.stop_gently(number) == 0
        if version == "before":
            await self._forgotten(number)
        self.start(number, version)
        await self.stack.wait_for_work(0, 1)
        await asyncio.sleep(0.5)  # of this mixture at work

    async def _forgotten(self, number: int) -> None:
        """Wait until the group gives the stopped worker's lanes to the other one."""
        deadline = time.monotonic() + 60
        while await self.stack.owners() != dict.fromkeys(LANE, 1 - number):
            assert time.monotonic() < deadline, await self.stack.owners()
            await asyncio.sleep(0.2)


async def test_a_rolling_upgrade_and_the_way_back_lose_nothing_and_send_nothing_twice(stack: Stack, before: Path):
    fleet = Fleet(stack, {"before": before, "now": ROOT})
    stack.rule(delay_ms=20)
    for number in (0, 1):
        fleet.start(number, "before")
    await stack.wait_for_topics()
    await stack.wait_for_work(0, 1)
    done = asyncio.Event()
    # Some wait for their hour with the scheduler of one version, and are sent by the other.
    later = {"not_before": int(time.time() * 1000) + 20_000}
    touches = (touch(channel, n, **(later if n % 10 == 0 else {})) for n in range(100_000) for channel in LANE)
    producing = asyncio.create_task(stack.produce(touches, per_s=PER_S, until=done.is_set))
    try:
        for version in ("now", "before"):
            for number in (0, 1):
                await fleet.change(number, version)
    finally:
        done.set()
        await producing
    assert await stack.follow(stack.all_ended, deadline_s=90)
    figures = stack.judge()
    assert all(each["sent"] == each["touches"] > 0 for each in figures.values())
    assert all(process.poll() is None for process in stack.workers.values()), "no worker ended by itself"
