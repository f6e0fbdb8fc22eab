"""The data folder of one worker: locked while in use, and the home of its instance id, which no copy of it shares."""

from __future__ import annotations

import fcntl
import os
import uuid
from contextlib import suppress
from pathlib import Path

INSTANCE_ID = "instance-id"
STAMP = "instance-of"
"""Whose instance id it is: this boot of this machine, and this folder itself rather than a copy of it."""
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class FolderInUse(Exception):
    """Another process has locked the folder."""


class DataFolder:
    """A worker's folder. The instance id makes it a static member of its group: a restart takes its partitions back."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: int | None = None

    def claim(self) -> str:
        """Lock the folder for the life of this process and return its instance id.

        A folder that was copied, or whose machine has started anew since, gets a new id: two workers with one id would
        throw each other out of the group for ever. Raises FolderInUse, OSError.
        """
        self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        with suppress(PermissionError):  # somebody else's folder that we may write to: theirs to guard
            self.path.chmod(0o700)
        self._lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            raise FolderInUse(str(self.path)) from None
        known, stamp = self._read(INSTANCE_ID), self._read(STAMP)
        if not known or stamp not in ("", self._stamp()):
            known = self.renew()
        self._write(STAMP, self._stamp())
        return known

    def _release(self) -> None:
        """Unlock the folder, as the end of the process does."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

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
        """Write a whole file or nothing: a crash never leaves half an id."""
        path, fresh = self.path / name, self.path / f"{name}.new"
        with fresh.open("w", encoding="ascii") as out:
            out.write(text)
            out.flush()
            os.fsync(out.fileno())
        fresh.replace(path)
