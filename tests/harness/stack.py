"""The whole product as processes: sandbox, workers, who produces touches and who follows their statuses."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import time
import zlib
from collections import Counter, defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment
from aiokafka.errors import KafkaError
from aiokafka.partitioner import murmur2

from pipeline.lab.local.ports import free_port
from pipeline.records.single_object import decode
from tests.harness.judge import TERMINAL, Judgement

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

ROOT = Path(__file__).parents[2]
PARTITIONS = 4
LANE = {"whatsapp": 0, "email": 1, "sms": 2}

CONFIG = """
data_dir = "{data}"
[kafka]
bootstrap_servers = {servers}
topic_prefix = "{prefix}"
partitions = 4
lanes = 4
replication_factor = {replication}
session_timeout = "6s"
{kafka}
[channels.whatsapp]
window = {window}
limit = {whatsapp_limit}
warm_up = {warm_up}
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
{whatsapp_sender}
[channels.email]
limit = {email_limit}
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
window = {window}
limit = {sms_limit}
retry = {{ first = "200ms", most = "2s" }}
resolve_after = "{sms_resolve_after}"
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


PERSONAL = re.compile(
    rb"\+1212555\d{4}|\b1212555\d{4}@|\bp\d+@example\.com|Hello, this is |Subject (?:whatsapp|email|sms)-"
)
"""The addresses and texts of `touch`, and WhatsApp's form of them."""


def touch(channel: str, number: int, **more: Any) -> dict[str, Any]:
    """Return the `number`-th touch of a channel; its text is its own, so that a second message shows."""
    touch_id = f"{channel}-{number}"
    to = f"p{number}@example.com" if channel == "email" else f"+1212{5_550_000 + number % 10_000:07d}"
    said = {"subject": f"Subject {touch_id}"} if channel == "email" else {}
    return {
        "touch_id": touch_id,
        "campaign_id": f"c{number % 3}",
        "lead_id": f"l{number}",
        "channel": channel,
        "to": to,
        "body": f"Hello, this is {touch_id}.",
        **said,
        **more,
    }


