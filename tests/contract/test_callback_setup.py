"""What `check` says of callbacks: what is set at each provider, beside what should be."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from pipeline.channels.email.callback import KINDS
from pipeline.channels.email.sender import ResendSender
from pipeline.channels.sms.sender import TwilioSender
from pipeline.channels.sms.setup import service_url
from pipeline.channels.whatsapp.sender import WahaSender
from pipeline.console.check.work import Desired, check
from pipeline.domain.account import ResendAccount, TwilioAccount, WahaAccount
from pipeline.domain.callback import CallbackSetup
from pipeline.domain.sender_policy import WahaEngine
from pipeline.kafka.cluster import Cluster
from pipeline.sandbox.server import running_sandbox
from pipeline.sandbox.webhooks import webhooks_of
from pipeline.secret import Address, Secret

PUBLIC = "https://touch.example.com"
KEY = (Secret("a webhook's secret"),)
URL = {name: f"{PUBLIC}/callbacks/{name}/default" for name in ("resend", "twilio", "waha")}
STATUS = Address(f"{URL['twilio']}/status#rc=5&rp=all")
HOW: dict[str, Any] = {"request_timeout_ms": 5_000, "now_ms": lambda: 0}


def sender_at(base: str, provider: str, **account: Any) -> Any:
    match provider:
        case "resend":
            return ResendSender(ResendAccount(Secret("re_key"), f"{base}/resend", KEY), ["a@example.com"], **HOW)
        case "twilio":
            said = {"from_": "+15005550006", "messaging_service_sid": None, "status_callback": STATUS, **account}
            made = TwilioAccount(
                account_sid="AC0", auth_token=Secret("token"), base_url=f"{base}/twilio", webhook_secrets=KEY, **said
            )
            return TwilioSender(made, **HOW)
        case _:
            engine = account.get("engine", WahaEngine.NOWEB)
            return WahaSender(WahaAccount("default", f"{base}/waha", Secret("waha-key"), engine, KEY), **HOW)


async def look(base: str, provider: str, **account: Any) -> CallbackSetup:
    sender = sender_at(base, provider, **account)
    await sender.open()
    try:
        return await sender.callback_setup(URL[provider])
    finally:
        await sender.close()


SERVICE = {"from_": None, "messaging_service_sid": "MG1"}


@pytest.mark.parametrize(
    ("provider", "account"), [("resend", {}), ("twilio", {}), ("twilio", SERVICE), ("waha", {})], ids=str
)
async def test_what_is_set_right_is_said_without_a_warning(provider: str, account: dict[str, Any]):
    secrets = ["resend=whsec_" + base64.b64encode(b"s").decode(), "twilio=token", "waha=key"]
    async with running_sandbox(webhooks=webhooks_of(PUBLIC, "", secrets)) as (_, base):
        found = await look(base, provider, **account)
    assert (found.differs, URL[provider] in found.found) == (False, True), found


@pytest.mark.parametrize(
    ("provider", "account"), [("resend", {}), ("twilio", {}), ("twilio", SERVICE), ("waha", {})], ids=str
)
@pytest.mark.parametrize("elsewhere", ["", "https://old.example.com"])
async def test_what_is_not_set_or_calls_others_is_a_warning(provider: str, account: dict[str, Any], elsewhere: str):
    secrets = ["resend=whsec_" + base64.b64encode(b"s").decode(), "twilio=token", "waha=key"] if elsewhere else []
    async with running_sandbox(webhooks=webhooks_of(elsewhere, "", secrets)) as (_, base):
        found = await look(base, provider, **account)
    assert (found.differs, elsewhere in found.found, URL[provider] in found.wanted) == (True, True, True), found


WAHA_ROW = {"url": URL["waha"], "events": ["message", "message.ack"], "hmac": {"key": "k"}}
RESEND_ROW = {"endpoint": URL["resend"], "status": "enabled", "events": list(KINDS)}
NUMBER_ROW = {"sms_url": f"{URL['twilio']}/inbound", "sms_method": "POST"}


@pytest.mark.parametrize(
    ("provider", "answer", "account", "named"),
    [
        ("resend", {"data": [{**RESEND_ROW, "status": "disabled"}]}, {}, "disabled"),
        ("resend", {"data": [{**RESEND_ROW, "events": list(KINDS)[1:]}]}, {}, "lacks email.delivered"),
        ("resend", {"data": [{**RESEND_ROW, "events": None}, RESEND_ROW]}, {}, None),
        ("waha", {"config": None}, {}, "WHATSAPP_HOOK_URL"),
        ("waha", {"config": {"webhooks": [{**WAHA_ROW, "hmac": None}]}}, {}, "hmac.key"),
        ("waha", {"config": {"webhooks": [{**WAHA_ROW, "events": ["message.any"]}]}}, {}, "lacks message.ack"),
        ("waha", {"config": {"webhooks": [{**WAHA_ROW, "events": ["*"]}]}}, {}, None),
        ("waha", {"config": {"webhooks": [WAHA_ROW]}}, {"engine": WahaEngine.WEBJS}, "tagsEventsOn"),
        (
            "waha",
            {"config": {"webhooks": [WAHA_ROW], "webjs": {"tagsEventsOn": True}}},
            {"engine": WahaEngine.WEBJS},
            None,
        ),
        ("twilio", {"incoming_phone_numbers": []}, {}, "not one of the account's"),
        ("twilio", {"incoming_phone_numbers": [{**NUMBER_ROW, "sms_method": "GET"}]}, {}, "by GET"),
        ("twilio", {"incoming_phone_numbers": [{**NUMBER_ROW, "sms_application_sid": "AP1"}]}, {}, "TwiML app"),
        (
            "twilio",
            {"incoming_phone_numbers": [NUMBER_ROW]},
            {"status_callback": None},
            "status_callback names nothing",
        ),
        (
            "twilio",
            {"incoming_phone_numbers": [NUMBER_ROW]},
            {"status_callback": Address("https://shop.example/cb?key=1")},
            "names https://shop.example/cb",
        ),
        ("twilio", {"use_inbound_webhook_on_number": True}, SERVICE, "numbers' own"),
        ("twilio", {"inbound_request_url": None}, SERVICE, "sends answers to nothing"),
    ],
)
async def test_each_difference_is_named(provider: str, answer: Any, account: dict[str, Any], named: str | None):
    async def give(_: web.Request) -> web.Response:
        return web.json_response(answer)

    app = web.Application()
    app.router.add_get("/{tail:.*}", give)
    async with TestServer(app) as server:
        found = await look(str(server.make_url("")).rstrip("/"), provider, **account)
    assert found.differs is (named is not None), found
    assert named is None or named in found.found
    assert "key=1" not in found.found


@pytest.mark.parametrize("provider", ["resend", "twilio", "waha"])
@pytest.mark.parametrize("status", [401, 404, 500])
async def test_what_may_not_be_read_is_said_and_no_difference(provider: str, status: int):
    async def refuse(_: web.Request) -> web.Response:
        return web.json_response({"message": "This API key is restricted to only send emails"}, status=status)

    app = web.Application()
    app.router.add_get("/{tail:.*}", refuse)
    async with TestServer(app) as server:
        found = await look(str(server.make_url("")).rstrip("/"), provider)
    assert (found.differs, str(status) in found.found, "\n" in found.found) == (None, True, False)


@pytest.mark.parametrize(
    ("base", "service"),
    [
        ("https://api.twilio.com", "https://messaging.twilio.com"),
        ("https://api.dublin.ie1.twilio.com", "https://messaging.dublin.ie1.twilio.com"),
        ("http://127.0.0.1:4010/twilio", "http://127.0.0.1:4010/twilio"),
        ("https://api.nottwilio.com.example", "https://api.nottwilio.com.example"),
    ],
)
def test_messaging_services_have_a_host_of_their_own(base: str, service: str):
    assert service_url(base) == service


@pytest.mark.parametrize(
    ("url", "base", "is_warning", "named"),
    [
        (None, "http://127.0.0.1:9", True, "web.public_url"),
        (URL["waha"], "http://127.0.0.1:9", False, "should be a webhook of https://touch"),
    ],
)
async def test_check_has_a_line_per_sender_and_no_failure(url: str | None, base: str, is_warning: bool, named: str):
    desired = Desired({}, 1, [], [], None, "", [], callbacks=[("whatsapp default", sender_at(base, "waha"), url)])
    cluster = Cluster({"bootstrap_servers": ["127.0.0.1:1"]})
    [found] = [each async for each in check(cluster, desired, lambda: 0.0) if each.item == "whatsapp default callbacks"]
    assert (found.is_ok, found.is_warning, named in found.what) == (True, is_warning, True)
