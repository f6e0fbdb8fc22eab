"""`make bench-deferred`: what a million deferred touches cost, an opening at which 100,000 are due, a million that wait.

Real Kafka, real worker, the sandbox as provider. Progress on standard error, the table on standard output.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from bench.cancelled import CAMPAIGNS, cancel_one_of_ten
from bench.site import MIB, Site, now_ms, say, shown
from pipeline.lab.local.kafka import LocalKafka
from tests.harness.judge import Judgement
from tests.harness.stack import touch

if TYPE_CHECKING:
    from collections.abc import Iterator

WARM = 2_000
"""Touches sent before anything is measured: what a worker needs once is not charged to the deferred ones."""
HOURS_MS = 3_600_000
SETTLE_S = 8.0
SAMPLE, SAMPLE_PER_S = 3_000, 50
FRESH_PER_S = 20
FRESH_BEFORE_S = 20
WAITING_LIMIT = '{ rate = 1, per = "1h" }'


class Row(NamedTuple):
    """One line of the table."""

    what: str
    found: str
    wanted: str = ""


class Table(list[Row]):
    """The table; each row is shown as it is found, too."""

    def add(self, what: str, found: str, wanted: str = "") -> None:
        self.append(Row(what, found, wanted))
        say(f"  {what}: {found}")

    def show(self, took_s: float) -> None:
        print(
            f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, one worker, one broker; "
            f"{took_s:.0f} s in all"
        )
        print("| what | measured | wanted |\n|---|---|---|")
        for row in self:
            print(f"| {row.what} | {row.found} | {row.wanted} |")


class Shares(NamedTuple):
    """Percentiles of milliseconds."""

    p50: int
    p99: int
    most: int

    @classmethod
    def of(cls, figures: list[int]) -> Shares:
        ordered = sorted(figures)
        return cls(ordered[len(ordered) // 2], ordered[len(ordered) * 99 // 100], ordered[-1])

    def __str__(self) -> str:
        return f"p50 {self.p50} ms, p99 {self.p99} ms, most {self.most} ms"


async def settled(site: Site) -> int:
    """Return the worker's RSS once it has nothing to do."""
    await site.wait_until_applied()
    await asyncio.sleep(SETTLE_S)
    return site.memory()["VmRSS"]


async def warm_up(site: Site) -> int:
    """Start a worker, send some touches, and return its RSS."""
    say(f"first start: ready after {await site.ready_s():.1f} s")
    await site.pour([touch("email", n) for n in range(WARM)], judged=True)
    assert await site.follow(site.all_ended, deadline_s=120)
    return await settled(site)


async def restarts(site: Site, table: Table, what: str) -> None:
    """Restart in four ways; RSS is what the worker holds after each, with nothing to do."""
    for how, more in (
        ("SIGTERM", {"gently": True}),
        ("kill -9", {}),
        ("kill -9, data folder lost", {"loses_folder": True}),
    ):
        took_s = await site.ready_again_s(**more)
        rss = await settled(site)
        table.add(f"{what}: {how}, start to ready", f"{took_s:.1f} s (then {rss / MIB:,.0f} MiB)", "<= 60 s")
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as other:
        took_s = await site.ready_again_s(loses_folder=True)
        other.kill()
    table.add(f"{what}: the same while another process takes a core", f"{took_s:.1f} s", "<= 60 s")


async def costs(site: Site, table: Table, count: int, what: str, *, before: int, began: float) -> None:
    """Tell what `count` touches taken in since `began` cost in memory, disk and time."""
    took_s, cpu_s = time.monotonic() - began, site.cpu_s()
    after = await settled(site)
    memory, peak = f"VmRSS {before / MIB:,.0f} → {after / MIB:,.0f} MiB", f"{site.memory()['VmHWM'] / MIB:,.0f}"
    table.add(f"{what}: memory ({memory}, peak {peak})", f"{(after - before) / count:,.0f} bytes a touch", "<= 300")
    table.add(
        f"{what}: worker's disk", f"{site.tables().total() / count:,.0f} bytes a touch ({shown(site.tables(), count)})"
    )
    table.add(
        f"{what}: broker's disk", f"{site.topics().total() / count:,.0f} bytes a touch ({shown(site.topics(), count)})"
    )
    table.add(
        f"{what}: taken in",
        f"{took_s:.0f} s, {count / took_s:,.0f} touches/s, {cpu_s / count * 1e6:,.0f} µs of CPU each",
    )


