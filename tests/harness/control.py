"""Commands against a real Kafka as an operator types them, and lanes of the test's own that say how far they obey."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Any, Self

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition

from pipeline import flow
from pipeline.engine.required_topic import RequiredTopic
from pipeline.engine.topics import ensure_topics
from pipeline.kafka.cluster import Cluster
from pipeline.kafka.topic import TopicSource, read_topic
from pipeline.records.lane_report import LaneReport, encode_lane_report
from pipeline.records.single_object import encode
from tests.harness.stack import ROOT

if TYPE_CHECKING:
    from pathlib import Path

CONFIG = """
[kafka]
bootstrap_servers = ["{server}"]
topic_prefix = "{prefix}"
partitions = 2
lanes = 4
{more}
[[channels.sms.senders]]
name = "a"
lane = 0
account_sid = "AC0"
auth_token = "t"
from = "+15005550006"
[[channels.sms.senders]]
name = "b"
lane = 1
account_sid = "AC1"
auth_token = "t"
from = "+15005550007"
[[channels.email.senders]]
api_key = "re_k"
from = "Me <me@example.com>"
"""
"""SMS has two senders, e-mail one; WhatsApp is off."""
Ended = tuple[int, str, str]
"""Exit code, standard output, standard error."""


class ControlRoom:
    """The topics of a deployment of which no worker runs, and its commands."""

    def __init__(self, server: str, prefix: str, folder: Path) -> None:
        self.cluster = Cluster({"bootstrap_servers": [server]}, prefix)
        self._server, self._file = server, folder / "pipeline.toml"
        self.configure("")

    def configure(self, more: str) -> None:
        """Write the configuration; `more` comes behind `[kafka]`."""
        text = CONFIG.format(server=self._server, prefix=self.cluster.topic_prefix, more=more)
        self._file.write_text(text, encoding="utf-8")

    async def make_topics(self) -> None:
        specs = flow.topics(partitions=2, lanes=4, replication=1, dedup_for_ms=86_400_000)
        needed = [RequiredTopic(self.cluster.topic_name(each.name), each.partitions, each.settings) for each in specs]
        await ensure_topics(self.cluster.connection, needed, 1)

    def start(self, *command: str, **environment: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "faust", "-A", "pipeline", *command],
            cwd=ROOT,
            env={**os.environ, "PIPELINE_CONFIG": str(self._file), **environment},
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    async def run(self, *command: str, stdin: str = "") -> Ended:
        process = self.start(*command)
        out, err = await asyncio.to_thread(process.communicate, stdin, timeout=90)
        return process.returncode, out, err

    async def write(self, topic: str, *records: tuple[bytes, bytes | None]) -> int:
        """Write records (key, value) to partition 0, and return the last one's offset."""
        producer = AIOKafkaProducer(**self.cluster.connection)
        await producer.start()
        try:
            for key, value in records:
                done = await producer.send_and_wait(self.cluster.topic_name(topic), value, key, partition=0)
        finally:
            await producer.stop()
        return int(done.offset)

    async def values(self, topic: str) -> list[bytes]:
        """Return the values of a topic's committed records."""

        def read(record: ConsumerRecord) -> bytes:
            return bytes(record.value or b"")

        source = TopicSource(self.cluster, topic, read, lambda _: 0, print)
        async with aclosing(read_topic(source)) as records:
            return [each async for each in records]

    async def tell(self, *statuses: dict[str, Any]) -> None:
        """Write status records; what a test does not say of them is taken from a touch of campaign `spring`."""
        told = [{**TOLD, "sequence": number, **each} for number, each in enumerate(statuses, 1)]
        await self.write(flow.STATUS, *((each["touch_id"].encode(), encode("status", each)) for each in told))


TOLD = {
    "touch_id": "t-1",
    "campaign_id": "spring",
    "lead_id": "ann",
    "channel": "sms",
    "sender": "a",
    "state": "accepted",
    "attempt": 0,
    "metadata": {},
    "occurred_at": 1_795_521_784_567,
}


class Lanes:
    """Lanes that obey each order and entry as soon as they see it, but for those that `lag`: they have seen it, no more.

    With `one_short` they obey all but the last one, up to its very offset.
    """

    def __init__(self, room: ControlRoom, *lag: str, one_short: bool = False) -> None:
        self._room, self.lag, self._one_short = room, set(lag), one_short
        self._lanes = [("sms", "a", 0), ("sms", "b", 1), ("email", "default", 0)]
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.ensure_future(self._obey())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        if self._task.done():
            self._task.result()
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task

    async def _obey(self) -> None:
        cluster = self._room.cluster
        consumer = AIOKafkaConsumer(**cluster.connection, isolation_level="read_committed")
        await consumer.start()
        topics = [TopicPartition(cluster.topic_name(each), 0) for each in (flow.CONTROL, flow.SUPPRESSIONS)]
        said: dict[str, list[int]] = {}
        try:
            while True:
                found = await consumer.end_offsets(topics)
                ends = [found[each] for each in topics]
                for channel, sender, lane in self._lanes:
                    key = f"{channel}/{sender}"
                    if said.get(key) != ends:
                        await self._report(
                            channel, sender, lane, ends, self._lagging(ends) if key in self.lag else ends
                        )
                        said[key] = ends
                await asyncio.sleep(0.05)
        finally:
            await consumer.stop()

    def _lagging(self, ends: list[int]) -> list[int]:
        # behind the last record there is the marker of its transaction
        return [max(end - 2, 0) if self._one_short else 0 for end in ends]

    async def _report(self, channel: str, sender: str, lane: int, seen: list[int], in_force: list[int]) -> None:
        report = LaneReport(
            channel=channel,
            sender=sender,
            lane=lane,
            control_seen=seen[0],
            control_in_force=in_force[0],
            suppressions_seen=seen[1],
            suppressions_in_force=in_force[1],
            parked=0,
            at_ms=1,
        )
        await self._room.write(flow.LANES, (report.key.encode(), encode_lane_report(report)))
