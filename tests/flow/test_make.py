"""What the Makefile and `pip install .` give to whoever types it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import zipfile
from typing import TYPE_CHECKING

import pytest

from tests.docs.test_docs_lines import DOCS, shown_in
from tests.harness.stack import ROOT

if TYPE_CHECKING:
    from pathlib import Path

SHOWN = sorted({line for doc in DOCS for line in shown_in(doc) if line.startswith("make ")})
FINDINGS = 14
PRODUCT = {"worker.py", "flow.py", "sandbox/__main__.py", "domain/touch.py", "_data/schemas/touch.avsc"}


def test_the_demo_shows_all_its_findings_and_leaves_nothing_running():
    demo = subprocess.run(["make", "demo"], cwd=ROOT, check=False, capture_output=True, text=True, timeout=400)
    assert demo.returncode == 0, demo.stdout + demo.stderr
    assert len(re.findall(r"^✓ ", demo.stdout, re.MULTILINE)) == FINDINGS, demo.stdout
    assert "✗" not in demo.stdout
    running = subprocess.run(["ps", "-eo", "args"], check=True, capture_output=True, text=True).stdout
    assert str(ROOT / ".data" / "demo") not in running


@pytest.mark.parametrize("line", SHOWN)
def test_a_make_line_that_is_shown_runs_what_is_there(line: str):
    planned = subprocess.run(["make", "-n", *line.split()[1:]], cwd=ROOT, check=True, capture_output=True, text=True)
    for module in re.findall(r"-m (\S+)", planned.stdout):
        spec = f"import importlib.util as u, sys; sys.exit(u.find_spec({module!r}) is None)"
        assert subprocess.run([sys.executable, "-c", spec], cwd=ROOT, check=False).returncode == 0, module
    for path in re.findall(r"\btests/\S+", planned.stdout):
        assert (ROOT / path).exists(), path


def test_an_installed_wheel_has_the_product_and_its_schemas_and_not_the_laboratory(tmp_path: Path):
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "--no-deps", "-w", tmp_path, ROOT], check=True)
    [wheel] = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as packed:
        names = {name.removeprefix("pipeline/") for name in packed.namelist()}
        packed.extractall(tmp_path / "installed")
    assert names >= PRODUCT
    assert not {name for name in names if name.startswith(("lab/", "tests/", "../tests"))}
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(tmp_path / "installed")}
    version = subprocess.run(
        [sys.executable, "-m", "faust", "-A", "pipeline", "version"],
        cwd=tmp_path,
        env=environ,
        check=False,
        capture_output=True,
        text=True,
    )
    assert version.returncode == 0, version.stderr
    assert version.stdout.startswith("touch-pipeline")
