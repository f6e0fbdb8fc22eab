"""`python -m bench.alerts`: every alert that can, fires once: worker, web process, sandbox, and a Prometheus with the rules.

The rules are those of deploy/prometheus/alerts.yml with all times divided by SCALE, so that minutes are seconds. Needs
`prometheus` (apt-get install prometheus). Progress on standard error, the table on standard output.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import httpx
import yaml
from aiohttp import web
from aiokafka import AIOKafkaProducer

from bench.site import say
from pipeline.lab.local.kafka import LocalKafka
from pipeline.lab.local.ports import free_port
from pipeline.records.single_object import encode
from pipeline.stages.schema_wait import MOST_RECORDS
from tests.harness import stack as stack_module
from tests.harness.secured import SmallStack
from tests.harness.stack import ROOT, touch

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable

SCALE = 60
"""A minute of the rules is a second here."""
RULES = ROOT / "deploy" / "prometheus" / "alerts.yml"
UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
SECONDS = re.compile(r"(?<=[>=] )(300|900|60)\b")
PATIENCE_S = 60.0
"""How long an alert may take, and a cure."""
SECRET = "whsec_c2FuZGJveA=="
TEMPLATE = (
    SmallStack.template.replace('"re_k"', f'"re_k"\nwebhook_secrets = "{SECRET}"')
    .replace('auth_token = "t"', 'auth_token = "t"\nwebhook_secrets = "t"')
    .replace(
        "[channels.whatsapp]", 'schema_registry_url = "{registry}"\nstatus_format = "json"\n[channels.whatsapp]', 1
    )
    + """
[web]
listen = "127.0.0.1:{private}"
public_listen = "127.0.0.1:{public}"
public_url = "http://127.0.0.1:{public}"
[deliveries]
silent_after = "3s"
"""
)


def scaled(text: str) -> str:
    """Return the rules with all times divided by SCALE."""

    def shorter(found: re.Match[str]) -> str:
        return f"{max(1, int(found[1]) * UNITS[found[2]] // SCALE)}s"

    text = re.sub(r"(?<![\w.])(\d+)([smhd])\b", shorter, text)
    rules = yaml.safe_load(text)
    for rule in rules["groups"][0]["rules"]:
        rule["expr"] = SECONDS.sub(lambda found: str(int(found[1]) // SCALE), rule["expr"])
    return yaml.safe_dump(rules)


class Prometheus:
    """A Prometheus that evaluates the rules each half second."""

    def __init__(self, folder: Path, targets: dict[str, list[int]]) -> None:
        self._folder, self._port, self.fired = folder, free_port(), dict[str, float]()
        (folder / "alerts.yml").write_text(scaled(RULES.read_text()))
        jobs = [
            {"job_name": job, "static_configs": [{"targets": [f"127.0.0.1:{port}" for port in ports]}]}
            for job, ports in targets.items()
        ]
        config = {
            "global": {"scrape_interval": "500ms", "scrape_timeout": "500ms", "evaluation_interval": "500ms"},
            "rule_files": [str(folder / "alerts.yml")],
            "scrape_configs": jobs,
        }
        (folder / "prometheus.yml").write_text(yaml.safe_dump(config))

    def __enter__(self) -> Self:
        with (self._folder / "prometheus.log").open("wb") as out:
            self._process = subprocess.Popen(
                [
                    "prometheus",
                    f"--config.file={self._folder / 'prometheus.yml'}",
                    f"--storage.tsdb.path={self._folder / 'tsdb'}",
                    f"--web.listen-address=127.0.0.1:{self._port}",
                ],
                stdout=out,
                stderr=out,
            )
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()

    def firing(self) -> dict[str, str]:
        """Return the summary of each alert that fires now."""
        try:
            found = httpx.get(f"http://127.0.0.1:{self._port}/api/v1/alerts", timeout=10).json()["data"]["alerts"]
        except httpx.TransportError:
            return {}
        return {
            each["labels"]["alertname"]: each["annotations"]["summary"] for each in found if each["state"] == "firing"
        }

    async def wait(self, holds: Callable[[dict[str, str]], bool]) -> dict[str, str] | None:
        """Return what fires as soon as `holds`; None: it never did."""
        async with asyncio.timeout(PATIENCE_S):
            while not holds(found := self.firing()):
                await asyncio.sleep(0.5)
            return found
        return None


class AlertStack(SmallStack):
    """One worker whose statuses are JSON, and a web process."""

    template = TEMPLATE

    async def _read(self, consumer: Any, timeout_ms: int) -> None:
        for rows in (await consumer.getmany(timeout_ms=timeout_ms)).values():
            for row in rows:
                status = json.loads(row.value)
                self.stories[status["touch_id"]].append(status)

    def run(self, *words: str) -> subprocess.Popen[bytes]:
        """Start a command with the worker's configuration."""
        with (self.folder / f"{words[0]}.log").open("ab") as out:
            return subprocess.Popen(
                [sys.executable, "-m", "faust", "-A", "pipeline", *words],
                env={**os.environ, "PIPELINE_CONFIG": str(self.folder / "worker-0.toml")},
                cwd=ROOT,
                stdout=out,
                stderr=out,
            )