class Stack:
    """One sandbox, some workers, one prefix in a Kafka."""

    template = CONFIG
    partitions = PARTITIONS
    level = "info"
    sandbox_options: tuple[str, ...] = ()

    def __init__(self, servers: list[str], prefix: str, folder: Path, *, replication: int = 1, **config: str) -> None:
        self.servers, self.prefix, self.folder, self.replication = servers, prefix, folder, replication
        self.config = {
            "engine": "NOWEB",
            "whatsapp": "",
            "email": "",
            "sms": "",
            "timeout": "3s",
            "lease": "2s",
            "limit": '"none"',
            "window": '"always"',
            "sms_resolve_after": "1s",
            "warm_up": '"none"',
            "whatsapp_sender": "",
            "kafka": "",
            **config,
        }
        self.worker_servers = servers
        """Where the workers meet Kafka: on a secured one not where its administrator does."""
        self.workers: dict[int, subprocess.Popen[bytes]] = {}
        self._started: list[subprocess.Popen[bytes]] = []
        self.exits: list[tuple[int, int]] = []
        self.kills = 0
        self.kills_of: Counter[str] = Counter()
        """Kills of a channel's lane owner while it was at work."""
        self.produced: dict[str, dict[str, Any]] = {}
        self.stories: dict[str, list[dict[str, Any]]] = defaultdict(list)
        self._position: dict[TopicPartition, int] = {}
        self._sandbox: subprocess.Popen[bytes] | None = None
        self._seen_before: dict[str, list[dict[str, Any]]] = {"accepted": [], "arrivals": []}
        """By sandboxes that have been stopped."""
        self._launches: dict[int, tuple[str, dict[str, str], int, Path]] = {}
        """Program, environment, where in the log the latest start begins, and the tree that it runs."""
        self.ports: dict[int, int] = {}
        """Where each worker's web server listens now."""
        self._starts = 0
        self.sandbox = ""

    # --- processes ---------------------------------------------------------------------------------------------

    def start_sandbox(self) -> None:
        """Start it, on the port it had before if it had one."""
        log = self.folder / "sandbox.log"
        with log.open("wb") as out:
            self._sandbox = subprocess.Popen(
                [
                    *(sys.executable, "-m", "pipeline.sandbox"),
                    *("--port", self.sandbox.rpartition(":")[2] or "0"),
                    *self.sandbox_options,
                ],
                cwd=ROOT,
                stdout=out,
                stderr=out,
            )
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            if (found := re.search(r"listening on (\S+)", log.read_text())) is not None:
                self.sandbox = found[1]
                return
            time.sleep(0.05)
        raise AssertionError(f"no sandbox: {log.read_text()}")

    @property
    def sandbox_pid(self) -> int | None:
        """The sandbox's process; None when there is none of its own."""
        return None if self._sandbox is None else self._sandbox.pid

    def stop_sandbox(self) -> None:
        """Stop it while no call is under way. What it has seen is remembered here, but its successor does not know it."""
        assert self._sandbox is not None
        for what, before in self._seen_before.items():
            before.extend(self._look(what))
        self._sandbox.terminate()
        self._sandbox.wait(10)

    def start(self, number: int, *, program: str = "faust", tree: Path = ROOT, **environment: str) -> None:
        """Start a worker with the present configuration; `tree` holds the version that it runs."""
        path = self.write_config(number)
        # As a container made anew on its old volume: at each start another port and another host name.
        self.ports[number], self._starts = free_port(), self._starts + 1
        web = ("--web-port", str(self.ports[number]), "--web-host", f"host-{self._starts}.example")
        with self._log(number).open("ab") as log:
            self._launches[number] = program, environment, log.tell(), tree
            self.workers[number] = subprocess.Popen(
                [sys.executable, "-m", program, "-A", "pipeline", "worker", "-l", self.level, *web],
                env={**os.environ, "PIPELINE_CONFIG": str(path), **environment},
                cwd=tree,
                stdout=log,
                stderr=log,
            )
        self._started.append(self.workers[number])

    def write_config(self, number: int) -> Path:
        """Write the present configuration of worker `number`, and return where."""
        path = self.folder / f"worker-{number}.toml"
        limits = {f"{channel}_limit": self.config["limit"] for channel in LANE}
        path.write_text(
            self.template.format(
                data=f"data-{number}",
                servers=json.dumps(self.worker_servers),
                prefix=self.prefix,
                sandbox=self.sandbox,
                replication=self.replication,
                **{**limits, **self.config},
            )
        )
        return path

    def start_again(self, number: int) -> None:
        program, environment, _, tree = self._launches[number]
        self.start(number, program=program, tree=tree, **environment)

    def kill(self, number: int) -> None:
        """Kill -9, and start again."""
        self.workers[number].kill()
        self.workers[number].wait()
        self.kills += 1
        self.start_again(number)

    async def kill_owner(self, channel: str) -> bool:
        """Kill the worker that owns the channel's lane, if it is at work; the kill counts for all lanes it owns."""
        owners = await self.owners()
        number = owners.get(channel)
        if number is None or not self.is_at_work(number):
            return False
        self.kill(number)
        self.kills_of.update(each for each, owner in owners.items() if owner == number)
        return True

    def is_at_work(self, number: int) -> bool:
        """Whether its partitions have been opened since its start, and it lives."""
        with self._log(number).open("rb") as log:
            log.seek(self._launches[number][2])
            return b"ready: " in log.read() and self.workers[number].poll() is None

    async def wait_for_work(self, *numbers: int, deadline_s: float = 40.0) -> None:
        async with asyncio.timeout(deadline_s):
            while not all(self.is_at_work(number) for number in numbers):
                await asyncio.sleep(0.1)

    async def owners(self) -> dict[str, int]:
        """Return the worker that owns each channel's lane, as Kafka's group says."""
        instances = {
            kept.read_text().strip(): number
            for number in self.workers
            if (kept := self.folder / f"data-{number}" / "instance-id").exists()
        }
        found: dict[str, int] = {}
        for member_id, topics in await self._members():
            # Kafka calls a static member <its instance id>-<uuid>
            number = next((n for instance, n in instances.items() if member_id.startswith(instance)), None)
            found |= {
                channel: number
                for channel, lane in LANE.items()
                if number is not None and lane in topics.get(f"{self.prefix}touches.{channel}", ())
            }
        return found

    async def _members(self) -> list[tuple[str, dict[str, list[int]]]]:
        """Return the group's members with what they own; none while Kafka cannot say."""
        admin = AIOKafkaAdminClient(bootstrap_servers=self.servers)
        try:
            await admin.start()
            [answer] = await admin.describe_consumer_groups([f"{self.prefix}pipeline"])
        except KafkaError:
            return []
        finally:
            await admin.close()
        members = answer.groups[0][5]
        return [
            (member[0], dict(ConsumerProtocolMemberAssignment.decode(member[4]).assignment))
            for member in members
            if member[4]
        ]

    def _log(self, number: int) -> Path:
        return self.folder / f"worker-{number}.log"

    def begins_at(self, number: int) -> int:
        """Return where in the worker's log its latest start begins, in bytes."""
        return self._launches[number][2]

    def send(self, number: int, what: signal.Signals) -> None:
        self.workers[number].send_signal(what)

    def restart_the_dead(self) -> None:
        for number, process in list(self.workers.items()):
            if process.poll() is not None:
                self.exits.append((number, process.returncode))
                self.start_again(number)

    async def stop_gently(self, number: int) -> int:
        """Send SIGTERM and return the exit code; the others go on meanwhile."""
        return await asyncio.to_thread(self.stop, number)

    def stop(self, number: int, timeout_s: float = 20.0) -> int:
        process = self.workers.pop(number)
        process.send_signal(signal.SIGCONT)
        process.terminate()
        return process.wait(timeout_s)

    def stop_all(self) -> None:
        for process in [*self._started, *self.workers.values(), *([self._sandbox] if self._sandbox else [])]:
            process.kill()
            process.wait()
        self.workers.clear()
        self.demand_privacy()

    def demand_privacy(self) -> None:
        """Look for the addresses and texts of `touch` in everything that workers and web processes have logged."""
        for log in [*self.folder.glob("worker-*.log"), *self.folder.glob("web*.log")]:
            found = [line[:300] for line in log.read_bytes().splitlines() if PERSONAL.search(line)]
            assert not found, f"{log.name} tells who is written to, or what: {found[:3]}"

    # --- the sandbox -------------------------------------------------------------------------------------------

    def rule(self, **rule: Any) -> None:
        httpx.post(f"{self.sandbox}/control/rules", json=rule).raise_for_status()

    def behave(self) -> None:
        httpx.delete(f"{self.sandbox}/control/rules").raise_for_status()

    def session(self, status: str) -> None:
        """Set the status of WAHA's session."""
        httpx.post(f"{self.sandbox}/control/session", json={"session": "default", "status": status}).raise_for_status()

    def settings(self, **settings: int) -> None:
        httpx.post(f"{self.sandbox}/control/settings", json=settings).raise_for_status()

    def accepted(self, since: int = 0) -> list[dict[str, Any]]:
        before = self._seen_before["accepted"]
        found: list[dict[str, Any]] = self._look(f"accepted?since={max(0, since - len(before))}")
        return before[since:] + found

    def accepted_count(self) -> int:
        counts: dict[str, int] = self._look("counts")
        return len(self._seen_before["accepted"]) + sum(counts.values())

    def accepted_from(self, provider: str) -> int:
        """Return how many messages this sandbox has accepted as `provider`."""
        counts: dict[str, int] = self._look("counts")
        return counts.get(provider, 0)

    def arrivals(self, provider: str) -> list[dict[str, Any]]:
        before = [each for each in self._seen_before["arrivals"] if each["provider"] == provider]
        found: list[dict[str, Any]] = self._look(f"arrivals?provider={provider}")
        return before + found

    def asks(self) -> dict[str, int]:
        """Return the look-ups, by provider."""
        return self._look("asks")

    def _look(self, what: str) -> Any:
        return httpx.get(f"{self.sandbox}/control/{what}", timeout=60).raise_for_status().json()

    # --- touches and statuses ----------------------------------------------------------------------------------

    async def produce(
        self,
        touches: Iterable[dict[str, Any]],
        *,
        per_s: float | None = None,
        every: int = 20,
        until: Callable[[], bool] = lambda: False,
    ) -> None:
        """Produce `touches`, at `per_s` if given (resting after each `every`), until `until` holds or they end."""
        producer = AIOKafkaProducer(bootstrap_servers=self.servers, enable_idempotence=True, max_request_size=2_000_000)
        await producer.start()
        began = time.monotonic()
        try:
            for at, each in enumerate(touches):
                if until():
                    break
                key = each["touch_id"].encode()
                self.produced[each["touch_id"]] = each
                # Every fifth as librdkafka puts it: the same key, by another hash.
                hashed = zlib.crc32(key) if at % 5 == 4 else murmur2(key) & 0x7FFFFFFF
                await producer.send(
                    f"{self.prefix}touches",
                    key=key,
                    value=json.dumps(each).encode(),
                    partition=hashed % self.partitions,
                )
                if per_s and at % every == 0:
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

    async def follow(
        self, until: Callable[[], bool], *, deadline_s: float, meanwhile: Callable[[], Awaitable[None]] | None = None
    ) -> bool:
        """Read statuses until `until` holds; False when the deadline came first."""
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self.servers,
            isolation_level="read_committed",
            auto_offset_reset="earliest",
            fetch_max_wait_ms=100,
        )
        await consumer.start()
        partitions = [TopicPartition(f"{self.prefix}touches.status", p) for p in range(self.partitions)]
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

    def judge(self) -> dict[str, Counter[str]]:
        """Return the figures per channel; raise AssertionError with the whole story of a touch that went wrong."""
        found = Judgement(self)
        found.demand_innocence()
        return found.figures
