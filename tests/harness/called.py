"""A stack whose sandbox calls back: a web process takes the callbacks, and deliveries are read beside the statuses."""

from __future__ import annotations

import asyncio
import base64
import os
import signal
import subprocess
import sys
from collections import defaultdict
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import httpx
from aiokafka import AIOKafkaConsumer, TopicPartition

from pipeline.lab.local.ports import free_port
from pipeline.records.single_object import decode
from tests.harness.stack import CONFIG, ROOT, Stack

if TYPE_CHECKING:
    from pathlib import Path

WHSEC = "whsec_" + base64.b64encode(b"the signing secret of a test").decode()
SECRETS = {"waha": "the-hmac-key", "resend": WHSEC, "twilio": "t"}
KEY = "the privacy key of a test, which is no secret"
KINDS = {
    "email.delivered": "delivered",
    "email.delivery_delayed": "delayed",
    "email.opened": "opened",
    "email.clicked": "clicked",
    "email.bounced": "bounced",
    "email.complained": "complained",
    "email.failed": "undelivered",
    "email.suppressed": "suppressed_by_provider",
    "delivered": "delivered",
    "read": "read",
    "undelivered": "undelivered",
    "message.ack 2": "delivered",
    "message.ack 3": "read",
    "message.ack -1": "undelivered",
}
"""By the sandbox's name of an event: what is told."""


class CalledStack(Stack):
    """Sandbox, workers, and one web process, whose port stays."""

    template = (
        CONFIG.replace("[channels.whatsapp]", '[privacy]\nkey = "{key}"\n{web}\n[channels.whatsapp]', 1)
        .replace('api_key = "k"\n', 'api_key = "k"\nwebhook_secrets = "{waha_secret}"\n')
        .replace('api_key = "re_k"\n', 'api_key = "re_k"\nwebhook_secrets = "{resend_secret}"\n')
        .replace('auth_token = "t"\n', 'auth_token = "t"\nwebhook_secrets = "{twilio_secret}"\n')
    )

    def __init__(self, servers: list[str], prefix: str, folder: Path, **config: str) -> None:
        self.private_port, self.public_port = free_port(), free_port()
        self.public_url = f"http://127.0.0.1:{self.public_port}"
        web = (
            f'[web]\nlisten = "127.0.0.1:{self.private_port}"\npublic_listen = "127.0.0.1:{self.public_port}"\n'
            f'public_url = "{self.public_url}"\n'
        )
        secrets = {f"{name}_secret": secret for name, secret in SECRETS.items()}
        super().__init__(servers, prefix, folder, **({"key": KEY, "web": web} | secrets | config))
        self.deliveries: dict[str, list[dict[str, Any]]] = defaultdict(list)
        self.web: subprocess.Popen[bytes] | None = None
        self.web_kills = 0
        self.sandbox_options = ("--callbacks", self.public_url)
        for name, secret in SECRETS.items():
            self.sandbox_options += ("--secret", f"{name}={secret}")
        self._told_until: dict[TopicPartition, int] = {}

    def start_web(self) -> None:
        """Start the web process with the configuration of worker 0, which has been started before."""
        with (self.folder / "web.log").open("ab") as log:
            self.web = subprocess.Popen(
                [sys.executable, "-m", "faust", "-A", "pipeline", "web"],
                env={**os.environ, "PIPELINE_CONFIG": str(self.folder / "worker-0.toml")},
                cwd=ROOT,
                stdout=log,
                stderr=log,
            )

    def kill_web(self) -> None:
        """Kill -9, and start again."""
        assert self.web is not None
        self.web.kill()
        self.web.wait()
        self.web_kills += 1
        self.start_web()

    async def wait_for_web(self, deadline_s: float = 120.0) -> None:
        """Wait until the web process is ready."""
        async with asyncio.timeout(deadline_s), httpx.AsyncClient() as http:
            while True:
                with suppress(httpx.HTTPError):
                    if (await http.get(f"http://127.0.0.1:{self.private_port}/ready")).status_code == httpx.codes.OK:
                        return
                await asyncio.sleep(0.1)

    def stop_web(self) -> int:
        """Stop it with SIGTERM; return its exit code."""
        assert self.web is not None
        self.web.send_signal(signal.SIGTERM)
        return self.web.wait(30)

    def stop_all(self) -> None:
        """Kill everything."""
        if self.web is not None:
            self.web.kill()
            self.web.wait()
        super().stop_all()

    def called(self) -> tuple[list[dict[str, Any]], int]:
        """Return the callbacks that the sandbox has made, and how many messages still have some to come."""
        found = self._look("callbacks")
        return found["calls"], found["pending"]

    def inbound(self, provider: str, person: str, text: str, **more: Any) -> str:
        """Let somebody write to us; return the message's id."""
        said = {"provider": provider, "from": person, "text": text, **more}
        answer = httpx.post(f"{self.sandbox}/control/inbound", json=said).raise_for_status()
        return str(answer.json()["id"])

    async def read_deliveries(self) -> None:
        """Read what has been told of touches since the last time, to the present end."""
        consumer = AIOKafkaConsumer(bootstrap_servers=self.servers, isolation_level="read_committed")
        await consumer.start()
        try:
            parts = [TopicPartition(f"{self.prefix}touches.deliveries", each) for each in range(self.partitions)]
            ends = await consumer.end_offsets(parts)
            consumer.assign(parts)
            for tp in parts:
                consumer.seek(tp, self._told_until.get(tp, 0))
            async with asyncio.timeout(60):
                while any([await consumer.position(tp) < ends[tp] for tp in parts]):
                    for rows in (await consumer.getmany(timeout_ms=200)).values():
                        for row in rows:
                            told = decode("delivery", row.value)
                            self.deliveries[told["touch_id"]].append(told)
            self._told_until = {tp: await consumer.position(tp) for tp in parts}
        finally:
            await consumer.stop()

    def facts(self) -> list[tuple[str, str]]:
        """Return (message id, kind) of each delivery read."""
        return [(each["provider_message_id"], each["kind"]) for story in self.deliveries.values() for each in story]
