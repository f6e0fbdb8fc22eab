"""The template folder: files are read and kept, so that a file that is deleted later stays usable."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

from jinja2 import BaseLoader, Environment, TemplateNotFound
from jinja2.loaders import split_template_path

log = logging.getLogger(__name__)

FILES: Final = ("whatsapp.txt", "sms.txt", "email.html", "email.txt", "subject.txt")
MOST_BYTES: Final = 1_000_000
"""Most bytes of one file."""

MOST_TOLD: Final = 20
"""Most templates named in one line."""

Stamp = tuple[int, int] | None
"""(mtime in ns, size); None for a missing file."""


class BadFile(ValueError):
    """The file exists but is not a template; the message says why."""


class TemplateFiles(BaseLoader):
    """Reads the files of one folder. A changed file is read again; a deleted one stays usable as last read."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._kept: dict[str, str] = {}
        self._gone: set[str] = set()
        self.keep()

    def keep(self) -> None:
        """Read every template: a file that a later deployment removes must not fail touches that need it."""
        for name, files in self.found().items():
            for file in files:
                try:
                    self._read(f"{name}/{file}")
                except (BadFile, OSError):
                    continue  # told when a touch names it, and by `check`

    def found(self) -> dict[str, list[str]]:
        """Return the files of each template, as they are on disk now."""
        try:
            names = sorted(each.name for each in self._folder.iterdir() if each.is_dir())
        except OSError:
            return {}
        files = {name: [file for file in FILES if (self._folder / name / file).is_file()] for name in names}
        return {name: there for name, there in files.items() if there}

    def faults(self) -> list[str]:
        """Return the faults of the existing files, one line each."""
        faults = []
        for name, files in self.found().items():
            for file in files:
                try:
                    self._read(f"{name}/{file}")
                except (BadFile, OSError) as error:
                    faults.append(f"{name}/{file}: {error}")
        return faults

    def stamp(self, template: str) -> Stamp:
        """Return a value that changes when the file does."""
        return _stamp(f"{self._folder}/{template}")

    def get_source(self, environment: Environment, template: str) -> tuple[str, str, Callable[[], bool]]:
        """Return the text of a template. Raises TemplateNotFound, BadFile."""
        del environment
        path = str(self._path(template))
        stamp = _stamp(path)
        try:
            text = self._read(template)
        except OSError as error:
            if template not in self._kept:
                if isinstance(error, FileNotFoundError | NotADirectoryError):
                    raise TemplateNotFound(template) from None
                raise BadFile(f"it cannot be read: {error.strerror}") from None
            text = self._kept[template]
            self._tell_gone(template, error)
        return text, path, lambda: _stamp(path) == stamp

    def _read(self, template: str) -> str:
        path = self._path(template)
        with path.open("rb") as file:
            raw = file.read(MOST_BYTES + 1)
        if len(raw) > MOST_BYTES:
            raise BadFile(f"it is larger than {MOST_BYTES} bytes")
        try:
            text = raw.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = raw.count(b"\n", 0, error.start) + 1
            raise BadFile(f"line {line}: it is not UTF-8 (byte {raw[error.start]:#04x})") from None
        self._kept[template] = text
        self._gone.discard(template)
        return text

    def _path(self, template: str) -> Path:
        return self._folder.joinpath(*split_template_path(template))

    def _tell_gone(self, template: str, error: OSError) -> None:
        if template not in self._gone:
            self._gone.add(template)
            log.warning(
                "template file %s is gone (%s): its last text goes on until this worker is restarted",
                template,
                error.strerror,
            )


def _stamp(path: str) -> Stamp:
    try:
        found = os.stat(path)  # noqa: PTH116 - once per touch and file, and a third of Path's cost
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size


def described(found: dict[str, list[str]]) -> str:
    """Return the templates of a folder in one line."""
    said = [f"{name} ({', '.join(files)})" for name, files in found.items()]
    more = [f"and {len(said) - MOST_TOLD} more"] if len(said) > MOST_TOLD else []
    return ", ".join([*said[:MOST_TOLD], *more])
