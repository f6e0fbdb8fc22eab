"""`python -m bench.callbacks`: callbacks at a fixed rate into one web process; the time of each answer, CPU, and none lost.

The requests are signed before, and sent when they are due, whether earlier ones have been answered or not: an answer's
time counts from that instant. Afterwards `touches.callbacks` is read and compared with what was answered.
"""

from __future__ import annotations

import argparse
import asyncio
import platform
import tempfile
import time
import uuid
from collections import Counter, deque
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import uvloop
from aiokafka import AIOKafkaConsumer, TopicPartition

from bench.cost import cpu_s, peak_mib
from bench.deferred import Shares
from pipeline.lab.local.kafka import LocalKafka
from pipeline.records.callbacks import decode_callback, is_sent
from pipeline.sandbox.events import events_of
from pipeline.sandbox.plans import CallbackPlan
from pipeline.sandbox.signatures import signed
from pipeline.sandbox.store import Message
from pipeline.sandbox.webhooks import webhooks_of
from tests.harness.called import SECRETS, CalledStack

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

PROVIDERS: Final = ("resend", "twilio", "waha")
GOOD: Final = (200, 204)
MOST_CONNECTIONS: Final = 512
WARM: Final = 500
"""Callbacks before anything is measured."""
PATIENCE_S: Final = 180.0


@dataclass(slots=True)
class Due:
    """One callback to be made."""

    message_id: str
    request: bytes
    due_s: float = 0.0
    took_ms: float = 0.0
    status: int = 0


def _messages(count: int, url: str, now_ms: int) -> Iterator[Message]:
    """Yield messages of the three providers in turn."""
    for number in range(count):
        provider = PROVIDERS[number % 3]
        message_id, to, sender = uuid.uuid4().hex, "p@example.com", "me@example.com"
        if provider == "twilio":
            message_id, to, sender = f"SM{message_id}", "+12125550000", "+15005550006"
        elif provider == "waha":
            message_id, to, sender = f"3EB0{message_id[:18].upper()}", "12125550000@c.us", "default"
        extra = {"account": "AC0", "status_callback": f"{url}/callbacks/twilio/default/status#rc=5&rp=all"}
        yield Message(provider, message_id, to, "text", sender, now_ms, "subject", extra=extra)


def prepared(count: int, url: str, now_ms: int) -> list[Due]:
    """Return `count` callbacks of a delivery, signed now: Resend's signatures hold for five minutes."""
    webhooks = webhooks_of(url, "", [f"{name}={secret}" for name, secret in SECRETS.items()])
    found = []
    for message in _messages(count, url, now_ms):
        event = events_of(message, CallbackPlan(), webhooks, now_ms, lambda: uuid.uuid4().hex)[-1]
        request = signed(event, webhooks.of[message.provider], None, now_ms)
        host, path = url.removeprefix("http://"), event.url.partition("#")[0].removeprefix(url)
        lines = [f"POST {path} HTTP/1.1", f"Host: {host}", f"Content-Length: {len(request.body)}"]
        lines += [f"{name}: {value}" for name, value in request.headers.items()]
        found.append(Due(message.id, "\r\n".join([*lines, "", ""]).encode() + request.body))
    return found


class CallbackConnection(asyncio.Protocol):
    """A connection that is kept: one request at a time."""

    def __init__(self, load: CallbackLoad) -> None:
        self._load = load
        self._due: Due | None = None
        self._answer = b""
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport."""
        self._transport = transport  # uvloop's is no subclass of asyncio's

    def send(self, due: Due) -> None:
        """Send a request."""
        self._due, self._answer = due, b""
        self._transport.write(due.request)

    def data_received(self, data: bytes) -> None:
        """Read on; note the answer when it is whole."""
        self._answer += data
        head, mark, body = self._answer.partition(b"\r\n\r\n")
        if not mark or self._due is None:
            return
        length = next((int(line[15:]) for line in head.split(b"\r\n") if line[:15].lower() == b"content-length:"), 0)
        if len(body) >= length:
            due, self._due = self._due, None
            self._load.answered(self, due, int(head[9:12]))

    def connection_lost(self, exc: Exception | None) -> None:
        """Note a request that got no answer."""
        del exc
        self._load.lost(self, self._due)


class CallbackLoad:
    """Makes callbacks when they are due, over as many connections as that takes."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._free: list[CallbackConnection] = []
        self._waiting: deque[Due] = deque()
        self._open = 0
        self._left = 0
        self.connections = 0

    async def run(self, callbacks: list[Due], per_s: int) -> None:
        """Make all, the n-th after n / `per_s` seconds."""
        self._left = len(callbacks)
        began = time.perf_counter()
        for number, due in enumerate(callbacks):
            due.due_s = began + number / per_s
            if (wait := due.due_s - time.perf_counter()) > 0:
                await asyncio.sleep(wait)
            await self._send(due)
        async with asyncio.timeout(PATIENCE_S):
            while self._left:
                await asyncio.sleep(0.05)

    async def _send(self, due: Due) -> None:
        if self._free:
            self._free.pop().send(due)
        elif self._open < MOST_CONNECTIONS:
            self._open += 1
            self.connections = max(self.connections, self._open)
            _, connection = await asyncio.get_running_loop().create_connection(
                lambda: CallbackConnection(self), "127.0.0.1", self._port
            )
            connection.send(due)
        else:
            self._waiting.append(due)

    def answered(self, connection: CallbackConnection, due: Due, status: int) -> None:
        """Note an answer, and use its connection again."""
        due.status, due.took_ms = status, (time.perf_counter() - due.due_s) * 1000
        self._left -= 1
        if self._waiting:
            connection.send(self._waiting.popleft())
        else:
            self._free.append(connection)

    def lost(self, connection: CallbackConnection, due: Due | None) -> None:
        """Note a connection that was closed, perhaps without an answer."""
        self._open -= 1
        self._left -= due is not None
        if connection in self._free:
            self._free.remove(connection)


