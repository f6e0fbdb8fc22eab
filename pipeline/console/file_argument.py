"""A file as it is typed: its path, or `-` for standard input."""

from __future__ import annotations

import sys
from io import FileIO
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import click


def open_file(_ctx: click.Context, _param: click.Parameter, path: str) -> FileIO:
    """Open the file that was typed."""
    # Unbuffered: Python's own sys.stdin would be locked, at exit, by the thread that waits for input.
    return FileIO(sys.stdin.fileno(), closefd=False) if path == "-" else FileIO(path)
