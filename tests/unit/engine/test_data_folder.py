"""The data folder: one process, one instance id, and no copy of it shares that id."""

from __future__ import annotations

import shutil

import pytest

from pipeline.engine import data_folder as folder_module
from pipeline.engine.data_folder import DataFolder, FolderInUse


def test_a_restart_finds_its_instance_id_again(tmp_path):
    first, second = DataFolder(tmp_path / "data"), DataFolder(tmp_path / "data")
    known = first.claim()
    first._release()
    assert second.claim() == known


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


def test_a_clone_of_the_whole_machine_gets_an_instance_id_of_its_own(tmp_path, monkeypatch):
    keeper = DataFolder(tmp_path / "data")
    known = keeper.claim()
    keeper._release()
    other_boot = tmp_path / "boot_id"
    other_boot.write_text("another")
    monkeypatch.setattr(folder_module, "BOOT_ID", other_boot)
    clone = DataFolder(tmp_path / "data")
    cloned = clone.claim()
    assert cloned != known
    clone._release()
    assert DataFolder(tmp_path / "data").claim() == cloned


def test_an_instance_id_of_an_earlier_version_is_kept(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "instance-id").write_text("abc\n")
    assert DataFolder(tmp_path / "data").claim() == "abc"


@pytest.mark.parametrize("left", ["", "\n", " "])
def test_half_an_instance_id_is_replaced(tmp_path, left):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "instance-id").write_text(left)
    assert len(DataFolder(tmp_path / "data").claim()) == 32


def test_only_its_owner_can_read_the_folder(tmp_path):
    DataFolder(tmp_path / "data").claim()
    assert (tmp_path / "data").stat().st_mode & 0o077 == 0


def test_a_folder_that_everybody_could_read_is_closed(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir(mode=0o755)
    DataFolder(folder).claim()
    assert folder.stat().st_mode & 0o777 == 0o700