async def kept(stack: CalledStack) -> Counter[str]:
    """Return how often each message id stands in `touches.callbacks`."""
    consumer = AIOKafkaConsumer(bootstrap_servers=stack.servers)
    await consumer.start()
    found: Counter[str] = Counter()
    try:
        parts = [TopicPartition(f"{stack.prefix}touches.callbacks", each) for each in range(stack.partitions)]
        ends = await consumer.end_offsets(parts)
        consumer.assign(parts)
        await consumer.seek_to_beginning(*parts)
        while any([await consumer.position(tp) < ends[tp] for tp in parts]):
            for rows in (await consumer.getmany(timeout_ms=200)).values():
                found.update(decode_callback(row.value).message_id for row in rows if not is_sent(row.value))
    finally:
        await consumer.stop()
    return found


async def measure(kafka: LocalKafka, folder: Path, *, per_s: int, seconds: int, with_worker: bool) -> str:
    """Return the figures as lines. Raises AssertionError if an answered callback is not kept."""
    stack = CalledStack(kafka.bootstrap_servers, f"c{uuid.uuid4().hex[:8]}.", folder)
    stack.start_sandbox()
    try:
        stack.start(0)
        await stack.wait_for_topics()
        stack.start_web()
        await stack.wait_for_web()
        if not with_worker:
            assert await stack.stop_gently(0) == 0
        assert stack.web is not None
        await CallbackLoad(stack.public_port).run(prepared(WARM, stack.public_url, _now_ms()), per_s // 4)
        callbacks = prepared(per_s * seconds, stack.public_url, _now_ms())
        load, before, broker = CallbackLoad(stack.public_port), cpu_s(stack.web.pid), cpu_s(kafka.pids[0])
        began = time.monotonic()
        await load.run(callbacks, per_s)
        took_s = time.monotonic() - began
        web_s, broker_s = cpu_s(stack.web.pid) - before, cpu_s(kafka.pids[0]) - broker
        found = await kept(stack)
        answers = Counter(each.status for each in callbacks)
        lost = [each for each in callbacks if each.status in GOOD and each.message_id not in found]
        assert not lost, f"{len(lost)} were answered and are not kept"
        good = [round(each.took_ms) for each in callbacks if each.status in GOOD]
        return (
            f"{len(callbacks):,} callbacks in {took_s:.0f} s over {load.connections} connections, answers"
            f" {dict(answers)}: {Shares.of(good)}\n"
            f"web process {web_s / took_s:.0%} of a core, {web_s / len(callbacks) * 1e6:,.0f} µs of CPU per callback,"
            f" {peak_mib(stack.web.pid):,.0f} MiB; broker {broker_s / took_s:.0%} of a core;"
            f" of those answered {len(lost)} lost, {sum(found.values()) - len(found)} kept twice"
        )
    finally:
        stack.stop_all()


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


async def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.callbacks", description=__doc__)
    parser.add_argument("--per-s", type=int, default=1_000, help="callbacks a second (default: 1000)")
    parser.add_argument("--seconds", type=int, default=60, help="for how long (default: 60)")
    parser.add_argument("--with-worker", action="store_true", help="a worker runs beside it and tells them")
    told = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, LocalKafka(Path(folder) / "kafka") as kafka:
        print(f"{platform.machine()}, Python {platform.python_version()}", flush=True)
        print(await measure(kafka, Path(folder), per_s=told.per_s, seconds=told.seconds, with_worker=told.with_worker))


if __name__ == "__main__":
    uvloop.run(main())
