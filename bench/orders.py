"""`python -m bench.orders`: how long after its commit an order is in force, with the product's own timeouts and two workers.

Quiet, under load, after a kill -9 of a worker that nobody starts again, and with a worker that is frozen for a minute.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import tempfile
import time
from contextlib import aclosing
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from bench.deferred import Table
from bench.site import Site, now_ms, say
from pipeline.domain.audit import Acted, Door, Who
from pipeline.domain.order import Action, Order, Target
from pipeline.kafka.audit import Auditor
from pipeline.kafka.cluster import Cluster
from pipeline.kafka.control import write_order
from pipeline.kafka.lanes import read_lanes, wait_for_lanes
from pipeline.lab.local.kafka import LocalKafka
from pipeline.records.writing import single_object
from tests.harness.stack import touch

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

QUIET = 30
FROZEN_S = 60
LONGEST_S = 300.0


class Operator:
    """Gives orders that concern every lane, one after the other."""

    def __init__(self, site: Site) -> None:
        self._cluster = Cluster({"bootstrap_servers": site.servers}, site.prefix)
        self._count = 0

    async def in_force_s(self) -> float:
        """Cancel a touch that nobody knows; return the seconds from the commit until each lane obeys."""
        self._count += 1
        lanes = list(await read_lanes(self._cluster, say))
        target = Target(touch=f"nobody-{self._count}")
        at_ms = now_ms()
        order = Order(Action.CANCEL, target, note="bench", by="bench", at_ms=at_ms, until_ms=at_ms)
        audit = Auditor(single_object, Who("bench", None, Door.CLI), at_ms).record(Acted.CANCEL, order.key)
        offset = await write_order(self._cluster, order, audit)
        began = time.monotonic()
        missing = await wait_for_lanes(
            self._cluster,
            lanes,
            lambda report: report.control_in_force > offset,
            within_s=LONGEST_S,
            progress=lambda _: None,
            complain=say,
        )
        assert not missing, missing
        return time.monotonic() - began


def told(figures: list[float]) -> str:
    """Return the figures of one kind."""
    return f"median {median(figures):.2f} s, most {max(figures):.2f} s of {len(figures)}"


async def load(site: Site) -> AsyncIterator[None]:
    """Send SMS and e-mails, twenty a second, whose calls take 0.4 s."""
    is_over = False
    site.rule(delay_ms=200, delay_after_ms=200)
    touches = (touch(channel, n) for n in range(10**6) for channel in ("sms", "email"))
    sending = asyncio.create_task(site.trickle(touches, per_s=20, until=lambda: is_over))
    try:
        yield
    finally:
        is_over = True
        await sending
        site.behave()


async def measure(kafka: LocalKafka, folder: Path, table: Table, times: int) -> None:
    site = Site(kafka, folder / "site")
    site.start_sandbox()
    try:
        say(f"ready after {await site.ready_s():.1f} s")
        site.start(1)
        await site.wait_for_work(0, 1, deadline_s=120)
        operator = Operator(site)
        await operator.in_force_s()
        table.add("in force, quiet", told([await operator.in_force_s() for _ in range(QUIET)]), "<= 1 s")
        async with aclosing(load(site)) as loaded:
            await anext(loaded)
            await asyncio.sleep(3)
            figures = [await operator.in_force_s() for _ in range(QUIET)]
            table.add("in force, calls of 0.4 s under way", told(figures), "<= 1.4 s")
            table.add(
                "in force, a worker is killed with its calls (session_timeout 10 s, lease 5 s, request_timeout 10 s)",
                told([await harmed(site, operator, number % 2, is_frozen=False) for number in range(times)]),
                "<= 45 s",
            )
            table.add(
                f"in force, a worker is frozen for {FROZEN_S} s with its calls",
                told([await harmed(site, operator, number % 2, is_frozen=True) for number in range(times)]),
                "<= 45 s",
            )
        assert await site.follow(site.all_ended, deadline_s=300)
        site.judge()
    finally:
        site.stop_all()


async def harmed(site: Site, operator: Operator, number: int, *, is_frozen: bool) -> float:
    """Harm worker `number`, order something at that moment, and let the worker come back once the order is in force."""
    began = time.monotonic()
    site.send(number, signal.SIGSTOP if is_frozen else signal.SIGKILL)
    took_s = await operator.in_force_s()
    say(f"  {'frozen' if is_frozen else 'killed'}: in force after {took_s:.1f} s")
    if is_frozen:
        await asyncio.sleep(max(0.0, FROZEN_S - (time.monotonic() - began)))
        site.send(number, signal.SIGCONT)
        await asyncio.sleep(5)
    site.restart_the_dead()
    await site.wait_for_work(0, 1, deadline_s=180)
    await asyncio.sleep(5)
    return took_s


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.orders", description=__doc__)
    parser.add_argument("--times", type=int, default=4, help="kills, and freezes (default: 4)")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # whatever was started is stopped
    began, table = time.monotonic(), Table()
    try:
        with tempfile.TemporaryDirectory() as folder, LocalKafka(Path(folder) / "kafka") as kafka:
            asyncio.run(measure(kafka, Path(folder), table, given.times))
    finally:
        table.show(time.monotonic() - began)


if __name__ == "__main__":
    main()
