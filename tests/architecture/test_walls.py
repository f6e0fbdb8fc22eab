"""The walls hold: each wrong import, planted in a copy of the tree, is refused by the contract that forbids it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
LINT_IMPORTS = Path(sys.executable).parent / "lint-imports"
LAYERS = "Imports point downward"
PURE = "What decides neither waits"
LABORATORY = "The product does not know the laboratory"
CHANNELS = "Channels do not know each other"
ENGINE = "The engine knows no touch"
DECIDING = "Stages and forecast decide"
COUNTING = "Stages and forecast do not count"
WRONG = [
    ("domain/touch.py", "import pipeline.stages.route", LAYERS),
    ("domain/work.py", "import pipeline.records.codec", LAYERS),
    ("secret.py", "import pipeline.domain.touch", LAYERS),
    ("stage_io.py", "import pipeline.domain.touch", LAYERS),
    ("flow.py", "import pipeline.records.codec", LAYERS),
    ("engine/partition.py", "import pipeline.domain.touch", ENGINE),
    ("engine/partition.py", "import pipeline.flow", ENGINE),
    ("records/codec.py", "import pipeline.composer.template", LAYERS),
    ("composer/template.py", "import pipeline.settings", LAYERS),
    ("channels/http.py", "import pipeline.settings", LAYERS),
    ("settings/load.py", "import pipeline.stages.route", LAYERS),
    ("metrics.py", "import pipeline.stages.route", LAYERS),
    ("stages/route.py", "import pipeline.channels.http", DECIDING),
    ("stages/lane/lane.py", "import pipeline.engine.partition", DECIDING),
    ("forecast/rehearsal.py", "import pipeline.settings", DECIDING),
    ("stages/route.py", "import pipeline.agents", LAYERS),
    ("agents/__init__.py", "import pipeline.forecast", LAYERS),
    ("forecast/__init__.py", "import pipeline.agents", LAYERS),
    ("agents/__init__.py", "import pipeline.console", LAYERS),
    ("console/__init__.py", "import pipeline.worker", LAYERS),
    ("kafka/cluster.py", "import pipeline.console.command", LAYERS),
    ("kafka/topic.py", "import pipeline.stages.route", LAYERS),
    ("records/published.py", "import pipeline.kafka.cluster", LAYERS),
    ("stages/route.py", "import pipeline.kafka.cluster", DECIDING),
    ("worker.py", "import pipeline.lab.local", LAYERS),
    ("startup.py", "import pipeline.worker", LAYERS),
    ("web/__init__.py", "import pipeline.startup", LAYERS),
    ("startup.py", "import pipeline.sandbox", LABORATORY),
    ("console/__init__.py", "import pipeline.sandbox", LABORATORY),
    ("channels/http.py", "import pipeline.sandbox.server", LABORATORY),
    ("domain/retry.py", "import random", PURE),
    ("domain/window.py", "import time", PURE),
    ("domain/limit.py", "import asyncio", PURE),
    ("stages/dedup.py", "import os", PURE),
    ("stages/schedule.py", "import httpx", PURE),
    ("stages/lane/gate.py", "import time", PURE),
    ("forecast/rehearsal.py", "import aiokafka", PURE),
    ("flow.py", "import faust", PURE),
    ("stage_io.py", "import rocksdict", PURE),
    ("channels/sms/sender.py", "import pipeline.channels.email.payload", CHANNELS),
    ("stages/dedup.py", "import pipeline.metrics", COUNTING),
    ("forecast/rehearsal.py", "import prometheus_client", COUNTING),
]


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("walls")
    shutil.copytree(ROOT / "pipeline", folder / "pipeline", ignore=shutil.ignore_patterns("__pycache__", "_data"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


@pytest.fixture
def planted(tree: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    path, line = request.param
    kept = (tree / "pipeline" / path).read_text() if (tree / "pipeline" / path).exists() else None
    (tree / "pipeline" / path).parent.mkdir(exist_ok=True)
    (tree / "pipeline" / path).write_text(f"{kept or ''}\n{line}\n")
    yield tree
    if kept is None:
        shutil.rmtree((tree / "pipeline" / path).parent)
    else:
        (tree / "pipeline" / path).write_text(kept)


def broken(tree: Path) -> list[str]:
    """Return the contracts that the tree breaks; "error" when they cannot be looked at."""
    linted = subprocess.run(
        [LINT_IMPORTS, "--no-cache"],
        cwd=tree,
        env={"PYTHONPATH": str(tree), "PYTHONSAFEPATH": "", "COLUMNS": "200"},
        check=False,
        capture_output=True,
        text=True,
    )
    if linted.returncode and "BROKEN" not in linted.stdout:
        return [f"error: {linted.stdout}{linted.stderr}"]
    return [line for line in linted.stdout.splitlines() if line.endswith("BROKEN")]


def test_the_tree_as_it_is_breaks_no_contract(tree: Path):
    assert broken(tree) == []


@pytest.mark.parametrize(
    ("planted", "contract"),
    [((path, line), contract) for path, line, contract in WRONG],
    indirect=["planted"],
    ids=[f"{path}: {line}" for path, line, _ in WRONG],
)
def test_a_wrong_import_is_refused(planted: Path, contract: str):
    assert any(line.startswith(contract) for line in broken(planted))


@pytest.mark.parametrize("planted", [("attic/__init__.py", '"""A room that nobody gave a floor."""')], indirect=True)
def test_a_room_without_a_floor_is_refused(planted: Path):
    assert any(line.startswith(LAYERS) for line in broken(planted))
