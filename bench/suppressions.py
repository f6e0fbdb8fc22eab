"""`python -m bench.suppressions`: what a million entries cost in memory, on disk, at the start and per touch; and no entry at all.

Up to three workers, each with a Kafka prefix of its own: without entries, with them, and (`--before TREE`) the tree of an
earlier commit. They get the same touches in turn, several times; a figure is the median of the rounds' ratios, because a
shared machine is slower from one minute to the next.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import tempfile
import time
from hashlib import blake2b
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import orjson
from aiokafka import AIOKafkaProducer

from bench.deferred import Table, settled
from bench.site import MIB, RECORDS, Site, say, shown
from pipeline import flow
from pipeline.lab.local.kafka import LocalKafka
from tests.harness.stack import touch

if TYPE_CHECKING:
    from collections.abc import Iterator

CHANNELS = ("sms", "email")
WARM = 2_000
NONE, FULL, BEFORE = "no entry", "entries", "before"


def entries(count: int) -> Iterator[tuple[bytes, bytes]]:
    """Yield keys and values of entries for addresses that no touch has."""
    for n in range(count):
        hashed = blake2b(b"%d" % n, digest_size=16).hexdigest()
        entry = {"scope": "phone", "address_hash": hashed, "reason": "opt_out", "by": "bench", "at": 1_700_000_000_000}
        yield f"phone:{hashed}:opt_out".encode(), orjson.dumps(entry)


async def fill(site: Site, count: int) -> None:
    """Produce `count` entries as a product does."""
    producer = AIOKafkaProducer(bootstrap_servers=site.servers, enable_idempotence=True, max_batch_size=4 * MIB)
    await producer.start()
    topic, batch, held = f"{site.prefix}{flow.SUPPRESSIONS}", producer.create_batch(), 0
    try:
        for key, value in entries(count):
            assert batch.append(key=key, value=value, timestamp=None) is not None
            held += 1
            if held == RECORDS:
                await producer.send_batch(batch, topic, partition=0)
                batch, held = producer.create_batch(), 0
        if held:
            await producer.send_batch(batch, topic, partition=0)
        await producer.flush()
    finally:
        await producer.stop()


async def cost_us(site: Site, channel: str, first: int, count: int) -> float:
    """Send `count` touches and return the worker's CPU µs for each."""
    await site.wait_until_applied()
    cpu_s = site.cpu_s()
    await site.pour([touch(channel, first + n) for n in range(count)], judged=True)
    assert await site.follow(site.all_ended, deadline_s=600), f"{site.ended()} of {len(site.produced)}"
    await site.wait_until_applied()
    return (site.cpu_s() - cpu_s) / count * 1e6


async def load(site: Site, table: Table, count: int) -> None:
    """Fill the list of a running worker, and restart it: what its memory, disk and starts cost."""

    empty_s = await site.ready_again_s(gently=True)
    before = await settled(site)
    cpu_s, began = site.cpu_s(), time.monotonic()
    await fill(site, count)
    say(f"produced in {time.monotonic() - began:.0f} s")
    await site.wait("entries", count, lambda: site.metric("pipeline_suppressions"))
    table.add(
        f"{count:,} entries: taken in by a running worker",
        f"{(site.cpu_s() - cpu_s) / count * 1e6:.1f} µs of CPU each, {time.monotonic() - began:.0f} s",
    )
    after = await settled(site)
    table.add(
        f"{count:,} entries: memory right after (VmRSS {before / MIB:,.0f} → {after / MIB:,.0f} MiB)",
        f"{(after - before) / count:,.0f} bytes an entry",
    )
    again_s = await site.ready_again_s(gently=True)
    kept = await settled(site)
    table.add(
        f"{count:,} entries: memory after a restart (VmRSS {before / MIB:,.0f} → {kept / MIB:,.0f} MiB)",
        f"{(kept - before) / count:,.0f} bytes an entry",
    )
    table.add(f"{count:,} entries: start to ready, folder kept", f"{again_s:.1f} s (without entries {empty_s:.1f} s)")
    lost_s = await site.ready_again_s(gently=True, loses_folder=True)
    table.add(
        f"{count:,} entries: start to ready, folder lost",
        f"{lost_s:.1f} s, {site.cpu_s() / count * 1e6:.1f} µs of CPU an entry",
    )
    table.add(f"{count:,} entries: disk", shown(site.tables(), count))


async def compare(sites: dict[str, Site], table: Table, rounds: int, count: int) -> None:
    """Send the same touches through each worker in turn, and compare."""
    found: dict[tuple[str, str], list[float]] = {}
    for number in range(rounds):
        names = list(sites) if number % 2 else list(reversed(sites))
        for channel in CHANNELS:
            for name in names:
                us = await cost_us(sites[name], channel, WARM + number * count, count)
                found.setdefault((name, channel), []).append(us)
                say(f"  round {number}, {channel}, {name}: {us:,.0f} µs")
    for channel in CHANNELS:
        for name, other, wanted in ((FULL, NONE, "<= +5 %"), (NONE, BEFORE, "<= +2 %")):
            if (name, channel) in found and (other, channel) in found:
                ours, theirs = found[name, channel], found[other, channel]
                ratios = sorted(each / beside for each, beside in zip(ours, theirs, strict=True))
                table.add(
                    f"CPU of the worker per touch, {channel}: {name} against {other} "
                    f"({median(ours):,.0f} and {median(theirs):,.0f} µs, medians of {rounds})",
                    f"{100 * median(ratios) - 100:+.1f} % (rounds {100 * ratios[0] - 100:+.0f} to {100 * ratios[-1] - 100:+.0f})",
                    wanted,
                )


async def measure(kafka: LocalKafka, folder: Path, table: Table, told: argparse.Namespace) -> None:
    sites = {name: Site(kafka, folder / name.replace(" ", "-")) for name in (NONE, FULL)}
    if told.before:
        sites[BEFORE] = Site(kafka, folder / BEFORE)
    try:
        for name, site in sites.items():
            site.start_sandbox()
            if name == BEFORE:
                site.start(0, tree=told.before)
                await site.wait_for_work(0, deadline_s=120)
            else:
                await site.ready_s()
            await site.pour([touch(channel, n) for channel in CHANNELS for n in range(WARM)], judged=True)
            assert await site.follow(site.all_ended, deadline_s=300)
            say(f"{name}: warm")
        if told.entries:
            await load(sites[FULL], table, told.entries)
        await compare(sites, table, told.rounds, told.touches)
    finally:
        for site in sites.values():
            site.stop_all()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.suppressions", description=__doc__)
    parser.add_argument("--entries", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--touches", type=int, default=2_000, help="of each channel in each round (default: 2000)")
    parser.add_argument("--before", type=Path, help="the tree of an earlier commit, to compare with")
    told = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # whatever was started is stopped
    began, table = time.monotonic(), Table()
    try:
        with tempfile.TemporaryDirectory() as folder, LocalKafka(Path(folder) / "kafka") as kafka:
            asyncio.run(measure(kafka, Path(folder), table, told))
    finally:
        table.show(time.monotonic() - began)


if __name__ == "__main__":
    main()
