"""A place to measure in: the chaos tests' stack with the default partitions, several senders, and one worker that is looked at."""

from __future__ import annotations

import asyncio
import re
import shutil
import sys
import time
import uuid
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import orjson
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.partitioner import murmur2

from bench.cost import cpu_s
from tests.harness.stack import Stack

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pipeline.lab.local.kafka import LocalKafka

SMS_LANES, EMAIL_LANES = 4, 2
MIB = 1024 * 1024
RECORDS = 1_000
"""Per batch that is produced."""

CONFIG = (
    """
data_dir = "{data}"
[kafka]
bootstrap_servers = {servers}
topic_prefix = "{prefix}"
[channels.email]
window = "always"
limit = "none"
[channels.sms]
window = "always"
limit = {limit}
"""
    + "".join(
        f"""
[[channels.email.senders]]
name = "mail{lane}"
lane = {lane}
base_url = "{{sandbox}}/resend"
api_key = "re_{lane}"
from = "Me <me{lane}@example.com>"
"""
        for lane in range(EMAIL_LANES)
    )
    + "".join(
        f"""
[[channels.sms.senders]]
name = "number{lane}"
lane = {lane}
base_url = "{{sandbox}}/twilio"
account_sid = "AC{lane}"
auth_token = "t"
from = "+1500555000{lane}"
"""
        for lane in range(SMS_LANES)
    )
)


