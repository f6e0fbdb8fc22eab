"""The whole product as processes: sandbox, workers, and the judge who reads statuses and the sandbox's book."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.partitioner import murmur2

from pipeline.records.codec import decode

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

ROOT = Path(__file__).parents[2]
TERMINAL = {"sent", "failed", "expired", "unconfirmed"}
CHANNELS = ("whatsapp", "email", "sms")
PROVIDER = {"whatsapp": "waha", "email": "resend", "sms": "twilio"}
PARTITIONS = 4

CONFIG = """
data_dir = "{data}"
[kafka]
bootstrap_servers = {servers}
topic_prefix = "{prefix}"
partitions = 4
lanes = 4
replication_factor = {replication}
session_timeout = "6s"
[channels.whatsapp]
window = "always"
limit = {limit}
warm_up = "none"
in_flight = 10
retry = {{ first = "200ms", most = "2s" }}
resolve_after = "1s"
request_timeout = "{timeout}"
lease = "{lease}"
{whatsapp}
[[channels.whatsapp.senders]]
lane = 0
base_url = "{sandbox}/waha"
api_key = "k"
engine = "{engine}"
[channels.email]
limit = {limit}
retry = {{ first = "200ms", most = "2s" }}
request_timeout = "{timeout}"
lease = "{lease}"
{email}
[[channels.email.senders]]
lane = 1
base_url = "{sandbox}/resend"
api_key = "re_k"
from = "Me <me@example.com>"
[channels.sms]
window = "always"
limit = {limit}
retry = {{ first = "200ms", most = "2s" }}
resolve_after = "1s"
request_timeout = "{timeout}"
lease = "{lease}"
{sms}
[[channels.sms.senders]]
lane = 2
base_url = "{sandbox}/twilio"
account_sid = "AC0"
auth_token = "t"
from = "+15005550006"
"""


def touch(channel: str, number: int, **more: Any) -> dict[str, Any]:
    """Return the `number`-th touch of a channel; its text is its own, so that a second message shows."""
    touch_id = f"{channel}-{number}"
    to = f"p{number}@example.com" if channel == "email" else f"+1212{5_550_000 + number % 10_000:07d}"
    said = {"subject": f"Subject {touch_id}"} if channel == "email" else {}
    return {"touch_id": touch_id, "campaign_id": f"c{number % 3}", "lead_id": f"l{number}", "channel": channel,
            "to": to, "body": f"Hello, this is {touch_id}.", **said, **more}


class Stack:
    """One sandbox, some workers, one prefix in a Kafka."""

    def __init__(self, servers: list[str], prefix: str, folder: Path, *, replication: int = 1, **config: str) -> None:
        self.servers, self.prefix, self.folder, self.replication = servers, prefix, folder, replication
        self.config = {"engine": "NOWEB", "whatsapp": "", "email": "", "sms": "", "timeout": "3s", "lease": "2s", "limit": '"none"', **config}
        self.workers: dict[int, subprocess.Popen[bytes]] = {}
        self.exits: list[tuple[int, int]] = []
        self.kills = 0
        self.produced: dict[str, dict[str, Any]] = {}
        self.stories: dict[str, list[dict[str, Any]]] = defaultdict(list)
        self._position: dict[TopicPartition, int] = {}
        self._sandbox: subprocess.Popen[bytes] | None = None
        self.sandbox = ""

    # --- processes ---------------------------------------------------------------------------------------------

    def start_sandbox(self) -> None:
        log = self.folder / "sandbox.log"
        with log.open("ab") as out:
            self._sandbox = subprocess.Popen([sys.executable, "-m", "pipeline.sandbox", "--port", "0"], cwd=ROOT, stdout=out, stderr=out)
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            if (found := re.search(r"listening on (\S+)", log.read_text())) is not None:
                self.sandbox = found[1]
                return
            time.sleep(0.05)
        raise AssertionError(f"no sandbox: {log.read_text()}")

    def start(self, number: int, *, program: str = "faust", **environment: str) -> None:
        path = self.folder / f"worker-{number}.toml"
        path.write_text(CONFIG.format(data=f"data-{number}", servers=json.dumps(self.servers), prefix=self.prefix,
                                      sandbox=self.sandbox, replication=self.replication, **self.config))
        with (self.folder / f"worker-{number}.log").open("ab") as log:
            self.workers[number] = subprocess.Popen(
                [sys.executable, "-m", program, "-A", "pipeline", "worker", "-l", "info", "--without-web"],
                env={**os.environ, "PIPELINE_CONFIG": str(path), **environment}, cwd=ROOT, stdout=log, stderr=log)

    def kill(self, number: int) -> None:
        self.workers[number].kill()
        self.workers[number].wait()
        self.kills += 1
        self.start(number)

    def send(self, number: int, what: signal.Signals) -> None:
        self.workers[number].send_signal(what)

    def restart_the_dead(self) -> None:
        for number, process in list(self.workers.items()):
            if process.poll() is not None:
                self.exits.append((number, process.returncode))
                self.start(number)

    def stop(self, number: int, timeout_s: float = 20.0) -> int:
        process = self.workers.pop(number)
        process.send_signal(signal.SIGCONT)
        process.terminate()
        return process.wait(timeout_s)

    def stop_all(self) -> None:
        for process in [*self.workers.values(), *([self._sandbox] if self._sandbox else [])]:
            process.kill()
            process.wait()
        self.workers.clear()

    # --- the sandbox -------------------------------------------------------------------------------------------

    def rule(self, **rule: Any) -> None:
        httpx.post(f"{self.sandbox}/control/rules", json=rule).raise_for_status()

    def behave(self) -> None:
        httpx.delete(f"{self.sandbox}/control/rules").raise_for_status()

    def accepted(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = httpx.get(f"{self.sandbox}/control/accepted", timeout=30).json()
        return found

    def arrivals(self, provider: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = httpx.get(f"{self.sandbox}/control/arrivals?provider={provider}", timeout=30).json()
        return found

    # --- touches and statuses ----------------------------------------------------------------------------------

    async def produce(self, touches: list[dict[str, Any]], *, per_s: float | None = None) -> None:
        producer = AIOKafkaProducer(bootstrap_servers=self.servers, enable_idempotence=True, max_request_size=2_000_000)
        await producer.start()
        began = time.monotonic()
        try:
            for at, each in enumerate(touches):
                key = each["touch_id"].encode()
                self.produced[each["touch_id"]] = each
                await producer.send(f"{self.prefix}touches", key=key, value=json.dumps(each).encode(),
                                    partition=(murmur2(key) & 0x7FFFFFFF) % PARTITIONS)
                if per_s and at % 20 == 0:
                    await asyncio.sleep(max(0.0, at / per_s - (time.monotonic() - began)))
            await producer.flush()
        finally:
            await producer.stop()

    async def wait_for_topics(self, deadline_s: float = 40.0) -> None:
        deadline = time.monotonic() + deadline_s
        while time.monotonic() < deadline:
            self.restart_the_dead()
            consumer = AIOKafkaConsumer(bootstrap_servers=self.servers)
            try:
                await consumer.start()
                if f"{self.prefix}touches.dead-letters" in await consumer.topics():
                    return
            except Exception:  # noqa: BLE001
                pass
            finally:
                await consumer.stop()
            await asyncio.sleep(0.2)
        raise AssertionError("the workers made no topics")

    async def follow(self, until: Callable[[], bool], *, deadline_s: float, meanwhile: Callable[[], Awaitable[None]] | None = None) -> bool:
        """Read statuses until `until` holds; False when the deadline came first."""
        consumer = AIOKafkaConsumer(bootstrap_servers=self.servers, isolation_level="read_committed",
                                    auto_offset_reset="earliest", fetch_max_wait_ms=100)
        await consumer.start()
        partitions = [TopicPartition(f"{self.prefix}touches.status", p) for p in range(PARTITIONS)]
        consumer.assign(partitions)
        for tp, offset in self._position.items():
            consumer.seek(tp, offset)
        deadline = time.monotonic() + deadline_s
        try:
            while not until() and time.monotonic() < deadline:
                await self._read(consumer, 200)
                if meanwhile is not None:
                    await meanwhile()
            await self._read(consumer, 1_000)
            self._position = {tp: await consumer.position(tp) for tp in partitions}
        finally:
            await consumer.stop()
        return until()

    async def _read(self, consumer: AIOKafkaConsumer, timeout_ms: int) -> None:
        for rows in (await consumer.getmany(timeout_ms=timeout_ms)).values():
            for row in rows:
                status = decode("status", row.value)
                self.stories[status["touch_id"]].append(status)

    def ended(self) -> int:
        return sum(1 for story in self.stories.values() if story[-1]["state"] in TERMINAL)

    def all_ended(self) -> bool:
        return self.ended() >= len(self.produced)

    # --- the judge ---------------------------------------------------------------------------------------------

    def judge(self) -> dict[str, dict[str, int]]:
        """Return the figures per channel; raise AssertionError with the whole story of a touch that went wrong."""
        for touch_id in self.produced:
            self._judge_story(touch_id)
        by_text: Counter[tuple[str, str]] = Counter()
        ids: dict[tuple[str, str], list[str]] = defaultdict(list)
        for message in self.accepted():
            by_text[message["provider"], message["text"]] += 1
            ids[message["provider"], message["text"]].append(message["id"])
        figures: dict[str, dict[str, int]] = {channel: Counter() for channel in CHANNELS}
        for touch_id, each in self.produced.items():
            self._judge_messages(touch_id, each, ids[PROVIDER[each["channel"]], each["body"]])
            end = self.stories[touch_id][-1]
            figures[each["channel"]][end["state"]] += 1
            figures[each["channel"]]["touches"] += 1
            figures[each["channel"]]["looked up"] += any(s["reason"] == "looking_up" for s in self.stories[touch_id])
        strangers = set(by_text) - {(PROVIDER[t["channel"]], t["body"]) for t in self.produced.values()}
        assert not strangers, f"messages nobody asked for: {list(strangers)[:3]}"
        return figures

    def _judge_story(self, touch_id: str) -> None:
        story = self.stories.get(touch_id, [])
        states = [status["state"] for status in story]
        assert [s["sequence"] for s in story] == list(range(1, len(story) + 1)), self._tell(touch_id, "gap or repeat")
        assert sum(state in TERMINAL for state in states) == 1, self._tell(touch_id, "not one terminal")
        assert states[-1] in TERMINAL, self._tell(touch_id, "something follows the terminal")
        assert "accepted" not in states[1:], self._tell(touch_id, "accepted twice")

    def _judge_messages(self, touch_id: str, each: dict[str, Any], ids: list[str]) -> None:
        end = self.stories[touch_id][-1]
        assert len(ids) <= 1, self._tell(touch_id, f"accepted {len(ids)} times")
        if end["state"] == "sent":
            assert ids, self._tell(touch_id, "told to be sent, but never accepted")
            assert end["provider_message_id"] in (None, *ids), self._tell(touch_id, f"another id than {ids}")
        elif end["state"] != "unconfirmed":
            assert not ids, self._tell(touch_id, "accepted, but not told to be sent")

    def _tell(self, touch_id: str, what: str) -> str:
        lines = [f"{s['sequence']} {s['state']}/{s['reason']} attempt={s['attempt']} {s['occurred_at']} {s['error']}" for s in self.stories.get(touch_id, [])]
        return f"{touch_id}: {what}\n" + "\n".join(lines)


def table(title: str, figures: dict[str, dict[str, int]], stack: Stack) -> str:
    """Return the figures as people read them."""
    lines = [f"\n{title}: kills {stack.kills}, workers that ended by themselves {len(stack.exits)}"]
    for channel, f in figures.items():
        lines.append(f"  {channel:9} touches {f['touches']:6}  sent {f['sent']:6}  looked up {f['looked up']:5}  "
                     f"unconfirmed {f['unconfirmed']:3}  failed {f['failed']:3}  lost 0  twice 0")
    return "\n".join(lines)
