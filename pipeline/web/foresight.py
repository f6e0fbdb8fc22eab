"""The forecast for the pages: what `faust -A pipeline forecast` says, made when somebody looks, and kept.

It costs as much CPU and memory as the backlog is long, so it is made by the command, in a process of its own: one at a
time, behind everything else, and bounded. See docs/decisions/0051-the-page-asks-the-command-for-the-forecast.md.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import resource
import sys
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import Awaitable, Callable, Mapping, Sequence

LEAST_MS: Final = 60_000
"""A forecast younger than this is not made again."""
REST: Final = 10
"""Between two there is so many times as long as the last one took: a long one takes a tenth of a core at most."""
LONGEST_S: Final = 900.0
MOST_BYTES: Final = 768 * 1024 * 1024
"""Memory that the command may use, where the operating system can hold it to that."""
NICE: Final = 15
COMMAND: Final = (sys.executable, "-m", "faust", "-A", "pipeline", "--json", "forecast")

log = logging.getLogger(__name__)


class ForecastFailed(Exception):
    """The command gave no forecast; one line for people."""


@dataclass(frozen=True, slots=True)
class Foresight:
    """The latest forecast, if there is one."""

    told: Mapping[str, Any] | None
    """The object of `--json forecast`."""
    is_being_made: bool
    has_failed: bool
    """Whether the last attempt gave none; `told` is then of an earlier one."""


class Foreseer:
    """Keeps the latest forecast of all campaigns. `ask` makes one, or raises ForecastFailed; `now_ms` is the clock."""

    def __init__(self, ask: Callable[[], Awaitable[Mapping[str, Any]]], now_ms: Callable[[], int]) -> None:
        self._ask, self._now_ms = ask, now_ms
        self._wanted = asyncio.Event()
        self._told: Mapping[str, Any] | None = None
        self._has_failed = False
        self._due_ms = 0

    def latest(self) -> Foresight:
        """Return the latest forecast at once; an old one is made again meanwhile."""
        if self._now_ms() >= self._due_ms:
            self._wanted.set()
        return Foresight(self._told, self._wanted.is_set(), self._has_failed)

    async def run(self) -> None:
        """Make a forecast whenever one is wanted, until it is cancelled."""
        while True:
            await self._wanted.wait()
            began_ms = self._now_ms()
            await self._make()
            ended_ms = self._now_ms()
            self._due_ms = ended_ms + max(LEAST_MS, REST * (ended_ms - began_ms))
            self._wanted.clear()

    async def _make(self) -> None:
        try:
            self._told = await self._ask()
            self._has_failed = False
        except ForecastFailed as failed:
            self._has_failed = True
            log.warning("the forecast for the pages could not be made: %s", failed)


async def ask_command(command: Sequence[str] = COMMAND, longest_s: float = LONGEST_S) -> dict[str, Any]:
    """Run the command and return what it says. Raises ForecastFailed. A cancelled call leaves no process behind."""
    pipe = asyncio.subprocess.PIPE
    try:
        process = await asyncio.create_subprocess_exec(
            *command, stdin=asyncio.subprocess.DEVNULL, stdout=pipe, stderr=pipe
        )
    except OSError as error:  # no memory, no process left: the pages go on
        raise ForecastFailed(f"the command cannot be run: {error}") from None
    try:
        _restrain(process.pid)
        async with asyncio.timeout(longest_s):
            said, complaints = await process.communicate()
    except TimeoutError:
        raise ForecastFailed(f"it is not done after {longest_s:.0f} s") from None
    finally:
        await _end(process)
    if process.returncode != 0:
        raise ForecastFailed(_last_line(complaints) or f"it ended with {process.returncode}")
    try:
        return dict(json.loads(said))
    except (TypeError, ValueError) as error:
        raise ForecastFailed(f"it said no JSON object: {error}") from None


def _restrain(pid: int) -> None:
    """Put a process behind everything else, and hold it to its memory."""
    with suppress(ProcessLookupError):
        os.setpriority(os.PRIO_PROCESS, pid, NICE)
        if sys.platform == "linux":
            resource.prlimit(pid, resource.RLIMIT_DATA, (MOST_BYTES, MOST_BYTES))


async def _end(process: Process) -> None:
    if process.returncode is None:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def _last_line(text: bytes) -> str:
    lines = text.decode(errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "")