class Run:
    """The alerts, one after the other, each with its cause and its cure."""

    def __init__(self, stack: AlertStack, prometheus: Prometheus) -> None:
        self.stack, self.prometheus, self._number = stack, prometheus, 0
        self.rows: list[tuple[str, str, str]] = []
        self.is_registry_away = False

    def touches(self, channel: str, count: int, **more: Any) -> Iterable[dict[str, Any]]:
        self._number += count
        return [touch(channel, self._number - n, **more) for n in range(count)]

    async def expect(self, cause: str, *names: str) -> None:
        """Wait until all of `names` fire."""
        began = time.monotonic()
        try:
            found = await self.prometheus.wait(lambda firing: set(names) <= firing.keys()) or {}
        except TimeoutError:
            found = self.prometheus.firing()
        for name in names:
            told = f"after {time.monotonic() - began:.0f} s: {found[name]}" if name in found else "DID NOT FIRE"
            say(f"{name}: {told}")
            self.rows.append((name, cause, told))

    async def quiet(self, *names: str) -> None:
        """Wait until none of `names` fires."""
        try:
            await self.prometheus.wait(lambda firing: not set(names) & firing.keys())
        except TimeoutError:
            self.rows.append((", ".join(names), "the cure", "STILL FIRES"))

    async def all_ended(self) -> None:
        await self.stack.follow(self.stack.all_ended, deadline_s=PATIENCE_S)

    async def nothing(self) -> None:
        stack = self.stack
        await stack.produce(self.touches("sms", 10))
        await self.all_ended()
        await asyncio.sleep(5)
        fires = self.prometheus.firing()
        self.rows.append(("none", "all is well", "fired: " + ", ".join(fires) if fires else "none fired"))

    async def outage(self) -> None:
        stack = self.stack
        stack.rule(provider="twilio", status=429)
        await stack.produce(self.touches("sms", 5))
        await self.expect("Twilio answers 429 to all", "LaneStuck", "LaneHeldByOutage", "DueLate")
        stack.behave()
        await self.all_ended()
        await self.quiet("LaneStuck", "LaneHeldByOutage", "DueLate")

    async def unconfirmed(self) -> None:
        stack = self.stack
        stack.rule(provider="twilio", what="send", drop="after")
        stack.rule(provider="twilio", what="ask", status=500)
        await stack.produce(self.touches("sms", 2))
        await self.expect("answers and look-ups of Twilio are lost", "Unconfirmed")
        stack.behave()

    async def dead_letters(self) -> None:
        producer = AIOKafkaProducer(bootstrap_servers=self.stack.servers)
        await producer.start()
        await producer.send_and_wait(f"{self.stack.prefix}touches", b"{", b"odd", partition=0)
        await producer.stop()
        await self.expect("a record that is no touch", "DeadLetters")

    async def order(self) -> None:
        stack = self.stack
        stack.rule(provider="twilio", what="send", delay_after_ms=20_000, times=1)
        await stack.produce(self.touches("sms", 1, campaign_id="held"))
        await asyncio.sleep(1)
        command = stack.run("pause", "--campaign", "held", "--note", "a test", "--no-wait")
        await self.expect("a pause while a call of 20 s is under way", "OrderNotInForce")
        await asyncio.to_thread(command.wait)
        await self.quiet("OrderNotInForce")

    async def lag(self) -> None:
        stack = self.stack
        datum = {
            **touch("sms", 9_999),
            "variables": {},
            "attachments": [],
            "headers": {},
            "priority": 5,
            "metadata": {},
        }
        self.is_registry_away = True
        producer = AIOKafkaProducer(bootstrap_servers=stack.servers)
        await producer.start()
        framed = b"\0" + (9).to_bytes(4, "big") + encode("touch", datum)[10:]
        for _ in range(MOST_RECORDS + 100):  # so many may wait in the router's table: the rest waits unread
            await producer.send(f"{stack.prefix}touches", framed, b"framed", partition=0)
        await producer.stop()
        await self.expect(f"{MOST_RECORDS + 100:,} touches of a schema, and the registry is away", "KafkaLag")
        self.is_registry_away = False
        await self.quiet("KafkaLag")

    async def callbacks(self) -> None:
        stack = self.stack
        stack.rule(what="callback", provider="resend", outcome="bounced", code="Permanent", times=6)
        stack.rule(what="callback", provider="resend", outcome="complained", times=2)
        stack.rule(what="callback", provider="twilio", outcome="nothing")
        stack.rule(what="callback", provider="waha", forge="signature", times=4)
        more = self.touches("email", 100), self.touches("sms", 3), self.touches("whatsapp", 4)
        await stack.produce([each for some in more for each in some])
        await self.expect("of 100 e-mails 6 bounce and 2 are complained of", "BounceRate", "ComplaintRate")
        await self.expect("callbacks of WAHA with another secret", "CallbacksRefused")
        await self.expect("Twilio calls nothing back", "CallbacksSilent")
        stack.behave()

    async def opt_out(self) -> None:
        said = {"provider": "waha", "from": "+12125550177", "text": "STOP", "lid": "hidden"}
        async with httpx.AsyncClient() as client:
            (await client.post(f"{self.stack.sandbox}/control/inbound", json=said)).raise_for_status()
        await self.expect("STOP from a number that WhatsApp hides", "PendingOptOuts")

    async def restarts(self) -> None:
        # Three restarts must fall into a quarter of an hour, which is 15 s here: too little for a busy machine.
        self.stack.send(0, signal.SIGSTOP)
        await self.expect("a worker that does not answer", "WorkerRestarts")
        self.stack.send(0, signal.SIGCONT)

    async def copy(self, kafka: LocalKafka) -> None:
        kafka.freeze()
        await self.expect("Kafka stands still", "CopyLag")


