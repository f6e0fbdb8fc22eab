"""What a touch costs: CPU of worker, broker and provider, records and bytes of each topic, memory; and that each was sent once."""

from __future__ import annotations

import asyncio
import os
import time
import uuid
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import httpx
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from tests.harness.called import CalledStack
from tests.harness.operators import command, order
from tests.harness.stack import Stack, touch

if TYPE_CHECKING:
    from pipeline.lab.local.kafka import LocalKafka

TICKS = os.sysconf("SC_CLK_TCK")
WARM = 200
"""Touches sent before anything is measured: imports, connections and caches are not charged to a touch."""
KEYS = ("k", "re_k", "AC0:t")
"""The credentials that the stack sends to WAHA, Resend and Twilio: a stand-in must accept them."""
Mode = Literal["streaming", "prefilled"]


def cpu_s(pid: int) -> float:
    """CPU seconds (user and system) a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def peak_mib(pid: int) -> float:
    """Largest resident memory of a process so far, MiB."""
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmHWM"))


@dataclass(frozen=True, kw_only=True)
class Cost:
    """One run. CPU in µs per touch, memory in MiB; `topics` has records and bytes per touch."""

    channel: str
    mode: Mode
    touches: int
    workers: int
    per_s: float
    worker_us: float
    broker_us: float
    provider_us: float | None
    mib: float
    topics: dict[str, tuple[float, float]] = field(default_factory=dict)
    web_us: float | None = None
    """Of the web process; None: callbacks are off."""


class Provider:
    """The sandbox of the stack, or the stand-in that `--provider` names."""

    def __init__(self, stack: Stack, url: str | None) -> None:
        self.stack, self.url = stack, url
        if url is None:
            stack.start_sandbox()
        else:
            stack.sandbox = url
            # A stand-in serves all three providers at its root.
            stack.template = stack.template.replace("{sandbox}/waha", url).replace("{sandbox}/resend", url)
            stack.template = stack.template.replace("{sandbox}/twilio", url)

    def cpu_s(self) -> float | None:
        """CPU seconds of the sandbox; None for a stand-in, whose process is not ours."""
        return None if self.stack.sandbox_pid is None else cpu_s(self.stack.sandbox_pid)

    async def counts(self) -> int | None:
        """Messages that a stand-in has accepted; None if there is none, or it does not count them."""
        if self.url is None:
            return None
        with suppress(httpx.HTTPError, KeyError, ValueError):
            async with httpx.AsyncClient() as http:
                told = (await http.get(f"{self.url}/_counts")).json()
            return sum(told[channel] for channel in ("whatsapp", "email", "sms"))
        return None


async def ends(stack: Stack) -> dict[TopicPartition, int]:
    """Return the end of every partition of the stack's topics; transaction markers count as records."""
    admin = AIOKafkaAdminClient(bootstrap_servers=stack.servers)
    consumer = AIOKafkaConsumer(bootstrap_servers=stack.servers)
    await admin.start()
    await consumer.start()
    try:
        topics = [each for each in await admin.list_topics() if each.startswith(stack.prefix)]
        described = await admin.describe_topics(topics)
        parts = [TopicPartition(each["topic"], part["partition"]) for each in described for part in each["partitions"]]
        return dict(await consumer.end_offsets(parts))
    finally:
        await consumer.stop()
        await admin.close()


def log_bytes(kafka: LocalKafka, prefix: str) -> Counter[str]:
    """Return the length of each topic's log on the broker, without indexes."""
    sizes: Counter[str] = Counter()
    for path in (Path(kafka._data) / "broker-0" / "log").glob(f"{prefix}*/*.log"):  # noqa: SLF001 - our own broker
        with suppress(FileNotFoundError):  # a segment that was deleted meanwhile
            sizes[path.parent.name.rpartition("-")[0]] += path.stat().st_size
    return sizes


