"""`python -m bench.peer FOLDER`: this pipeline and the queue worker in FOLDER, in turn, at the same stand-in of the providers.

FOLDER is a copy of the peer (BullMQ and Redis) in which its `setup.sh` has run. What counts are the ratios of one run: CPU of
worker and broker together against worker and Redis, and touches per second. Before, e-mails are sent that nobody measures: a
broker that has just started spends most of its CPU on compiling itself.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from bench.__main__ import machine
from bench.cost import KEYS, measure
from pipeline.lab.local.kafka import LocalKafka
from pipeline.lab.local.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

COLUMNS = "| channel | touches | ours: CPU µs/touch (worker + broker) | touches/s | peer: CPU µs/touch (worker + Redis) | touches/s | CPU ratio | rate ratio |"


class Figures(NamedTuple):
    """CPU in µs per touch (worker; broker or Redis), and touches per second."""

    worker_us: float
    broker_us: float
    per_s: float

    @property
    def cpu_us(self) -> float:
        """CPU of both."""
        return self.worker_us + self.broker_us

    def __str__(self) -> str:
        return f"{self.cpu_us:,.0f} ({self.worker_us:,.0f} + {self.broker_us:,.0f}) | {self.per_s:,.0f}"


def parsed(words: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.peer", description=__doc__)
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    parser.add_argument("--touches", type=int, default=20_000, metavar="N", help="per channel (default: 20000)")
    parser.add_argument("--channel", nargs="+", choices=["email", "sms"], default=["email", "sms"], dest="channels")
    parser.add_argument("--warm", type=int, default=100_000, metavar="N", help="e-mails before (default: 100000)")
    parser.add_argument("--rounds", type=int, default=3, help="of both in turn; the ratios' median counts (default: 3)")
    return parser.parse_args(words)


@contextmanager
def stand_in(folder: Path) -> Iterator[str]:
    """Run the peer's stand-in of the three providers; yield its URL."""
    port, (waha, resend, twilio) = free_port(), KEYS
    command = [str(folder / "providersim/bin/providersim"), "-port", str(port)]
    with subprocess.Popen([*command, "-waha-key", waha, "-resend-key", resend, "-twilio", twilio]) as process:
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


def peer(folder: Path, channel: str, count: int) -> Figures:
    """Let the peer send `count` touches once. Raises AssertionError if it lost one or sent one twice."""
    words = ["node", "bench.mjs", "--channel", channel, "--n", str(count), "--runs", "1"]
    said = subprocess.run(words, cwd=folder / "peer-bullmq", check=True, capture_output=True, text=True).stdout
    told = json.loads(said.splitlines()[0])
    assert told["correct"], told
    return Figures(told["worker_cpu_s"] / count * 1e6, told["redis_cpu_s"] / count * 1e6, told["touches_per_s"])


async def ours(kafka: LocalKafka, folder: Path, channel: str, count: int, provider: str) -> Figures:
    """Send `count` touches once; each is checked."""
    cost = await measure(kafka, folder, channel, count, mode="streaming", workers=1, provider=provider)
    return Figures(cost.worker_us, cost.broker_us, cost.per_s)


async def main() -> None:
    wanted = parsed()
    print(machine(), COLUMNS, "|---|---|---|---|---|---|---|---|", sep="\n", flush=True)
    with (
        tempfile.TemporaryDirectory() as temporary,
        LocalKafka(Path(temporary) / "kafka") as kafka,
        stand_in(wanted.folder) as url,
    ):
        if wanted.warm:
            (warm := Path(temporary) / "warm").mkdir()
            await ours(kafka, warm, "email", wanted.warm, url)
        for channel in wanted.channels:
            ratios: list[tuple[float, float]] = []
            for number in range(wanted.rounds):
                folder = Path(temporary) / f"{channel}{number}"
                folder.mkdir()
                mine = await ours(kafka, folder, channel, wanted.touches, url)
                other = await asyncio.to_thread(peer, wanted.folder, channel, wanted.touches)
                ratios.append((mine.cpu_us / other.cpu_us, mine.per_s / other.per_s))
                cpu, rate = ratios[-1]
                print(f"| {channel} | {wanted.touches:,} | {mine} | {other} | {cpu:.2f} | {rate:.2f} |", flush=True)
            cpu, rate = (statistics.median(column) for column in zip(*ratios, strict=True))
            print(f"| {channel} | median of the ratios | | | | | {cpu:.2f} | {rate:.2f} |", flush=True)


if __name__ == "__main__":
    asyncio.run(main())
