"""`make profile`: where a worker's CPU time goes while it sends: by room and library, and the dearest functions.

Samples the worker from outside (py-spy, 500 a second, only where it computes) during a streaming run at the sandbox.
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys
import tempfile
import uuid
from collections import Counter
from pathlib import Path

from pipeline.lab.local.kafka import LocalKafka
from tests.harness.stack import Stack, touch

PER_S = 500
WARM = 500
ROOMS = ("agents", "channels", "composer", "domain", "engine", "records", "stages", "metrics", "stage_io")


def owner(frame: str) -> str:
    """Return the room or library of a frame, `name (path:line)`."""
    path = frame.partition("(")[2]
    if "pipeline/" in path:
        room = path.partition("pipeline/")[2].partition("/")[0].partition(".py")[0]
        return f"pipeline.{room}"
    for name in ("aiokafka", "fastavro", "rocksdict", "faust", "mode", "httpx", "httpcore", "aiohttp", "asyncio"):
        if f"{name}/" in path:
            return name
    return "python"


def shares(stacks: str) -> tuple[Counter[str], Counter[str], Counter[str]]:
    """Return samples by the room that is nearest to them, by what computes, and by function, of py-spy's raw format."""
    rooms: Counter[str] = Counter()
    selves: Counter[str] = Counter()
    functions: Counter[str] = Counter()
    for line in stacks.splitlines():
        frames, _, count = line.rpartition(" ")
        path = frames.split(";")
        ours = [owner(frame) for frame in path if owner(frame).startswith("pipeline.")]
        rooms[ours[-1] if ours else owner(path[-1])] += int(count)
        selves[owner(path[-1])] += int(count)
        functions[path[-1].rpartition(":")[0] + ")"] += int(count)
    return rooms, selves, functions


def shown(title: str, counts: Counter[str], most: int) -> str:
    total = sum(counts.values())
    return "\n".join([f"{title}:", *(f"  {count / total:6.1%}  {name}" for name, count in counts.most_common(most))])


async def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.profile", description=__doc__)
    parser.add_argument("--channel", choices=["whatsapp", "email", "sms"], default="email")
    parser.add_argument("--touches", type=int, default=20_000)
    parser.add_argument("--raw", type=Path, metavar="FILE", help="also keep the stacks (for a flame graph)")
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary, LocalKafka(Path(temporary) / "kafka") as kafka:
        place = Path(temporary) / "stack"
        place.mkdir()
        stack = Stack(kafka.bootstrap_servers, f"p{uuid.uuid4().hex[:8]}.", place, sms="in_flight = 50")
        stack.start_sandbox()
        try:
            stack.start(0)
            await stack.wait_for_topics()
            await stack.wait_for_work(0)
            await stack.produce([touch(wanted.channel, n) for n in range(WARM)])
            await stack.follow(stack.all_ended, deadline_s=60)
            raw = wanted.raw or Path(temporary) / "raw"
            spy = subprocess.Popen(
                [
                    str(Path(sys.executable).parent / "py-spy"),
                    *("record", "--pid", str(stack.workers[0].pid), "--rate", str(PER_S), "--format", "raw"),
                    *("--gil", "--output", str(raw), "--duration", "100000"),
                ],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            await stack.produce([touch(wanted.channel, n) for n in range(WARM, WARM + wanted.touches)])
            assert await stack.follow(stack.all_ended, deadline_s=900)
            spy.send_signal(2)
            spy.wait(30)
        finally:
            stack.stop_all()
        rooms, selves, functions = shares(raw.read_text())
        print(f"{wanted.touches:,} {wanted.channel} touches, {sum(rooms.values()):,} samples")
        print(shown("by the room at work (with the libraries it calls)", rooms, 12))
        print(shown("by what computes", selves, 12))
        print(shown("by function", functions, 30))


if __name__ == "__main__":
    asyncio.run(main())
