"""Runs engine workers as processes on a real Kafka, injects faults, and checks their output."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from pipeline.engine.required_topic import RequiredTopic
from pipeline.engine.topics import ensure_topics

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

ROOT = Path(__file__).parents[2]
PARTITIONS = 4
KEYS = 200


class Workers:
    """Worker processes; `restart_the_dead` restarts those that exited, like a supervisor."""

    def __init__(self, servers: list[str], prefix: str, folder: Path, **more: object) -> None:
        self._settings = {"servers": servers, "prefix": prefix, **more}
        self._folder = folder
        self._running: dict[int, subprocess.Popen[bytes]] = {}
        self.exits: list[int] = []

    def log(self, number: int) -> Path:
        return self._folder / f"worker-{number}.log"

    def start(self, number: int) -> None:
        settings = {**self._settings, "folder": str(self._folder / f"data-{number}"), "instance_id": f"w{number}"}
        with self.log(number).open("ab") as log:
            self._running[number] = subprocess.Popen(
                [sys.executable, "-m", "tests.harness.workers.engine", "worker", "-l", "info", "--without-web"],
                env={**os.environ, "ENGINE_TEST": json.dumps(settings)},
                cwd=ROOT,
                stdout=log,
                stderr=log,
            )

    def send(self, number: int, what: signal.Signals) -> None:
        self._running[number].send_signal(what)

    def kill(self, number: int) -> None:
        self.send(number, signal.SIGKILL)
        self._running[number].wait()

    def restart_the_dead(self) -> None:
        for number, process in list(self._running.items()):
            if process.poll() is not None:
                self.exits.append(process.returncode)
                self.start(number)

    def stop(self, number: int, timeout_s: float = 30.0) -> int:
        process = self._running.pop(number)
        process.send_signal(signal.SIGCONT)
        process.terminate()
        return process.wait(timeout_s)

    def wait(self, number: int, timeout_s: float) -> int:
        return self._running[number].wait(timeout_s)

    def kill_all(self) -> None:
        for process in self._running.values():
            process.kill()
            process.wait()
        self._running.clear()


class Road:
    """The topics of one run: `numbers` in, `counted` out."""

    def __init__(self, servers: list[str], prefix: str, partitions: int = PARTITIONS, replication: int = 1) -> None:
        self.servers, self.prefix, self.partitions = servers, prefix, partitions
        self._replication = replication
        self.expected = 0
        self.values: Counter[bytes] = Counter()
        self.disorder = 0
        self._counts: dict[bytes, int] = {}
        self._read_up_to: dict[TopicPartition, int] = {}

    async def create(self) -> None:
        extra = {"min.insync.replicas": "2"} if self._replication >= 3 else {}
        await ensure_topics(
            {"bootstrap_servers": self.servers},
            [
                RequiredTopic(f"{self.prefix}numbers", self.partitions, extra),
                RequiredTopic(f"{self.prefix}counted", self.partitions, extra),
                RequiredTopic(
                    f"{self.prefix}counts-changelog", self.partitions, {"cleanup.policy": "compact", **extra}
                ),
            ],
            self._replication,
        )

    async def produce(self, count: int, *, per_s: float | None = None, seed: int = 0) -> None:
        """Produce `count` numbers under random keys, at most `per_s` a second."""
        dice = random.Random(seed)
        producer = AIOKafkaProducer(bootstrap_servers=self.servers, enable_idempotence=True)
        await producer.start()
        try:
            began = time.monotonic()
            for number in range(self.expected, self.expected + count):
                key = dice.randrange(KEYS)
                await producer.send(
                    f"{self.prefix}numbers", key=b"k%d" % key, value=b"%d" % number, partition=key % self.partitions
                )
                if per_s and number % 20 == 0:
                    ahead = (number - self.expected) / per_s - (time.monotonic() - began)
                    await asyncio.sleep(max(0.0, ahead))
            await producer.flush()
        finally:
            await producer.stop()
        self.expected += count

    async def collect(
        self, count: int, *, deadline_s: float = 90.0, meanwhile: Callable[[], Awaitable[None]] | None = None
    ) -> None:
        """Read `counted`, read committed, until `count` records came or nothing came for `deadline_s`."""
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self.servers,
            isolation_level="read_committed",
            auto_offset_reset="earliest",
            fetch_max_wait_ms=100,
        )
        await consumer.start()
        consumer.assign([TopicPartition(f"{self.prefix}counted", p) for p in range(self.partitions)])
        for tp, offset in self._read_up_to.items():
            consumer.seek(tp, offset)
        last = time.monotonic()
        try:
            while self.values.total() < count and time.monotonic() - last < deadline_s:
                for rows in (await consumer.getmany(timeout_ms=200)).values():
                    last = time.monotonic()
                    for row in rows:
                        self._see(row.key, row.value)
                if meanwhile is not None:
                    await meanwhile()
            # Duplicates would arrive late: one more poll.
            for rows in (await consumer.getmany(timeout_ms=1500)).values():
                for row in rows:
                    self._see(row.key, row.value)
            self._read_up_to = {tp: await consumer.position(tp) for tp in consumer.assignment()}
        finally:
            await consumer.stop()

    def _see(self, key: bytes, value: bytes) -> None:
        count, number = value.split(b":")
        self.values[number] += 1
        if int(count) != self._counts.get(key, 0) + 1:
            self.disorder += 1
        self._counts[key] = int(count)

    def assert_exact(self) -> None:
        """Every number once, and every key counted 1, 2, 3 … in order."""
        lost = self.expected - len(self.values)
        twice = sum(1 for n in self.values.values() if n > 1)
        assert (lost, twice, self.disorder) == (0, 0, 0), f"lost {lost}, twice {twice}, state wrong {self.disorder}"