# --- deferred ------------------------------------------------------------------------------------------------------


def later(count: int) -> Iterator[dict[str, Any]]:
    """Yield touches that are due six to eighteen hours from now."""
    first_ms = now_ms() + 6 * HOURS_MS
    for n in range(count):
        yield touch(
            "sms",
            n,
            campaign_id=f"c{n % CAMPAIGNS}",
            not_before=first_ms + n * 7919 % (12 * HOURS_MS),
            body=f"Hello, this is your reminder number {n}: your appointment is on Tuesday at ten. Reply C to cancel it.",
        )


async def deferred(site: Site, table: Table, count: int, parts: list[str]) -> float:
    """Defer `count` touches and measure; return how many a second were taken in."""
    before = await warm_up(site)
    say(f"producing {count:,} touches for later, with {before / MIB:,.0f} MiB")
    began = time.monotonic()
    await site.pour(later(count))
    say(f"produced in {time.monotonic() - began:.0f} s")
    await site.wait("deferred", count, lambda: site.metric("pipeline_touches_total", state="deferred"))
    await site.wait_until_applied()
    rate = count / (time.monotonic() - began)
    if "deferred" in parts:
        await costs(site, table, count, f"{count:,} deferred", before=before, began=began)
        await wake_up(site, table)
        await restarts(site, table, f"{count:,} deferred")
    if "cancel" in parts:
        if "deferred" not in parts:
            await wake_up(site, table)
        for row in await cancel_one_of_ten(site, count):
            table.add(*row)
    return rate