async def measure(
    kafka: LocalKafka,
    folder: Path,
    channel: str,
    count: int,
    *,
    mode: Mode,
    workers: int,
    provider: str | None,
    callbacks: bool = False,
    entries: int = 0,
    orders: int = 0,
) -> Cost:
    """Send `count` touches of a channel and return what one cost. Raises AssertionError if one was lost or sent twice.

    With `callbacks` the sandbox calls back about each, and it has ended when its delivery is told, too. `entries` are
    suppressions of other people, `orders` pauses of other campaigns: all in force before anything is measured.
    """
    kind = CalledStack if callbacks else Stack
    stack = kind(kafka.bootstrap_servers, f"b{uuid.uuid4().hex[:8]}.", folder, sms="in_flight = 50")
    stand_in = Provider(stack, provider)
    accepted = await stand_in.counts()
    try:
        for number in range(workers):
            stack.start(number)
        await stack.wait_for_topics()
        await stack.wait_for_work(*range(workers))
        await _start_web(stack)
        await _say_no(stack, entries, orders)
        start_s = sum(cpu_s(each.pid) for each in stack.workers.values())
        await stack.produce([touch(channel, n) for n in range(WARM)])
        await stack.follow(stack.all_ended, deadline_s=60)
        await _told(stack, WARM)
        web_start_s = _web_s(stack)
        if mode == "streaming":
            start_s = sum(cpu_s(each.pid) for each in stack.workers.values())
        touches = [touch(channel, n) for n in range(WARM, WARM + count)]
        if mode == "prefilled":
            for number in range(workers):
                assert await stack.stop_gently(number) == 0
            await stack.produce(touches)
        ends_before, bytes_before = await ends(stack), log_bytes(kafka, stack.prefix)
        others = cpu_s(kafka.pids[0]), stand_in.cpu_s()
        began = time.monotonic()
        if mode == "prefilled":
            for number in range(workers):
                stack.start_again(number)
        else:
            await stack.produce(touches)
        assert await stack.follow(stack.all_ended, deadline_s=60 + count / 20)
        wall_s = time.monotonic() - began - 1.0  # the reader's last look
        await _told(stack, WARM + count)
        worker_s = sum(cpu_s(each.pid) for each in stack.workers.values()) - start_s
        broker_s, provider_s = cpu_s(kafka.pids[0]) - others[0], stand_in.cpu_s()
        ends_after, bytes_after = await ends(stack), log_bytes(kafka, stack.prefix)
        await _check(stack, stand_in, accepted, WARM + count)
        records: Counter[str] = Counter()
        for tp, end in ends_after.items():
            records[tp.topic] += end - ends_before.get(tp, 0)
        return Cost(
            channel=channel,
            mode=mode,
            touches=count,
            workers=workers,
            per_s=count / wall_s,
            worker_us=worker_s / count * 1e6,
            broker_us=broker_s / count * 1e6,
            provider_us=None if provider_s is None or others[1] is None else (provider_s - others[1]) / count * 1e6,
            mib=max(peak_mib(each.pid) for each in stack.workers.values()),
            topics={
                name.removeprefix(stack.prefix): (found / count, (bytes_after[name] - bytes_before[name]) / count)
                for name, found in sorted(records.items())
                if found
            },
            web_us=None if web_start_s is None else ((_web_s(stack) or 0.0) - web_start_s) / count * 1e6,
        )
    finally:
        stack.stop_all()


async def _start_web(stack: Stack) -> None:
    """Start the web process, if callbacks are on."""
    if isinstance(stack, CalledStack):
        stack.start_web()
        await stack.wait_for_web()


async def _say_no(stack: Stack, entries: int, orders: int) -> None:
    """Import `entries` suppressions and give `orders`, as an operator does; return when all are in force."""
    for number in range(orders):
        await order(stack, "pause", "--campaign", f"other{number}")
    if entries:
        file = stack.folder / "entries.csv"
        rows = (f"{blake2b(b'%d' % n, digest_size=16).hexdigest()},*,manual\n" for n in range(entries))
        file.write_text("address_hash,scope,reason\n" + "".join(rows))
        done = await command(stack, "suppressions", "import", str(file))
        assert done.code == 0, (done.said, done.error)
        print(f"  {entries:,} suppressions imported and in force after {done.took_s:.1f} s")


def _web_s(stack: Stack) -> float | None:
    """CPU seconds of the web process; None if there is none."""
    return cpu_s(stack.web.pid) if isinstance(stack, CalledStack) and stack.web is not None else None


async def _told(stack: Stack, count: int) -> None:
    """Wait until the delivery of each touch is told, if callbacks are on."""
    if not isinstance(stack, CalledStack):
        return
    async with asyncio.timeout(120):
        while len(stack.deliveries) < count:
            await asyncio.sleep(0.5)
            await stack.read_deliveries()


async def _check(stack: Stack, stand_in: Provider, before: int | None, expected: int) -> None:
    """Every touch was sent once: by the sandbox's own book, or by the statuses and the stand-in's count."""
    if stand_in.url is None:
        await asyncio.to_thread(stack.judge)
        return
    sent = [story[-1]["provider_message_id"] for story in stack.stories.values() if story[-1]["state"] == "sent"]
    assert len(set(sent)) == len(sent) == expected, f"{len(sent)} of {expected} are sent"
    after = await stand_in.counts()
    assert before is None or after is None or after - before == expected, f"{after} accepted, {expected} expected"
