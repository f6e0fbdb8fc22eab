"""The data folder: one process, one instance id, and no copy of it shares that id."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.engine.data_folder import BOOT_ID, DataFolder, FolderInUse

PROCESS = """
import sys
from pathlib import Path
from pipeline.engine import data_folder
data_folder.BOOT_ID = Path(sys.argv[2])
print(data_folder.DataFolder(Path(sys.argv[1])).claim())
"""


def claimed_by_a_process(folder: Path, boot_id: Path = BOOT_ID) -> str:
    """Return the instance id that a whole process gets; its end releases the folder."""
    command = [sys.executable, "-c", PROCESS, str(folder), str(boot_id)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_a_restart_finds_its_instance_id_again(tmp_path):
    known = claimed_by_a_process(tmp_path / "data")
    assert len(known) == 32
    assert claimed_by_a_process(tmp_path / "data") == known


def test_a_folder_in_use_is_refused(tmp_path):
    keeper = DataFolder(tmp_path / "data")
    keeper.claim()
    with pytest.raises(FolderInUse):
        DataFolder(tmp_path / "data").claim()


def test_a_copy_of_the_folder_gets_an_instance_id_of_its_own(tmp_path):
    keeper = DataFolder(tmp_path / "data")
    known = keeper.claim()
    shutil.copytree(tmp_path / "data", tmp_path / "copy")
    copied = DataFolder(tmp_path / "copy").claim()
    assert copied != known


def test_a_clone_of_the_whole_machine_gets_an_instance_id_of_its_own(tmp_path):
    known = claimed_by_a_process(tmp_path / "data")
    other_boot = tmp_path / "boot_id"
    other_boot.write_text("another")
    cloned = claimed_by_a_process(tmp_path / "data", other_boot)
    assert cloned != known
    assert claimed_by_a_process(tmp_path / "data", other_boot) == cloned


def test_an_instance_id_of_an_earlier_version_is_kept(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "instance-id").write_text("abc\n")
    assert DataFolder(tmp_path / "data").claim() == "abc"


@pytest.mark.parametrize("left", ["", "\n", " "])
def test_half_an_instance_id_is_replaced(tmp_path, left):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "instance-id").write_text(left)
    assert len(DataFolder(tmp_path / "data").claim()) == 32


def test_a_crash_while_an_instance_id_is_written_leaves_the_one_before(tmp_path, monkeypatch):
    folder = DataFolder(tmp_path / "data")
    known = folder.claim()
    monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError("the machine is off")))
    with pytest.raises(OSError, match="off"):
        folder.renew()
    assert (tmp_path / "data" / "instance-id").read_text() == known


def test_only_its_owner_can_read_the_folder(tmp_path):
    DataFolder(tmp_path / "data").claim()
    assert (tmp_path / "data").stat().st_mode & 0o077 == 0


def test_a_folder_that_everybody_could_read_is_closed(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir(mode=0o755)
    DataFolder(folder).claim()
    assert folder.stat().st_mode & 0o777 == 0o700
