"""The data folder of one worker: locked while in use; it holds the instance id, which a copy of the folder does not keep."""

from __future__ import annotations

import fcntl
import os
import uuid
from contextlib import suppress
from pathlib import Path

INSTANCE_ID = "instance-id"
STAMP = "instance-of"
"""File that says where the instance id is valid: boot id of the machine, device and inode of the folder."""
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class FolderInUse(Exception):
    """Another process has locked the folder."""


class DataFolder:
    """A worker's folder. Its instance id makes the worker a static member of its group: a restart keeps its partitions."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def claim(self) -> str:
        """Lock the folder for the life of this process and return its instance id.

        A copied folder, and any folder after a reboot, gets a new id: two workers with one id would expel each other
        from the group again and again. Raises FolderInUse, OSError.
        """
        self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        with suppress(PermissionError):  # a folder of another user that is writable here
            self.path.chmod(0o700)
        lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            raise FolderInUse(str(self.path)) from None
        known, stamp = self._read(INSTANCE_ID), self._read(STAMP)
        if not known or stamp not in ("", self._stamp()):
            known = self.renew()
        self._write(STAMP, self._stamp())
        return known

    def renew(self) -> str:
        """Write a new instance id and return it."""
        fresh = uuid.uuid4().hex
        self._write(INSTANCE_ID, fresh)
        return fresh

    def _stamp(self) -> str:
        found = self.path.stat()
        boot = BOOT_ID.read_text(encoding="ascii").strip() if BOOT_ID.exists() else "unknown"
        return f"{boot} {found.st_dev}:{found.st_ino}"

    def _read(self, name: str) -> str:
        path = self.path / name
        return path.read_text(encoding="ascii", errors="replace").strip() if path.exists() else ""

    def _write(self, name: str, text: str) -> None:
        """Replace the file as a whole: a crash never leaves half an id."""
        path, fresh = self.path / name, self.path / f"{name}.new"
        with fresh.open("w", encoding="ascii") as out:
            out.write(text)
            out.flush()
            os.fsync(out.fileno())
        fresh.replace(path)
