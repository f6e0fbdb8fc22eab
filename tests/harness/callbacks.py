"""Callbacks as the providers sign them, and a stack with web processes that take them."""

from __future__ import annotations

import asyncio
import base64
import hmac
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import httpx
import orjson
from twilio.request_validator import RequestValidator

from pipeline.lab.local.ports import free_port
from tests.harness.stack import CONFIG, ROOT, Stack

if TYPE_CHECKING:
    from collections.abc import Callable

PUBLIC_URL = "https://touch.example.com/hooks"
KEY = "k" * 32
WHSEC = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
TOKEN, WAHA_KEY = "token", "key"
Signed = tuple[dict[str, str], bytes]
"""Headers and body."""


def resend(body: bytes, *, at_s: int | None = None, secret: str = WHSEC) -> Signed:
    """Return a webhook of Resend."""
    at_s = int(time.time()) if at_s is None else at_s
    signed = hmac.digest(base64.b64decode(secret.removeprefix("whsec_")), f"m1.{at_s}.".encode() + body, "sha256")
    signature = base64.b64encode(signed).decode()
    return {"svix-id": "m1", "svix-timestamp": str(at_s), "svix-signature": f"v1,{signature}"}, body


def waha(body: bytes, key: str = WAHA_KEY) -> Signed:
    """Return a webhook of WAHA."""
    return {"X-Webhook-Hmac": hmac.digest(key.encode(), body, "sha512").hex()}, body


def twilio(path: str, fields: dict[str, str], token: str = TOKEN, public_url: str = PUBLIC_URL) -> Signed:
    """Return a form of Twilio, for `path` behind `public_url`."""
    signature = RequestValidator(token).compute_signature(public_url + path, fields)
    kind = "application/x-www-form-urlencoded"
    return {"X-Twilio-Signature": signature, "Content-Type": kind}, urlencode(fields).encode()


RESEND_PATH, WAHA_PATH = "/callbacks/resend/default", "/callbacks/waha/default"
STATUS_PATH, INBOUND_PATH = "/callbacks/twilio/default/status", "/callbacks/twilio/default/inbound"


def resend_event(kind: str, message_id: str, **data: Any) -> bytes:
    return orjson.dumps({"type": f"email.{kind}", "data": {"email_id": message_id, **data}})


def waha_event(name: str, payload: dict[str, Any], session: str = "default") -> bytes:
    at_ms = int(time.time() * 1000)
    return orjson.dumps({"event": name, "session": session, "timestamp": at_ms, "payload": payload})


class CallbackStack(Stack):
    """A stack whose senders have secrets, and which has web processes."""

    template = (
        CONFIG.replace('engine = "{engine}"', f'engine = "{{engine}}"\nwebhook_secrets = "{WAHA_KEY}"')
        .replace('api_key = "re_k"', f'api_key = "re_k"\nwebhook_secrets = "{WHSEC}"')
        .replace('auth_token = "t"', f'auth_token = "t"\nwebhook_secrets = ["old", "{TOKEN}"]')
        .replace("[kafka]", f'{{top}}[privacy]\nkey = "{KEY}"\n[unsubscribe]\nenabled = true\n[kafka]', 1)
        + f'[web]\npublic_url = "{PUBLIC_URL}"\npublic_listen = "127.0.0.1:0"\n'
    )

    def __init__(self, *given: Any, **config: Any) -> None:
        super().__init__(*given, **{"top": "", **config})
        self.webs: dict[int, subprocess.Popen[bytes]] = {}
        self.private: dict[int, str] = {}
        self.public: dict[int, str] = {}

    def start_web(self, number: int) -> None:
        """Start a web process with the configuration of worker 0, on the ports it had before if it had some."""
        private = self.private.setdefault(number, f"127.0.0.1:{free_port()}")
        public = self.public.setdefault(number, f"127.0.0.1:{free_port()}")
        with (self.folder / f"web-{number}.log").open("ab") as log:
            self.webs[number] = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "faust",
                    "-A",
                    "pipeline",
                    "web",
                    "--listen",
                    private,
                    "--public-listen",
                    public,
                    "--copy-dir",
                    str(self.folder / f"copy-{number}"),
                ],
                env={**os.environ, "PIPELINE_CONFIG": str(self.write_config(0))},
                cwd=ROOT,
                stdout=log,
                stderr=log,
            )

    def kill_web(self, number: int) -> None:
        """Kill -9, and start again."""
        self.webs[number].kill()
        self.webs[number].wait()
        self.start_web(number)

    async def stop_web(self, number: int) -> int:
        """Send SIGTERM and return the exit code."""
        process = self.webs.pop(number)
        process.send_signal(signal.SIGTERM)
        return await asyncio.to_thread(process.wait, 30)

    def stop_all(self) -> None:
        for process in self.webs.values():
            process.kill()
            process.wait()
        super().stop_all()

    async def ready(self, number: int) -> tuple[int, str]:
        """Return the answer of /ready; 0 while nobody answers."""
        try:
            async with httpx.AsyncClient() as client:
                answer = await client.get(f"http://{self.private[number]}/ready", timeout=10)
        except httpx.HTTPError:
            return 0, ""
        return answer.status_code, answer.text

    async def wait_for_web(
        self, number: int, is_so: Callable[[int, str], bool] = lambda status, _: status == 200
    ) -> str:
        """Wait until /ready answers so; return its text."""
        async with asyncio.timeout(60):
            while not is_so(*(answer := await self.ready(number))):
                assert self.webs[number].poll() is None, (self.folder / f"web-{number}.log").read_text()
                await asyncio.sleep(0.1)
        return answer[1]

    async def post(self, path: str, signed: Signed, number: int = 0) -> int:
        """Post once and return the status; 0 when nobody answers."""
        try:
            async with httpx.AsyncClient(timeout=30) as client:
                answer = await client.post(f"http://{self.public[number]}{path}", headers=signed[0], content=signed[1])
        except httpx.HTTPError:
            return 0
        return answer.status_code

    async def post_as_providers_do(self, path: str, signed: Signed, number: int = 0) -> int:
        """Post until it is answered with 2xx."""
        async with asyncio.timeout(60):
            while not 200 <= (status := await self.post(path, signed, number)) < 300:
                assert status in (0, 503), status
                await asyncio.sleep(0.1)
        return status