@asynccontextmanager
async def registry(runs: list[Run]) -> AsyncIterator[str]:
    """A schema registry that is away while the run says so; its URL."""
    schema = (ROOT / "schemas" / "touch.avsc").read_text(encoding="utf-8")

    async def answer(_: web.Request) -> web.Response:
        if runs and runs[0].is_registry_away:
            return web.json_response({}, status=500)
        return web.json_response({"schema": schema, "id": 7})

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


async def run(kafka: LocalKafka, folder: Path) -> list[tuple[str, str, str]]:
    """Let one alert after the other fire; return the table."""
    worker, private, public = free_port(), free_port(), free_port()
    stack_module.free_port = lambda: worker  # Prometheus knows the worker by its port
    os.environ |= {
        "SANDBOX_CALLBACKS": f"http://127.0.0.1:{public}",
        "SANDBOX_SECRETS": f"resend={SECRET} twilio=t waha=key",
    }
    runs: list[Run] = []
    async with registry(runs) as url:
        stack = AlertStack(
            kafka.bootstrap_servers,
            "alerts.",
            folder,
            registry=url,
            private=str(private),
            public=str(public),
            timeout="30s",
            sms='resolve_for = "4s"',
            whatsapp_sender='webhook_secrets = "key"',
        )
        stack.start_sandbox()
        stack.start(0)
        process = None
        try:
            await stack.wait_for_topics()
            await stack.wait_for_work(0)
            process = stack.run("web")
            with Prometheus(folder, {"pipeline": [worker], "pipeline-web": [private]}) as prometheus:
                runs.append(now := Run(stack, prometheus))
                for each in (
                    now.nothing,
                    now.dead_letters,
                    now.outage,
                    now.unconfirmed,
                    now.order,
                    now.lag,
                    now.callbacks,
                ):
                    await each()
                await now.opt_out()
                await now.restarts()
                await now.copy(kafka)
                return now.rows
        finally:
            if process is not None:
                process.kill()
            stack.stop_all()


def main() -> None:
    """Run it, and show the table."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, LocalKafka(Path(folder) / "kafka") as kafka:
        rows = asyncio.run(run(kafka, Path(folder)))
    print(f"{time.monotonic() - began:.0f} s in all; a minute of the rules was a second")
    print("| alert | cause | fired |\n|---|---|---|")
    for row in rows:
        print(f"| {' | '.join(row)} |")


if __name__ == "__main__":
    main()
