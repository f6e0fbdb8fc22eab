"""The simulation itself: it is clean, it repeats itself, and it notices whatever is taken out."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.lab.simulation.without import SAFEGUARDS

ROOT = Path(__file__).parents[2]


def simulate(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pipeline.lab.simulation", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=1_500,  # a busy machine lives through three histories a second
    )


def test_five_hundred_histories_keep_the_promise() -> None:
    lived = simulate("--seeds", "500")
    assert lived.returncode == 0, lived.stdout[-5_000:]
    print(lived.stdout.splitlines()[-1])
    kills, freezes, looked_up = (int(n) for n in re.findall(r"(\d+) (?:kills|freezes|looked up)", lived.stdout))
    assert min(kills, freezes, looked_up) > 500, "a calm history proves little"


def test_a_seed_tells_the_same_story_every_time() -> None:
    once, again, other = simulate("--story", "5"), simulate("--story", "5"), simulate("--story", "6")
    assert len(once.stdout.splitlines()) > 10
    assert once.stdout == again.stdout
    assert once.stdout != other.stdout


@pytest.mark.parametrize("safeguard", sorted(SAFEGUARDS))
def test_a_safeguard_taken_out_is_noticed(safeguard: str) -> None:
    lived = simulate("--seeds", "1000", "--without", safeguard)
    assert lived.returncode == 1, lived.stdout[-1_000:]
    assert re.search(r"found after \d+ histories", lived.stdout)
    assert re.search(
        r"^seed \d+: .*(twice|gap or repeat|lost|wrong ids|more than \d+ calls|a call began|in a closed window)",
        lived.stdout,
        re.MULTILINE,
    ), lived.stdout[-3_000:]