async def wake_up(site: Site, table: Table) -> None:
    """Let a sample come due one after the other; the error is the arrival at the provider less `not_before`."""
    await site.skip_to_now()
    first_ms = now_ms() + 15_000
    sample = [touch("sms", 9_000_000 + n, not_before=first_ms + n * 1000 // SAMPLE_PER_S) for n in range(SAMPLE)]
    known = site.accepted_count()
    await site.pour(sample, judged=True)
    assert await site.follow(lambda: site.has_sent(sample), deadline_s=300)
    at = {message["text"]: message["at_ms"] for message in site.accepted(known)}
    errors = [at[each["body"]] - each["not_before"] for each in sample]
    assert min(errors) >= 0, "sent before its time"
    table.add(f"wake-up error of {SAMPLE:,}, {SAMPLE_PER_S} a second", str(Shares.of(errors)), "p99 <= 1000 ms")


# --- an opening ----------------------------------------------------------------------------------------------------


async def opening(site: Site, table: Table, count: int, first: int, *, rate: float, kills: int) -> None:
    """Let `count` e-mails come due in one second while fresh SMS flow; with `kills` the worker is killed on the way."""
    await site.skip_to_now()
    await site.wait_until_applied()
    due_ms = now_ms() + round(1000 * (FRESH_BEFORE_S + 15 + 2 * count / rate))
    crowd = [touch("email", first + n, not_before=due_ms) for n in range(count)]
    known = site.accepted_count()
    await site.pour(crowd, judged=True)
    await site.wait_until_applied()
    assert now_ms() < due_ms - 1000 * FRESH_BEFORE_S, "the crowd was not taken in when it came due: give it more time"
    say(f"{count:,} are due in {(due_ms - now_ms()) / 1000:.0f} s")
    await asyncio.sleep((due_ms - now_ms()) / 1000 - FRESH_BEFORE_S)
    is_over = False
    fresh = asyncio.create_task(
        site.trickle(
            (touch("sms", 5_000_000 + first + n) for n in range(count)), per_s=FRESH_PER_S, until=lambda: is_over
        )
    )
    marks = [known + count * (2 * k + 1) // (2 * kills) for k in range(kills)]

    async def harm() -> None:
        if marks and site.accepted_count() >= marks[0]:
            marks.pop(0)
            site.kill(0)
            say("  killed")

    assert await site.follow(lambda: site.has_sent(crowd), deadline_s=600, meanwhile=harm if kills else None), (
        f"{site.ended()} of {len(site.produced)}"
    )
    is_over = True
    await fresh
    assert await site.follow(site.all_ended, deadline_s=60)
    report(site, table, crowd, due_ms, known=known, kills=kills)


def report(site: Site, table: Table, crowd: list[dict[str, Any]], due_ms: int, *, known: int, kills: int) -> None:
    """Hold the statuses against the sandbox's book, and tell how long it took."""
    judgement = Judgement(site)
    judgement.demand_innocence()
    say(judgement.table("all touches so far"))
    at = {message["text"]: message["at_ms"] for message in site.accepted(known)}
    over_ms = max(at[each["body"]] for each in crowd)
    fresh = [each for each in site.produced.values() if each["touch_id"].startswith("sms-") and each["body"] in at]
    calm = [at[each["body"]] - each["created_at"] for each in fresh if each["created_at"] < due_ms - 2_000]
    crowded = [at[each["body"]] - each["created_at"] for each in fresh if due_ms <= each["created_at"] < over_ms]
    lost = sum(figures["lost"] for figures in judgement.figures.values())
    twice = sum(figures["twice"] for figures in judgement.figures.values())
    title = f"opening of {len(crowd):,}" + (f", {kills} kill -9 on the way" if kills else "")
    table.add(f"{title}: all sent after", f"{(over_ms - due_ms) / 1000:.1f} s")
    table.add(f"{title}: lost, twice", f"{lost}, {twice}", "0, 0")
    table.add(f"{title}: fresh SMS, produced to arrival, before", str(Shares.of(calm)))
    table.add(f"{title}: fresh SMS, the same, meanwhile ({len(crowded)})", str(Shares.of(crowded)))


# --- waiting -------------------------------------------------------------------------------------------------------


async def waiting(site: Site, table: Table, count: int) -> None:
    before = await warm_up(site)
    say(f"producing {count:,} touches for one lane that sends one an hour, with {before / MIB:,.0f} MiB")
    began = time.monotonic()
    await site.pour(touch("sms", n, sender="number0") for n in range(count + 1))
    await site.wait("waiting", count, lambda: site.metric("pipeline_lane_backlog", channel="sms"))
    await site.wait_until_applied()
    await costs(site, table, count, f"{count:,} waiting", before=before, began=began)
    await restarts(site, table, f"{count:,} waiting")


async def measure(kafka: LocalKafka, folder: Path, table: Table, told: argparse.Namespace) -> None:
    if {"deferred", "opening", "cancel"} & set(told.parts):
        site = Site(kafka, folder / "deferred")
        site.start_sandbox()
        try:
            rate = await deferred(site, table, told.touches, told.parts)
            if "opening" in told.parts:
                await opening(site, table, told.opening, 1_000_000, rate=rate, kills=0)
                await opening(site, table, told.opening, 2_000_000, rate=rate, kills=2)
        finally:
            site.stop_all()
    if "waiting" in told.parts:
        site = Site(kafka, folder / "waiting", limit=WAITING_LIMIT)
        site.start_sandbox()
        try:
            await waiting(site, table, told.touches)
        finally:
            site.stop_all()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.deferred", description=__doc__)
    parser.add_argument("--touches", type=int, default=1_000_000, help="deferred, and waiting (default: 1000000)")
    parser.add_argument("--opening", type=int, default=None, help="due in one second (default: a tenth of --touches)")
    parser.add_argument(
        "--parts",
        nargs="+",
        choices=("deferred", "cancel", "opening", "waiting"),
        default=("deferred", "opening", "waiting"),
    )
    told = parser.parse_args()
    told.opening = told.opening or max(told.touches // 10, 1)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # whatever was started is stopped
    began, table = time.monotonic(), Table()
    try:
        with tempfile.TemporaryDirectory() as folder, LocalKafka(Path(folder) / "kafka") as kafka:
            asyncio.run(measure(kafka, Path(folder), table, told))
    finally:
        table.show(time.monotonic() - began)


if __name__ == "__main__":
    main()
