"""Operators at a running stack: commands as they are typed, and what arrived at the providers after an answer."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.harness.stack import ROOT

if TYPE_CHECKING:
    from tests.harness.stack import Stack


@dataclass
class Done:
    """What a command said, and when it returned by the clock of the stand-in provider's machine."""

    code: int
    said: dict[str, Any]
    at_ms: int
    took_s: float
    error: str


async def command(stack: Stack, *words: str) -> Done:
    """Run a command of `faust -A pipeline` as an operator does."""
    began = time.monotonic()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "faust", "-A", "pipeline", "--json", *words),
        cwd=ROOT,
        env={**os.environ, "PIPELINE_CONFIG": str(stack.folder / "worker-0.toml")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    out, err = await process.communicate()
    lines = [line for line in out.decode().splitlines() if line.startswith("{")]
    said = json.loads(lines[-1]) if lines else {}
    return Done(process.returncode or 0, said, time.time_ns() // 1_000_000, time.monotonic() - began, err.decode())


async def order(stack: Stack, *words: str) -> Done:
    done = await command(stack, *words, "--note", "test")
    assert done.code == 0, (words, done.said, done.error)
    return done


def arrived_after(stack: Stack, at_ms: int) -> list[dict[str, Any]]:
    return [
        each for provider in ("waha", "resend", "twilio") for each in stack.arrivals(provider) if each["at_ms"] > at_ms
    ]
