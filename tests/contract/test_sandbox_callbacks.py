"""The sandbox calls back as the providers do; what it signs is verified by the product's own readers."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import re
import subprocess
import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx
import pytest
from aiohttp import web

from pipeline.channels.email import callback as email
from pipeline.channels.sms import callback as sms
from pipeline.channels.whatsapp import callback as whatsapp
from pipeline.domain.account import ResendAccount, TwilioAccount, WahaAccount
from pipeline.domain.address_hash import address_hash
from pipeline.domain.callback import CallbackRules, NotAuthentic, ReceivedCallback
from pipeline.domain.opt_out import OptOutWords
from pipeline.domain.sender_policy import WahaEngine
from pipeline.domain.suppression import Covers
from pipeline.domain.work import Channel
from pipeline.sandbox.plans import FORGERIES, OUTCOMES
from pipeline.sandbox.server import running_sandbox
from pipeline.sandbox.webhooks import webhooks_of
from pipeline.secret import Secret
from tests.harness.stack import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable

    from pipeline.domain.fact import Callback

PUBLIC = "https://touch.example.com"
KEY = b"k" * 32
WHSEC = "whsec_" + base64.b64encode(b"s" * 24).decode()
SECRETS = [f"resend/main={WHSEC}", "twilio=token", "waha/the first=hmac-key"]
ACCOUNTS: dict[str, Any] = {
    "resend": ResendAccount(Secret("re_1"), "", (Secret(WHSEC),)),
    "twilio": TwilioAccount("AC0", Secret("token"), "+15005550006", None, "", None, (Secret("token"),)),
    "waha": WahaAccount("default", "", None, WahaEngine.NOWEB, (Secret("hmac-key"),)),
}
READERS = {
    "/callbacks/resend/main": email.read,
    "/callbacks/twilio/default/status": sms.read_status,
    "/callbacks/twilio/default/inbound": sms.read_inbound,
    "/callbacks/waha/the%20first": whatsapp.read,
}
STATUS_CALLBACK = f"{PUBLIC}/callbacks/twilio/default/status#rc=5&rp=all"
PROVIDERS = ("resend", "twilio", "waha")


@dataclass
class Receiver:
    """Where callbacks arrive: keeps what each says, or that it was refused."""

    told: list[Callback] = field(default_factory=list)
    refused: int = 0
    failing: int = 0
    """How many are answered 503 before one is taken."""
    seen: list[tuple[str, str]] = field(default_factory=list)
    """Path and id of each that was taken."""
    sandbox: Any = None
    http: httpx.AsyncClient | None = None

    async def take(self, request: web.Request) -> web.Response:
        if self.failing:
            self.failing -= 1
            return web.Response(status=503)
        headers = {name.lower(): value for name, value in request.headers.items()}
        received = ReceivedCallback(request.raw_path, headers, await request.read())
        rules = CallbackRules(
            public_url=PUBLIC,
            words=OptOutWords(("STOP", "PARAR"), ("START",)),
            covers=Covers.PHONE,
            remember_for_ms=30 * 86_400_000,
            privacy_key=KEY,
        )
        path = request.raw_path
        try:
            said = READERS[path](received, "main", ACCOUNTS[path.split("/")[2]], rules, self.sandbox.store.now_ms())
        except NotAuthentic:
            self.refused += 1
            return web.Response(status=403)
        self.told += said
        self.seen.append((path, headers.get("svix-id") or headers.get("i-twilio-idempotency-token", "")))
        return web.Response(status=200)

    async def control(self, path: str, **said: Any) -> httpx.Response:
        assert self.http is not None
        return await self.http.post(f"/control/{path}", json=said)

    async def rule(self, **said: Any) -> None:
        (await self.control("rules", what="callback", **said)).raise_for_status()

    async def calls(self) -> list[dict[str, Any]]:
        """Return the calls once none is to come."""
        assert self.http is not None
        async with asyncio.timeout(20):
            while True:
                found = (await self.http.get("/control/callbacks")).json()
                if not found["pending"]:
                    return found["calls"]
                await asyncio.sleep(0.01)

    async def send(self, provider: str, text: str = "hello", to: str = "12125552368") -> str:
        """Send a message; return its id."""
        assert self.http is not None
        match provider:
            case "resend":
                mail = {"from": "a@example.com", "to": [f"{to}@example.com"], "subject": "s", "html": text}
                answer = await self.http.post("/resend/emails", json=mail, headers={"Authorization": "Bearer re"})
                return answer.json()["id"]
            case "twilio":
                form = {"To": f"+{to}", "From": "+15005550006", "Body": text, "StatusCallback": STATUS_CALLBACK}
                url = "/twilio/2010-04-01/Accounts/AC0/Messages.json"
                return (await self.http.post(url, data=form, auth=("AC0", "t"))).json()["sid"]
            case _:
                said = {"session": "default", "chatId": f"{to}@c.us", "text": text}
                answer = await self.http.post("/waha/api/sendText", json=said, headers={"X-Api-Key": "k"})
                return answer.json()["key"]["id"]

    def kinds(self) -> list[str | None]:
        return [None if each.kind is None else each.kind.value for each in self.told]


@asynccontextmanager
async def calling(*secrets: str):
    receiver = Receiver()
    app = web.Application()
    app.router.add_post("/{tail:.*}", receiver.take)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    via = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        async with (
            running_sandbox(webhooks=webhooks_of(PUBLIC, via, secrets)) as (sandbox, address),
            httpx.AsyncClient(base_url=address) as http,
        ):
            receiver.sandbox, receiver.http = sandbox, http
            yield receiver
    finally:
        await runner.cleanup()


@pytest.fixture
async def receiver():
    async with calling(*SECRETS) as found:
        yield found


KINDS = {
    "delivered": ["delivered"],
    "opened": ["delivered", "opened"],
    "clicked": ["delivered", "opened", "clicked"],
    "delayed": ["delayed"],
    "bounced": ["bounced"],
    "complained": ["delivered", "complained"],
    "undelivered": ["undelivered"],
    "suppressed": ["suppressed_by_provider"],
    "read": ["delivered", "read"],
    "nothing": [],
}


@pytest.mark.parametrize(
    ("provider", "outcome"), [(provider, outcome) for provider in PROVIDERS for outcome in OUTCOMES[provider]]
)
async def test_each_outcome_is_called_back_as_the_provider_says_it(receiver: Receiver, provider: str, outcome: str):
    await receiver.rule(provider=provider, outcome=outcome)
    message_id = await receiver.send(provider)
    calls = await receiver.calls()
    assert receiver.kinds() == KINDS[outcome]
    assert {each.message_id for each in receiver.told} <= {message_id}
    assert [each["event"] for each in calls] == list(OUTCOMES[provider][outcome])
    assert all(each["status"] == 200 for each in calls)


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_without_a_rule_a_message_is_delivered(receiver: Receiver, provider: str):
    await receiver.send(provider)
    await receiver.calls()
    assert receiver.kinds() == ["delivered"]


async def test_nothing_is_called_back_without_secrets_or_for_an_sms_that_names_no_url():
    async with calling() as receiver:
        for provider in PROVIDERS:
            await receiver.send(provider)
        assert await receiver.calls() == []
        answer = await receiver.control("inbound", provider="twilio", **{"from": "+12125550001"}, text="STOP")
        assert (answer.status_code, "--secret" in answer.json()["error"]) == (400, True)
    async with calling(SECRETS[1]) as receiver:
        form = {"To": "+12125552368", "From": "+15005550006", "Body": "b"}
        await receiver.http.post("/twilio/2010-04-01/Accounts/AC0/Messages.json", data=form, auth=("AC0", "t"))
        await receiver.send("waha")
        assert await receiver.calls() == []


@pytest.mark.parametrize(
    ("provider", "outcome", "code", "kind", "suppresses"),
    [
        ("resend", "bounced", "Permanent", "Permanent/General", True),
        ("resend", "bounced", "Transient", "Transient/General", False),
        ("resend", "suppressed", "previous_complaint", "previous_complaint", True),
        ("twilio", "undelivered", 21610, "21610", True),
        ("twilio", "undelivered", 30003, "30003", False),
    ],
)
async def test_a_code_says_what_kind_of_refusal_it_is(
    receiver: Receiver, provider: str, outcome: str, code: Any, kind: str, suppresses: bool
):
    await receiver.rule(provider=provider, outcome=outcome, code=code)
    await receiver.send(provider)
    await receiver.calls()
    last = receiver.told[-1]
    assert (last.detail or last.error_code, bool(last.entries)) == (kind, suppresses)


@pytest.mark.parametrize(
    ("provider", "forge"), [(provider, forge) for provider in PROVIDERS for forge in FORGERIES[provider]]
)
async def test_each_forgery_is_refused_and_not_tried_again(receiver: Receiver, provider: str, forge: str):
    await receiver.rule(provider=provider, forge=forge)
    await receiver.send(provider)
    calls = await receiver.calls()
    assert (receiver.refused, receiver.told) == (2, [])
    assert [(each["forge"], each["status"], each["attempt"]) for each in calls] == [(forge, 403, 1)] * 2


async def test_each_event_is_repeated_and_keeps_its_id(receiver: Receiver):
    await receiver.rule(repeat=3)
    await receiver.send("resend")
    await receiver.calls()
    assert receiver.kinds() == ["delivered"] * 3
    assert len({name for _, name in receiver.seen}) == 2


async def test_within_a_time_they_come_in_any_order_and_a_share_is_lost(receiver: Receiver):
    await receiver.rule(outcome="clicked", within_ms=100, repeat=5, provider="resend")
    for _ in range(3):
        await receiver.send("resend")
    await receiver.calls()
    kinds = receiver.kinds()
    assert sorted(kinds) == sorted(KINDS["clicked"] * 15)
    assert kinds != KINDS["clicked"] * 15
    receiver.told.clear()
    await receiver.http.delete("/control/rules")
    await receiver.rule(loss=0.5, repeat=100)
    await receiver.send("waha")
    await receiver.calls()
    assert 20 < len(receiver.told) < 80


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_callbacks_can_come_before_the_answer_of_the_send(receiver: Receiver, provider: str):
    await receiver.rule(before_answer=True)
    await receiver.send(provider)
    assert receiver.kinds() == ["delivered"]


async def test_a_delay_is_kept(receiver: Receiver):
    await receiver.rule(delay_ms=150)
    await receiver.send("twilio")
    assert receiver.told == []
    [first, _] = await receiver.calls()
    [accepted] = (await receiver.http.get("/control/accepted")).json()
    assert first["at_ms"] - accepted["at_ms"] >= 150


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_what_fails_is_called_again(receiver: Receiver, provider: str):
    await receiver.control("settings", retry_most_ms=10)
    receiver.failing = 3
    await receiver.send(provider)
    calls = await receiver.calls()
    assert receiver.kinds() == ["delivered"]
    assert sorted(each["status"] for each in calls) == [200, 200, 503, 503, 503]
    assert max(each["attempt"] for each in calls) > 1


async def test_retries_end(receiver: Receiver):
    await receiver.control("settings", retry_most_ms=1)
    receiver.failing = 10**6
    for provider in PROVIDERS:
        await receiver.send(provider)
    attempts = dict.fromkeys(PROVIDERS, 0)
    for each in await receiver.calls():
        attempts[each["provider"]] = max(attempts[each["provider"]], each["attempt"])
    assert attempts == {"resend": 8, "twilio": 6, "waha": 16}


@pytest.mark.parametrize(
    ("fragment", "attempts"),
    [("", 1), ("#rc=3", 1), ("#rc=3&rp=5xx", 4), ("#rc=2&rp=all", 3), ("#rp=5xx,4xx", 2), ("#rc=9&rp=all", 2)],
)
async def test_twilio_comes_again_as_the_url_says(receiver: Receiver, fragment: str, attempts: int):
    await receiver.control("settings", retry_most_ms=1)
    receiver.failing = 10**6
    url = STATUS_CALLBACK.partition("#")[0] + fragment
    form = {"To": "+12125552368", "From": "+15005550006", "Body": "b", "StatusCallback": url}
    await receiver.http.post("/twilio/2010-04-01/Accounts/AC0/Messages.json", data=form, auth=("AC0", "t"))
    assert max(each["attempt"] for each in await receiver.calls()) == attempts


async def test_a_message_to_us_is_called_back(receiver: Receiver):
    person = {"from": "+12125550001"}
    await receiver.control("inbound", provider="twilio", **person, text="stop.", account="AC0")
    await receiver.control("inbound", provider="twilio", **person, text="x", account="AC0", type="START", id="SM1")
    await receiver.control("inbound", provider="waha", **person, text="Parar")
    await receiver.calls()
    stop, back, waha = sorted(receiver.told, key=lambda each: (each.channel, bool(each.lifts)))
    hashed = address_hash(Channel.SMS, "+12125550001", KEY)
    assert [(each.recipient, each.note) for each in (*stop.entries, *waha.entries)] == [
        (hashed, "STOP"),
        (hashed, "PARAR"),
    ]
    assert (back.lifts, back.acts_as) == ((hashed,), "SM1")


@pytest.mark.parametrize(("lid", "is_known"), [("told", True), ("asked", False), ("hidden", False)])
async def test_a_person_without_a_number_is_known_as_far_as_the_rule_says(receiver: Receiver, lid: str, is_known: bool):
    await receiver.control("inbound", provider="waha", **{"from": "+12125550001"}, text="STOP", lid=lid)
    await receiver.calls()
    assert any(entry.recipient for each in receiver.told for entry in each.entries) is is_known
    assert {each.lid for each in receiver.told if any(entry.recipient is None for entry in each.entries)} == (
        set() if is_known else {"1000555212100@lid"}
    )
    answer = await receiver.http.get("/waha/api/default/lids/1000555212100@lid", headers={"X-Api-Key": "k"})
    assert answer.json()["pn"] == (None if lid == "hidden" else "12125550001@c.us")


async def test_a_recipient_answers_as_the_rule_says(receiver: Receiver):
    await receiver.rule(text="autumn", reply="STOP", lid="hidden", quote=True)
    await receiver.send("waha", "autumn sale")
    await receiver.send("twilio", "autumn sale")
    await receiver.send("twilio", "spring")
    await receiver.calls()
    told = sorted(receiver.told, key=lambda each: (each.channel, bool(each.entries)))
    assert [(each.channel, each.kind, len(each.entries)) for each in told if each.entries or each.lid] == [
        (Channel.SMS, None, 1),
        (Channel.WHATSAPP, "replied", 0),
        (Channel.WHATSAPP, None, 1),
    ]
    assert len({each.lid for each in told if each.channel is Channel.WHATSAPP and each.lid}) == 1


async def test_the_callback_lines_that_the_docs_show_do_what_they_say(receiver: Receiver):
    docs = (ROOT / "docs" / "sandbox.md").read_text()
    bounce, twice = (
        rule
        for rule in (json.loads(said) for said in re.findall(r"curl -d '([^']+)' \S+/control/rules", docs))
        if rule.get("what") == "callback"
    )
    [stop] = [json.loads(said) for said in re.findall(r"curl -d '([^']+)' \S+/control/inbound", docs)]
    await receiver.control("rules", **bounce)
    await receiver.send("resend", to="bob")
    await receiver.calls()
    assert receiver.kinds() == ["bounced"]
    await receiver.control("rules", **(twice | {"probability": 1, "within_ms": 30}))
    await receiver.send("waha")
    assert receiver.kinds() == ["bounced", *["delivered"] * 5]
    await receiver.control("inbound", **(stop | {"account": "AC0"}))
    await receiver.calls()
    assert receiver.told[-1].entries[0].note == "STOP"


def test_the_line_that_starts_a_sandbox_with_callbacks_is_taken():
    [line] = re.findall(
        r"^    (python -m pipeline\.sandbox .*--callbacks .*)$", (ROOT / "docs/sandbox.md").read_text(), re.MULTILINE
    )
    sandbox = subprocess.Popen(
        [sys.executable, "-u", *line.split()[1:3], "--port", "0", *line.split()[5:]], cwd=ROOT, stdout=subprocess.PIPE
    )
    try:
        assert sandbox.stdout is not None
        address = sandbox.stdout.readline().decode().split()[-1]
        shown = httpx.get(f"{address}/resend/webhooks", headers={"Authorization": "Bearer re"}).json()
        assert shown["data"][0]["endpoint"] == "http://127.0.0.1:6443/callbacks/resend/default"
    finally:
        sandbox.terminate()
        sandbox.wait(20)


@pytest.mark.parametrize(
    ("rule", "named"),
    [
        ({"outcome": "lost"}, "outcome"),
        ({"provider": "twilio", "outcome": "bounced"}, "outcome"),
        ({"provider": "twilio", "forge": "stale"}, "forge"),
        ({"provider": "twilio", "outcome": "undelivered", "code": "x"}, "code"),
        ({"outcome": "bounced", "forge": "account"}, "fit no provider"),
        ({"repeat": 0}, "repeat"),
        ({"loss": 2}, "loss"),
        ({"lid": "no"}, "lid"),
        ({"status": 503}, "status"),
        ({"drop": "after"}, "drop"),
    ],
)
async def test_a_wrong_rule_for_callbacks_is_refused_by_name(receiver: Receiver, rule: dict[str, Any], named: str):
    answer = await receiver.control("rules", what="callback", **rule)
    assert (answer.status_code, named in answer.json()["error"]) == (400, True)
    assert "unknown" in (await receiver.control("rules", outcome="read")).json()["error"]


@pytest.mark.parametrize(
    ("said", "named"),
    [
        ({"provider": "resend"}, "provider"),
        ({"from": "12"}, "from"),
        ({"text": None}, "text"),
        ({"type": "MAYBE"}, "type"),
        ({"forge": "stale"}, "forge"),
        ({"colour": 1}, "colour"),
    ],
)
async def test_a_wrong_message_to_us_is_refused_by_name(receiver: Receiver, said: dict[str, Any], named: str):
    right = {"provider": "twilio", "from": "+12125550001", "text": "STOP"}
    answer = await receiver.control("inbound", **(right | said))
    assert (answer.status_code, named in answer.json()["error"]) == (400, True)


async def test_a_reset_ends_what_is_still_to_come(receiver: Receiver):
    await receiver.rule(delay_ms=60_000)
    await receiver.send("waha")
    await receiver.control("reset")
    assert (await receiver.calls(), receiver.told) == ([], [])


async def test_each_provider_shows_what_is_set(receiver: Receiver):
    get: Callable[..., Any] = receiver.http.get
    [row] = (await get("/resend/webhooks", headers={"Authorization": "Bearer re"})).json()["data"]
    assert row["endpoint"] == f"{PUBLIC}/callbacks/resend/main"
    [number] = (await get("/twilio/2010-04-01/Accounts/AC0/IncomingPhoneNumbers.json?PhoneNumber=%2B1500")).json()[
        "incoming_phone_numbers"
    ]
    service = (await get("/twilio/v1/Services/MG1")).json()
    assert number["sms_url"] == service["inbound_request_url"] == f"{PUBLIC}/callbacks/twilio/default/inbound"
    session = (await get("/waha/api/sessions/default", headers={"X-Api-Key": "k"})).json()
    assert session["config"]["webhooks"][0]["url"] == f"{PUBLIC}/callbacks/waha/the%20first"
    assert urlsplit(row["endpoint"]).scheme == "https"


def started(*options: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Start the sandbox wrongly."""
    words = [sys.executable, "-m", "pipeline.sandbox", "--port", "0", *options]
    return subprocess.run(
        words, cwd=ROOT, env={**os.environ, **environ}, capture_output=True, text=True, check=False, timeout=60
    )


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (("--secret", "waha=k"), "--callbacks"),
        (("--callbacks", "touch.example.com"), "URL"),
        (("--callbacks", PUBLIC, "--secret", "fax=k"), "PROVIDER"),
        (("--callbacks", PUBLIC, "--secret", "resend=not base64"), "whsec_"),
        (("--callbacks", PUBLIC, "--secret", "waha=a", "--secret", "waha/b=b"), "two secrets"),
    ],
)
def test_wrong_options_are_told_in_a_line(options: tuple[str, ...], named: str):
    done = started(*options)
    assert (done.returncode, named in done.stderr) == (2, True)


def test_the_environment_is_read_where_no_option_is_given():
    done = started(SANDBOX_CALLBACKS=PUBLIC, SANDBOX_SECRETS="waha=k fax=k")
    assert (done.returncode, "'fax'" in done.stderr) == (2, True)


def test_a_secret_is_never_shown():
    found = webhooks_of(PUBLIC, "", SECRETS)
    assert "hmac-key" not in repr(found)
    assert replace(found, via="http://x").reached_at(f"{PUBLIC}/a?b") == "http://x/a?b"
    assert replace(found, via="http://x").reached_at(f"{PUBLIC}.evil/a") == f"{PUBLIC}.evil/a"
