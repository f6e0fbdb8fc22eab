"""What a touch costs a worker, as a multiple of a fixed piece of work done beside it: no more than was recorded, and a third."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from bench.guard import WORSE, multiples, recorded
from pipeline.lab.local.kafka import LocalKafka
from tests.harness.stack import ROOT


async def test_a_touch_costs_no_more_than_is_recorded():
    before = recorded()
    with tempfile.TemporaryDirectory() as folder, LocalKafka(Path(folder) / "kafka") as kafka:
        found = await multiples(kafka, Path(folder))
        if any(found[channel] > WORSE * before[channel] for channel in before):  # once more: machines have bad minutes
            (Path(folder) / "again").mkdir()
            again = await multiples(kafka, Path(folder) / "again")
            found = {channel: min(found[channel], again[channel]) for channel in found}
    for channel, multiple in found.items():
        print(f"{channel}: a touch costs {multiple:.2f} turns of the calibration; recorded are {before[channel]:.2f}")
    dear = {channel: multiple for channel, multiple in found.items() if multiple > WORSE * before[channel]}
    assert not dear, f"dearer than recorded ({before}): python -m bench.profile shows why"


def test_the_benchmark_as_contributing_shows_it(tmp_path: Path):
    line = [
        "--channel",
        "sms",
        "--mode",
        "prefilled",
        "--topics",
        "--touches",
        "1500",
        "--json",
        str(tmp_path / "runs"),
    ]
    done = subprocess.run(
        [sys.executable, "-m", "bench", *line], cwd=ROOT, check=False, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert "| sms | prefilled | 1,500 |" in done.stdout
    assert "touches.status:" in done.stdout
    (run,) = (json.loads(each) for each in (tmp_path / "runs").read_text().splitlines())
    assert (run["channel"], run["mode"], run["touches"]) == ("sms", "prefilled", 1500)
    assert run["worker_us"] > 0
    assert run["topics"]["touches.status"][0] >= 2 - 0.01, "accepted and sent, each with a record"
