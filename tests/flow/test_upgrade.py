"""Two versions side by side: an upgrade while touches come and go; the way back is refused with a line."""

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

BEFORE = "366ebaeff4adf3b26ca67b60709c98b57cffbd2e"
"""The version to upgrade from as long as none is tagged."""
PER_S = 40
NEWER = "was written by a newer version of the pipeline"


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

    def log(self, number: int) -> str:
        return (self.stack.folder / f"worker-{number}.log").read_text()

    async def upgrade(self, number: int) -> None:
        """Stop one worker, and start the present version on its folder, as operations.md says.

        Where the versions' records differ, the one that is left may have ended by itself meanwhile.
        """
        code = await self.stack.stop_gently(number)
        assert code == 0 or (code == 1 and NEWER in self.log(number)), self.log(number)[-2_000:]
        self.start(number, "now")
        await self.stack.wait_for_work(number)
        await asyncio.sleep(0.5)  # of this mixture at work


async def test_a_rolling_upgrade_loses_nothing_and_sends_nothing_twice_and_the_way_back_is_refused(
    stack: Stack, before: Path
):
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
        for number in (0, 1):
            await fleet.upgrade(number)
    finally:
        done.set()
        await producing
    assert await stack.follow(stack.all_ended, deadline_s=90)
    figures = stack.judge()
    assert all(each["sent"] == each["touches"] > 0 for each in figures.values())
    assert all(process.poll() is None for process in stack.workers.values()), "no worker ended by itself"

    # One that waits with the scheduler, in a record of now.
    await stack.produce([touch("sms", 200_000, not_before=int(time.time() * 1000) + 25_000)])
    await stack.follow(lambda: "sms-200000" in stack.stories, deadline_s=20)
    for number in (0, 1):
        assert await stack.stop_gently(number) == 0
    fleet.start(0, "before")
    assert await asyncio.to_thread(stack.workers.pop(0).wait, 60) == 1
    assert NEWER in fleet.log(0)
    fleet.start(0, "now")
    assert await stack.follow(stack.all_ended, deadline_s=90)
    stack.judge()
