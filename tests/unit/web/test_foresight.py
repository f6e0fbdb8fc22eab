"""When a forecast is made for the pages, and how the process that makes it is held to its bounds."""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import asynccontextmanager

import pytest

from pipeline.web.foresight import LEAST_MS, MOST_BYTES, NICE, REST, ForecastFailed, Foreseer, ask_command


class Asked:
    """Makes forecasts that take as long as they are told to, by a clock that is moved by hand."""

    def __init__(self) -> None:
        self.now_ms = 1_000
        self.takes_ms = 0
        self.count = 0
        self.fails = False
        self.foreseer = Foreseer(self, lambda: self.now_ms)

    async def __call__(self) -> dict[str, int]:
        self.count += 1
        self.now_ms += self.takes_ms
        if self.fails:
            raise ForecastFailed("Kafka is away")
        return {"number": self.count}

    @asynccontextmanager
    async def at_work(self):
        task = asyncio.create_task(self.foreseer.run())
        try:
            yield self
        finally:
            task.cancel()
            await asyncio.wait([task])

    async def look(self) -> object:
        """Look once, let what is wanted be made, and return what was to be seen before."""
        seen = self.foreseer.latest()
        for _ in range(5):
            await asyncio.sleep(0)
        return seen.told


async def test_the_first_look_finds_nothing_and_has_a_forecast_made():
    async with Asked().at_work() as asked:
        first = asked.foreseer.latest()
        assert (first.told, first.is_being_made, first.has_failed) == (None, True, False)
        await asked.look()
        second = asked.foreseer.latest()
        assert (second.told, second.is_being_made) == ({"number": 1}, False)


async def test_nobody_looks_and_nothing_is_made():
    async with Asked().at_work() as asked:
        await asyncio.sleep(0)
        assert asked.count == 0


@pytest.mark.parametrize("takes_ms", [0, 3_000, 60_000])
async def test_an_old_forecast_is_shown_while_a_new_one_is_made_and_a_long_one_is_made_seldom(takes_ms):
    async with Asked().at_work() as asked:
        asked.takes_ms = takes_ms
        await asked.look()
        asked.now_ms += max(LEAST_MS, REST * takes_ms) - 1
        assert await asked.look() == {"number": 1}
        assert asked.count == 1
        asked.now_ms += 1
        assert await asked.look() == {"number": 1}
        assert await asked.look() == {"number": 2}


async def test_a_failure_is_told_keeps_what_was_known_and_is_not_repeated_at_once(caplog):
    async with Asked().at_work() as asked:
        await asked.look()
        asked.fails = True
        asked.now_ms += LEAST_MS
        await asked.look()
        seen = asked.foreseer.latest()
        assert (seen.told, seen.is_being_made, seen.has_failed) == ({"number": 1}, False, True)
        assert "Kafka is away" in caplog.text
        asked.fails = False
        asked.now_ms += LEAST_MS
        await asked.look()
        assert not asked.foreseer.latest().has_failed


def python(program: str) -> list[str]:
    return [sys.executable, "-c", program]


async def test_what_the_command_says_is_returned_and_it_runs_behind_everything_else():
    own = os.getpriority(os.PRIO_PROCESS, 0)
    program = (
        "import json, os, time\n"
        "deadline = time.monotonic() + 10\n"
        f"while os.nice(0) == {own} and time.monotonic() < deadline: time.sleep(0.01)\n"
        "print(json.dumps({'nice': os.nice(0)}))"
    )
    assert await ask_command(python(program)) == {"nice": max(own, NICE)}


async def test_a_command_that_fails_is_told_by_its_last_line():
    with pytest.raises(ForecastFailed, match=r"^the last one$"):
        await ask_command(python("import sys; sys.exit('the first line\\nthe last one')"))
    with pytest.raises(ForecastFailed, match="it ended with 3"):
        await ask_command(python("import sys; sys.exit(3)"))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits another process")
async def test_a_command_that_wants_too_much_memory_ends():
    program = (
        "import resource, time\n"
        "deadline = time.monotonic() + 10\n"
        "while resource.getrlimit(resource.RLIMIT_DATA)[0] < 0 and time.monotonic() < deadline: time.sleep(0.01)\n"
        f"bytearray({MOST_BYTES} + 1)\n"
        "print('{}')"
    )
    with pytest.raises(ForecastFailed, match="MemoryError"):
        await ask_command(python(program))


WAITS = python("import time; time.sleep(60)")


async def test_a_command_that_takes_too_long_is_ended():
    async with asyncio.timeout(10):
        with pytest.raises(ForecastFailed, match="not done after 0 s"):
            await ask_command(WAITS, longest_s=0.2)


async def test_a_web_process_that_stops_leaves_no_command_behind(tmp_path):
    told = tmp_path / "pid"
    program = f"import os, pathlib, time; pathlib.Path({str(told)!r}).write_text(str(os.getpid())); time.sleep(60)"
    task = asyncio.create_task(ask_command(python(program)))
    async with asyncio.timeout(10):
        while not (told.exists() and told.read_text()):
            await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.wait([task])
    with pytest.raises(ProcessLookupError):
        os.kill(int(told.read_text()), 0)


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["/no/such/command"], "cannot be run"),
        ([sys.executable, "-c", "print('nonsense')"], "no JSON object"),
        ([sys.executable, "-c", "print('[1]')"], "no JSON object"),
    ],
)
async def test_a_command_that_cannot_be_run_or_says_nonsense_is_a_forecast_that_failed(command: list[str], said: str):
    with pytest.raises(ForecastFailed, match=said):
        await ask_command(command)