def say(text: str) -> None:
    """Show progress on standard error."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


class Site(Stack):
    """One sandbox and one worker (number 0) with its web port."""

    template = CONFIG
    partitions = 8

    def __init__(self, kafka: LocalKafka, folder: Path, *, limit: str = '"none"') -> None:
        folder.mkdir()
        super().__init__(kafka.bootstrap_servers, f"b{uuid.uuid4().hex[:8]}.", folder, limit=limit)
        self.kafka = kafka

    # --- the worker --------------------------------------------------------------------------------------------

    async def ready_s(self) -> float:
        """Start the worker and return the seconds from its start until /ready answers 200."""
        began = time.monotonic()
        self.start(0)
        async with asyncio.timeout(600), httpx.AsyncClient() as client:
            while True:
                assert self.workers[0].poll() is None, self._log(0).read_text()[-2_000:]
                with suppress(httpx.HTTPError):
                    if (await client.get(f"http://127.0.0.1:{self.ports[0]}/ready", timeout=5)).status_code == 200:
                        return time.monotonic() - began
                await asyncio.sleep(0.02)

    async def ready_again_s(self, *, gently: bool = False, loses_folder: bool = False) -> float:
        """Stop the worker (SIGTERM or -9) and return the seconds from the start of the next until it is ready."""
        if gently:
            assert await self.stop_gently(0) == 0
        else:
            self.workers[0].kill()
            self.workers.pop(0).wait()
        if loses_folder:
            shutil.rmtree(self.folder / "data-0")
        return await self.ready_s()

    async def metric(self, name: str, **labels: str) -> float:
        """Return the sum of a metric's series with these labels."""
        async with httpx.AsyncClient() as client:
            page = (await client.get(f"http://127.0.0.1:{self.ports[0]}/metrics", timeout=60)).text
        rows = re.findall(rf"^{name}\{{(.*)\}} (\S+)$", page, re.MULTILINE)
        return sum(float(value) for told, value in rows if all(f'{k}="{v}"' in told for k, v in labels.items()))

    async def wait(self, what: str, count: int, found: Callable[[], Any], deadline_s: float = 1_800) -> None:
        """Return when `found` (awaited) says `count`; show how far it is every ten seconds."""
        told = time.monotonic()
        async with asyncio.timeout(deadline_s):
            while (now := await found()) < count:
                assert self.workers[0].poll() is None, self._log(0).read_text()[-2_000:]
                if time.monotonic() - told > 10:
                    told = time.monotonic()
                    say(f"  {what}: {now:,.0f} of {count:,}, {self.memory()['VmRSS'] / MIB:,.0f} MiB")
                await asyncio.sleep(0.2)

    async def wait_until_applied(self) -> None:
        """Return when the worker has applied everything in the topics it reads."""
        async with asyncio.timeout(1_800):
            while await self._lag():
                await asyncio.sleep(0.5)

    async def _lag(self) -> int:
        admin = AIOKafkaAdminClient(bootstrap_servers=self.servers)
        consumer = AIOKafkaConsumer(bootstrap_servers=self.servers, isolation_level="read_committed")
        await admin.start()
        await consumer.start()
        try:
            applied = await admin.list_consumer_group_offsets(f"{self.prefix}pipeline")
            if not applied:
                return 1
            ends = await consumer.end_offsets(list(applied))
            return sum(max(ends[tp] - kept.offset, 0) for tp, kept in applied.items())
        finally:
            await consumer.stop()
            await admin.close()

    # --- what it costs -----------------------------------------------------------------------------------------

    def memory(self) -> Counter[str]:
        """Return the worker's VmRSS, RssAnon, VmHWM … in bytes, as /proc/PID/status has them."""
        told = Path(f"/proc/{self.workers[0].pid}/status").read_text()
        return Counter({name: int(kib) * 1024 for name, kib in re.findall(r"^(\w+):\s+(\d+) kB$", told, re.MULTILINE)})

    def cpu_s(self) -> float:
        """CPU seconds (user and system) the worker has used."""
        return cpu_s(self.workers[0].pid)

    def tables(self) -> Counter[str]:
        """Return the bytes of the worker's tables on disk, by table."""
        return _sizes(self.folder / "data-0" / "tables", lambda name: name.rpartition("-")[0])

    def topics(self) -> Counter[str]:
        """Return the bytes of this site's topics on the broker's disk, by topic."""
        logs = Path(self.kafka._data) / "broker-0" / "log"  # noqa: SLF001 - the bench looks at its own broker
        mine = _sizes(logs, lambda name: name.rpartition("-")[0])
        return Counter(
            {name.removeprefix(self.prefix): size for name, size in mine.items() if name.startswith(self.prefix)}
        )

    # --- touches -----------------------------------------------------------------------------------------------

    async def pour(self, touches: Iterable[dict[str, Any]], *, judged: bool = False) -> None:
        """Produce as fast as it goes; only what is `judged` is remembered here."""
        producer = AIOKafkaProducer(
            bootstrap_servers=self.servers, enable_idempotence=True, max_batch_size=4 * MIB, max_request_size=4 * MIB
        )
        await producer.start()
        try:
            waiting: list[list[tuple[bytes, bytes]]] = [[] for _ in range(self.partitions)]
            for each in touches:
                if judged:
                    self.produced[each["touch_id"]] = each
                key = each["touch_id"].encode()
                number = (murmur2(key) & 0x7FFFFFFF) % self.partitions
                waiting[number].append((key, orjson.dumps(each)))
                if len(waiting[number]) >= RECORDS:
                    await self._send(producer, number, waiting[number])
            for number, rows in enumerate(waiting):
                await self._send(producer, number, rows)
            await producer.flush()
        finally:
            await producer.stop()

    async def trickle(self, touches: Iterable[dict[str, Any]], *, per_s: float, until: Callable[[], bool]) -> None:
        """Produce `touches` one by one, evenly, until `until` holds; each with the instant of its start as `created_at`."""
        producer = AIOKafkaProducer(bootstrap_servers=self.servers, enable_idempotence=True)
        await producer.start()
        began = time.monotonic()
        try:
            for count, each in enumerate(touches):
                await asyncio.sleep(began + count / per_s - time.monotonic())
                if until():
                    return
                each["created_at"] = now_ms()
                self.produced[each["touch_id"]] = each
                await producer.send_and_wait(
                    f"{self.prefix}touches", key=each["touch_id"].encode(), value=orjson.dumps(each)
                )
        finally:
            await producer.stop()

    async def _send(self, producer: AIOKafkaProducer, number: int, rows: list[tuple[bytes, bytes]]) -> None:
        batch = producer.create_batch()
        for key, value in rows:
            assert batch.append(key=key, value=value, timestamp=None) is not None
        rows.clear()
        await producer.send_batch(batch, f"{self.prefix}touches", partition=number)

    def has_sent(self, touches: list[dict[str, Any]]) -> bool:
        """Whether every one of `touches` has the status `sent`."""
        return all((story := self.stories.get(each["touch_id"])) and story[-1]["state"] == "sent" for each in touches)

    async def skip_to_now(self) -> None:
        """Follow only the statuses that come from now on."""
        consumer = AIOKafkaConsumer(bootstrap_servers=self.servers, isolation_level="read_committed")
        await consumer.start()
        self._position = await consumer.end_offsets(
            [TopicPartition(f"{self.prefix}touches.status", p) for p in range(self.partitions)]
        )
        await consumer.stop()


def now_ms() -> int:
    """Return the clock, epoch milliseconds."""
    return time.time_ns() // 1_000_000


def _sizes(folder: Path, group: Callable[[str], str]) -> Counter[str]:
    """Return the bytes used below `folder` (blocks on disk, not lengths), by `group` of its entries' names."""
    sizes: Counter[str] = Counter()
    for path in folder.glob("*/*"):
        with suppress(FileNotFoundError):  # a compaction came first
            sizes[group(path.parent.name)] += path.stat().st_blocks * 512
    return sizes


def shown(sizes: Counter[str], count: int) -> str:
    """Return the largest of `sizes`, per touch."""
    return ", ".join(f"{name} {size / count:,.0f}" for name, size in sizes.most_common(5))
