"""The public application with senders of all three providers, and an intake that keeps what it is given."""

from __future__ import annotations

import asyncio
import base64
import hmac
from urllib.parse import urlencode

import orjson
import pytest
from aiohttp.test_utils import TestClient, TestServer
from twilio.request_validator import RequestValidator

from pipeline.domain.account import ResendAccount, TwilioAccount, WahaAccount
from pipeline.domain.callback import CallbackRules
from pipeline.domain.opt_out import OptOutWords
from pipeline.domain.sender_policy import WahaEngine
from pipeline.domain.suppression import Covers
from pipeline.domain.unsubscribe import UnsubscribeLinks
from pipeline.domain.work import Channel
from pipeline.secret import Secret
from pipeline.web.callbacks import CallbackRoutes
from pipeline.web.intake import NotTaken
from pipeline.web.listeners import runner_of
from pipeline.web.metrics import WebMetrics
from pipeline.web.public import public_application
from pipeline.web.unsubscribe import UnsubscribeRoutes

NOW_MS = 1_790_000_000_000
PUBLIC_URL = "https://touch.example.com/hooks"
KEY = b"k" * 32
WHSEC = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
RULES = CallbackRules(
    public_url=PUBLIC_URL,
    words=OptOutWords(("STOP",), ("START",)),
    covers=Covers.PHONE,
    remember_for_ms=30 * 86_400_000,
    privacy_key=KEY,
)

LINKS = UnsubscribeLinks(PUBLIC_URL, KEY)


def twilio(*secrets: str) -> TwilioAccount:
    return TwilioAccount("AC1", Secret("t"), "+15005550006", None, "https://x", None, tuple(map(Secret, secrets)))


ACCOUNTS = {
    (Channel.EMAIL, "main"): ResendAccount(Secret("re_1"), "https://x", (Secret(WHSEC),)),
    (Channel.SMS, "ma/in"): twilio("token"),
    (Channel.SMS, "silent"): twilio(),
    (Channel.WHATSAPP, "wa"): WahaAccount("s1", "http://x", None, WahaEngine.NOWEB, (Secret("key"),)),
}


class FakeIntake:
    """Keeps what it is given, or is away."""

    def __init__(self) -> None:
        self.taken = []
        self.entries = []
        self.is_away = False

    async def take(self, callbacks) -> None:
        await asyncio.sleep(0)
        if self.is_away:
            raise NotTaken
        self.taken += callbacks

    async def suppress(self, entry) -> None:
        await asyncio.sleep(0)
        if self.is_away:
            raise NotTaken
        self.entries.append(entry)


class ListenerServer(TestServer):
    """The application as the process serves it."""

    async def _make_runner(self, **_):
        return runner_of(self.app)


@pytest.fixture
def intake():
    return FakeIntake()


@pytest.fixture
def metrics():
    return WebMetrics()


@pytest.fixture
async def public(intake, metrics):
    callbacks = CallbackRoutes(ACCOUNTS, RULES, intake, metrics, lambda: NOW_MS)
    app = public_application([callbacks, UnsubscribeRoutes(LINKS, intake, lambda: NOW_MS)], metrics)
    async with TestClient(ListenerServer(app)) as client:
        yield client


def svix(body: bytes, *, at_s: int = NOW_MS // 1000, secret: str = WHSEC) -> dict[str, str]:
    signed = hmac.digest(base64.b64decode(secret.removeprefix("whsec_")), f"m1.{at_s}.".encode() + body, "sha256")
    signature = base64.b64encode(signed).decode()
    return {"svix-id": "m1", "svix-timestamp": str(at_s), "svix-signature": f"v1,{signature}"}


def resend_event(kind: str = "delivered", **data) -> bytes:
    return orjson.dumps({"type": f"email.{kind}", "data": {"email_id": "e-1", **data}})


def waha(body: bytes, key: bytes = b"key") -> dict[str, str]:
    return {"X-Webhook-Hmac": hmac.digest(key, body, "sha512").hex()}


def waha_event(session: str = "s1", **payload) -> bytes:
    said = {"id": "true_1@c.us_3EB0AA", "fromMe": True, "ack": 2, **payload}
    return orjson.dumps({"event": "message.ack", "session": session, "timestamp": NOW_MS, "payload": said})


def twilio_form(path: str, token: str = "token", *, public_url: str = PUBLIC_URL, **fields: str):
    """Return (headers, body) of a signed form."""
    form = {"MessageSid": "SM1", "AccountSid": "AC1", "MessageStatus": "delivered", **fields}
    signature = RequestValidator(token).compute_signature(public_url + path, form)
    return {"X-Twilio-Signature": signature, "Content-Type": "application/x-www-form-urlencoded"}, urlencode(
        form
    ).encode()
