"""How far a command is: a bar on a terminal, a plain line now and then elsewhere. Always on standard error."""

from __future__ import annotations

import asyncio
import sys
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Self

import rich.progress
from rich.console import Console

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from typing import TextIO

EVERY_S = 5.0
"""Between two plain lines."""


class ProgressReport:
    """Counts towards an unknown total; `share` returns the part of the work that is done (0 to 1), or None."""

    def __init__(
        self,
        what: str,
        share: Callable[[], float | None],
        *,
        out: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._what, self._share = what, share
        self._out = out or sys.stderr
        self._clock, self._told = clock, clock()
        self.count = 0
        self._bar = _bar(self._out) if self._out.isatty() else None
        self._task = self._bar.add_task(what, total=None, count="0") if self._bar else None

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, count: int) -> None:
        """Say that `count` are done."""
        self.count = count
        share = self._share()
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, count=f"{count:,}", completed=share or 0, total=None if share is None else 1)
        elif self._clock() - self._told >= EVERY_S:
            self._told = self._clock()
            self._out.write(f"{count:,} {self._what}{'' if share is None else f' ({share:.0%})'}\n")
            self._out.flush()

    def say(self, line: str) -> None:
        """Write a line without tearing the bar apart."""
        if self._bar is not None:
            self._bar.console.print(line, markup=False, highlight=False)
        else:
            self._out.write(line + "\n")
            self._out.flush()


@asynccontextmanager
async def telling(report: ProgressReport, every_s: float = EVERY_S) -> AsyncIterator[None]:
    """Say how far `report` is every `every_s` seconds, although nothing moves."""

    async def tell() -> None:
        while True:
            await asyncio.sleep(every_s)
            report(report.count)

    task = asyncio.ensure_future(tell())
    try:
        yield
    finally:
        task.cancel()


def _bar(out: TextIO) -> rich.progress.Progress:
    return rich.progress.Progress(
        rich.progress.BarColumn(),
        rich.progress.TextColumn("{task.fields[count]} {task.description}"),
        rich.progress.TimeElapsedColumn(),
        console=Console(file=out),
        transient=True,
    )
