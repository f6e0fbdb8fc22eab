"""Commands against a real Kafka as an operator types them, and lanes of the test's own that say how far they obey."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from typing import TYPE_CHECKING

from pipeline import flow
from pipeline.engine.required_topic import RequiredTopic
from pipeline.engine.topics import ensure_topics
from pipeline.kafka.cluster import Cluster
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
