"""What a worker does before anything is consumed."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from pipeline.engine.data_folder import DataFolder
from pipeline.startup import Startup

if TYPE_CHECKING:
    from pathlib import Path


def test_whatever_a_worker_writes_only_its_owner_can_read(tmp_path: Path) -> None:
    worker: Any = SimpleNamespace(folder=DataFolder(tmp_path / "data"))
    before = os.umask(0o022)
    try:
        Startup._claim_folder(worker)
        (tmp_path / "data" / "table").write_text("whom, and what")
        (tmp_path / "data" / "tables").mkdir()
    finally:
        os.umask(before)
    for path in [tmp_path / "data", *(tmp_path / "data").rglob("*")]:
        assert path.stat().st_mode & 0o077 == 0, path
