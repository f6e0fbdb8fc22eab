"""`make bench`: CPU time per touch (worker, broker) and touches per second, e-mail and SMS, on a local Kafka and sandbox.

Machines are noisy: compare figures within one run, and prefer CPU time per touch over wall time.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import tempfile
import time
import uuid
from pathlib import Path

from pipeline.lab.local.kafka import LocalKafka
from tests.harness.stack import Stack, touch

TICKS = os.sysconf("SC_CLK_TCK")


def cpu_s(pid: int) -> float:
    """CPU seconds (user and system) a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def peak_mib(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmHWM"))


async def measure(channel: str, count: int, kafka: LocalKafka, folder: Path) -> str:
    stack = Stack(kafka.bootstrap_servers, f"b{uuid.uuid4().hex[:8]}.", folder, sms="in_flight = 50")
    stack.start_sandbox()
    try:
        stack.start(0)
        await stack.wait_for_topics()
        await stack.produce([touch(channel, n) for n in range(200)])
        await stack.follow(stack.all_ended, deadline_s=60)
        worker, broker = stack.workers[0].pid, kafka.pids[0]
        before = (cpu_s(worker), cpu_s(broker), time.monotonic())
        await stack.produce([touch(channel, n) for n in range(200, 200 + count)])
        assert await stack.follow(stack.all_ended, deadline_s=600)
        wall = time.monotonic() - before[2] - 1.0  # the reader's last look
        used = (cpu_s(worker) - before[0], cpu_s(broker) - before[1])
        stack.judge()
        return (
            f"| {channel} | {count:,} | {count / wall:,.0f} | {used[0] / count * 1e6:,.0f} | {used[1] / count * 1e6:,.0f} "
            f"| {peak_mib(worker):,.0f} |"
        )
    finally:
        stack.stop_all()


async def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--touches", type=int, default=20_000, help="per channel (default: 20000)")
    count = parser.parse_args().touches
    with tempfile.TemporaryDirectory() as folder, LocalKafka(Path(folder) / "kafka") as kafka:
        print(
            f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, one worker"
        )
        print("| channel | touches | touches/s | worker CPU µs/touch | broker CPU µs/touch | worker peak MiB |")
        print("|---|---|---|---|---|---|")
        for channel in ("email", "sms"):
            place = Path(folder) / channel
            place.mkdir()
            print(await measure(channel, count, kafka, place), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
