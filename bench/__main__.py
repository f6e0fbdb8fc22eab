"""`make bench`: CPU time per touch (worker, broker, provider) and touches per second, on a local Kafka.

Machines are noisy: compare figures within one run, and prefer CPU time per touch over wall time.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import tempfile
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from bench.cost import KEYS, Cost, measure
from bench.idle import idle
from bench.saturated import saturated
from pipeline.lab.local.kafka import LocalKafka

if TYPE_CHECKING:
    from collections.abc import Sequence

COLUMNS = "| channel | mode | touches | touches/s | worker CPU µs/touch | broker CPU µs/touch | provider CPU µs/touch | worker peak MiB |"
LIBRARIES = ("faust-streaming", "aiokafka", "fastavro", "rocksdict")


def parsed(words: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument(
        "--touches", type=int, nargs="+", default=[20_000], metavar="N", help="per channel (default: 20000)"
    )
    parser.add_argument(
        "--channel", nargs="+", choices=["whatsapp", "email", "sms"], default=["email", "sms"], dest="channels"
    )
    parser.add_argument("--mode", nargs="+", choices=["streaming", "prefilled"], default=["streaming"], dest="modes")
    parser.add_argument("--rounds", type=int, default=1, help="how often all of it is done (default: 1)")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument(
        "--provider",
        metavar="URL",
        help="a stand-in that serves all three providers at its root, in place of the sandbox; it must take "
        + ", ".join(map(repr, KEYS)),
    )
    parser.add_argument("--idle", action="store_true", help="latency at 20 touches a second, in place of the cost")
    parser.add_argument(
        "--saturated", action="store_true", help="one Resend account at its limit for a minute, in place of the cost"
    )
    parser.add_argument("--callbacks", action="store_true", help="the sandbox calls back, and a web process takes that")
    parser.add_argument("--entries", type=int, default=0, metavar="N", help="suppressions of other people, in force")
    parser.add_argument("--orders", type=int, default=0, metavar="N", help="pauses of other campaigns, in force")
    parser.add_argument("--topics", action="store_true", help="also records and bytes per touch of each topic")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write each run to FILE, one object a line")
    return parser.parse_args(words)


def machine() -> str:
    libraries = ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
    return f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, {libraries}"


def row(cost: Cost) -> str:
    provider = "" if cost.provider_us is None else f"{cost.provider_us:,.0f}"
    return (
        f"| {cost.channel} | {cost.mode} | {cost.touches:,} | {cost.per_s:,.0f} | {cost.worker_us:,.0f} "
        f"| {cost.broker_us:,.0f} | {provider} | {cost.mib:,.0f} |"
    )


def topics(cost: Cost) -> str:
    lines = [f"  {name}: {records:.2f} records, {size:,.0f} bytes" for name, (records, size) in cost.topics.items()]
    return "\n".join([f"  of each {cost.channel} touch on the broker:", *lines])


async def main() -> None:
    wanted = parsed()
    with tempfile.TemporaryDirectory() as temporary, LocalKafka(Path(temporary) / "kafka") as kafka:
        print(f"{machine()}, {wanted.workers} worker{'s' if wanted.workers > 1 else ''}", flush=True)
        if wanted.saturated:
            print(await saturated(kafka, Path(temporary)))
            return
        runs = [(n, m, c) for n in wanted.touches for m in wanted.modes for c in wanted.channels] * wanted.rounds
        if not wanted.idle:
            print(COLUMNS, "|---|---|---|---|---|---|---|---|", sep="\n", flush=True)
        for number, (count, mode, channel) in enumerate(runs):
            folder = Path(temporary) / str(number)
            folder.mkdir()
            if wanted.idle:
                print(await idle(kafka, folder, channel), flush=True)
                continue
            cost = await measure(
                kafka,
                folder,
                channel,
                count,
                mode=mode,
                workers=wanted.workers,
                provider=wanted.provider,
                callbacks=wanted.callbacks,
                entries=wanted.entries,
                orders=wanted.orders,
            )
            if cost.web_us is not None:
                print(f"  web process: {cost.web_us:,.0f} µs of CPU per {channel} touch")
            print(row(cost), *([topics(cost)] if wanted.topics else []), sep="\n", flush=True)
            if wanted.json is not None:
                with wanted.json.open("a", encoding="utf-8") as out:
                    print(json.dumps(asdict(cost)), file=out)


if __name__ == "__main__":
    asyncio.run(main())
