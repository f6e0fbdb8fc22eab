"""The sandbox refuses what the providers refuse, keeps what it accepts, and misbehaves when told to."""

from __future__ import annotations

import json
import re
from pathlib import Path

import httpx
import pytest

from pipeline.sandbox.server import running_sandbox

BEARER = {"Authorization": "Bearer re_x"}
MAIL = {"from": "Me <me@example.com>", "to": ["ann@example.com"], "subject": "s", "html": "<p>h</p>"}
SMS = {"To": "+12125552368", "From": "+15005550006", "Body": "hello"}
MESSAGES = "/twilio/2010-04-01/Accounts/AC0/Messages.json"
TEXT = {"session": "default", "chatId": "12125552368@c.us", "text": "hello", "id": "3EB0ABC"}
KEY = {"X-Api-Key": "k"}


@pytest.fixture
async def http():
    async with running_sandbox() as (_, address), httpx.AsyncClient(base_url=address, auth=None) as client:
        yield client


async def test_resend_takes_a_batch_whole_and_replays_its_answer_under_the_same_key(http):
    headers = {**BEARER, "Idempotency-Key": "k1"}
    first = await http.post("/resend/emails/batch", json=[MAIL, MAIL], headers=headers)
    again = await http.post("/resend/emails/batch", json=[MAIL, MAIL], headers=headers)
    other = await http.post("/resend/emails/batch", json=[MAIL], headers=headers)
    assert first.status_code == 200
    assert first.json() == again.json()
    assert (other.status_code, other.json()["name"]) == (409, "invalid_idempotent_request")
    assert (await http.get("/control/counts")).json() == {"resend": 2}
    arrivals = (await http.get("/control/arrivals?provider=resend")).json()
    assert [(each["key"], each["count"], each["status"]) for each in arrivals] == [
        ("k1", 2, 200),
        ("k1", 2, 200),
        ("k1", 1, 409),
    ]


async def test_resend_forgets_a_key_after_a_day(http):
    headers = {**BEARER, "Idempotency-Key": "k1"}
    await http.post("/resend/emails/batch", json=[MAIL], headers=headers)
    await http.post("/control/settings", json={"clock_offset_ms": 24 * 3_600_000 + 1})
    await http.post("/resend/emails/batch", json=[MAIL], headers=headers)
    assert (await http.get("/control/duplicates")).json()[0]["count"] == 2


@pytest.mark.parametrize(
    ("mails", "name"),
    [
        ([{**MAIL, "subject": ""}], "missing_required_field"),
        ([{**MAIL, "html": None}], "missing_required_field"),
        ([MAIL] * 101, "validation_error"),
        ([{**MAIL, "attachments": [{"filename": "a"}]}], "validation_error"),
        ([{**MAIL, "from": "nobody"}], "invalid_from_address"),
        ([MAIL, {**MAIL, "to": "nobody"}], "validation_error"),
        ([{**MAIL, "tags": [{"name": "campaign", "value": "a b"}]}], "validation_error"),
        ([], "validation_error"),
    ],
)
async def test_resend_refuses_a_bad_batch_whole(http, mails, name):
    answer = await http.post("/resend/emails/batch", json=mails, headers=BEARER)
    assert (answer.status_code, answer.json()["name"]) == (422, name)
    assert (await http.get("/control/counts")).json() == {}


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"To": "12"}, 21211),
        ({"To": ""}, 21604),
        ({"From": ""}, 21603),
        ({"Body": ""}, 21602),
        ({"Body": "x" * 1601}, 21617),
    ],
)
async def test_twilio_refuses_with_its_codes(http, change, code):
    answer = await http.post(MESSAGES, data={**SMS, **change}, auth=("AC0", "t"))
    assert (answer.status_code, answer.json()["code"]) == (400, code)


async def test_twilio_lists_what_it_took_page_by_page_and_late(http):
    for _ in range(3):
        assert (await http.post(MESSAGES, data=SMS, auth=("AC0", "t"))).status_code == 201
    page = (await http.get(MESSAGES, params={"To": SMS["To"], "PageSize": 2})).json()
    rest = (await http.get("/twilio" + page["next_page_uri"].removeprefix("/twilio"))).json()
    assert (await http.get("/control/asks")).json() == {"twilio": 2}
    assert (len(page["messages"]), len(rest["messages"]), rest["next_page_uri"]) == (2, 1, None)
    await http.post("/control/settings", json={"listing_delay_ms": 60_000})
    assert (await http.get(MESSAGES, params={"To": SMS["To"]})).json()["messages"] == []


@pytest.mark.parametrize(
    ("engine", "take"),
    [
        ("NOWEB", lambda body: body["key"]["id"]),
        ("GOWS", lambda body: body["id"].rpartition("_")[2]),
        ("WEBJS", lambda body: body["id"]["id"]),
    ],
)
async def test_waha_answers_in_its_engines_own_way_and_takes_our_id_where_that_engine_does(http, engine, take):
    await http.post("/control/session", json={"session": "default", "engine": engine})
    answer = await http.post("/waha/api/sendText", json=TEXT, headers=KEY)
    assert answer.status_code == 201
    assert (take(answer.json()) == "3EB0ABC") == (engine != "WEBJS")
    found = await http.get(f"/waha/api/default/chats/all/messages/{take(answer.json())}", headers=KEY)
    assert found.json()["body"] == "hello"
    assert (await http.get("/control/asks")).json() == {"waha": 1}


async def test_waha_sends_nothing_while_its_session_is_not_working_and_a_repeated_id_again(http):
    await http.post("/control/session", json={"session": "default", "status": "SCAN_QR_CODE"})
    answer = await http.post("/waha/api/sendText", json=TEXT, headers=KEY)
    assert (answer.status_code, answer.json()["status"]) == (422, "SCAN_QR_CODE")
    await http.post("/control/session", json={"session": "default", "status": "WORKING"})
    for _ in range(2):
        await http.post("/waha/api/sendText", json=TEXT, headers=KEY)
    assert (await http.get("/control/duplicates")).json()[0]["count"] == 2


async def test_credentials_are_needed(http):
    assert (await http.post("/resend/emails/batch", json=[MAIL])).status_code == 401
    assert (await http.post(MESSAGES, data=SMS)).status_code == 401
    assert (await http.post("/waha/api/sendText", json=TEXT)).status_code == 401


async def test_it_misbehaves_as_told(http):
    async def send():
        return await http.post(MESSAGES, data=SMS, auth=("AC0", "t"))

    await http.post("/control/rules", json={"provider": "twilio", "status": 503, "times": 1})
    assert (await send()).status_code == 503
    await http.post("/control/rules", json={"provider": "twilio", "drop": "after", "times": 1})
    with pytest.raises(httpx.HTTPError):
        await send()
    await http.post("/control/rules", json={"provider": "twilio", "drop": "before", "times": 1})
    with pytest.raises(httpx.HTTPError):
        await send()
    assert (await http.get("/control/counts")).json() == {"twilio": 1}
    await http.post("/control/rules", json={"limit": 2, "per_ms": 60_000})
    assert [(await send()).status_code for _ in range(3)] == [201, 201, 429]
    assert (await http.post("/control/rules", json={"colour": "red"})).status_code == 400


async def test_the_rules_that_the_docs_show_are_taken_and_do_what_they_say(http):
    docs = (Path(__file__).parents[2] / "docs" / "sandbox.md").read_text()
    rules = [json.loads(rule) for rule in re.findall(r"curl -d '([^']+)' \S+/control/rules", docs)]
    lost, page = (rule for rule in rules if rule.get("what") != "callback")
    assert (await http.post("/control/rules", json=page)).status_code == 200
    for _ in range(page["times"]):
        answer = await http.post("/waha/api/sendText", json=TEXT, headers={"X-Api-Key": "k"})
        assert answer.headers["content-type"].startswith("text/html")
    assert (await http.post("/control/rules", json=lost)).status_code == 200
    unanswered = 0
    for _ in range(200):
        try:
            await http.post(MESSAGES, data=SMS, auth=("AC0", "t"))
        except httpx.HTTPError:
            unanswered += 1
    assert 0 < unanswered < 20
    assert (await http.get("/control/counts")).json()["twilio"] == 200


@pytest.mark.parametrize(
    "query", ["", "?provider=&since=", "?provider=twilio&since=", "?provider=&since=0", "?since=1", "?provider=waha"]
)
async def test_what_was_accepted_is_listed_as_the_page_writes_it(http, query):
    await http.post(MESSAGES, data=SMS, auth=("AC0", "t"))
    answer = await http.get(f"/control/accepted{query}")
    assert (answer.status_code, len(answer.json())) == (200, 0 if "since=1" in query or "waha" in query else 1)


@pytest.mark.parametrize("query", ["?since=x", "?since=-1", "?since=1.5", "?provider=whatsapp", "?provider=WAHA"])
async def test_a_wrong_query_is_refused_with_what_is_allowed(http, query):
    answer = await http.get(f"/control/accepted{query}")
    assert answer.status_code == 400
    assert "allowed" in answer.json()["error"]


@pytest.mark.parametrize(
    ("rule", "named"),
    [
        ({"colour": "red"}, "colour"),
        ({"provider": "whatsapp"}, "provider"),
        ({"what": "sends"}, "what"),
        ({"to": 7}, "to"),
        ({"probability": "0.5"}, "probability"),
        ({"probability": 2}, "probability"),
        ({"probability": True}, "probability"),
        ({"times": -1}, "times"),
        ({"times": "3"}, "times"),
        ({"times": 1.5}, "times"),
        ({"delay_ms": "1s"}, "delay_ms"),
        ({"delay_ms": -5}, "delay_ms"),
        ({"status": "503"}, "status"),
        ({"status": 42}, "status"),
        ({"status": True}, "status"),
        ({"drop": "sometimes"}, "drop"),
        ({"drop": True}, "drop"),
        ({"status_after": 999}, "status_after"),
        ({"limit": -1}, "limit"),
        ({"limit": 2, "per_ms": 0}, "per_ms"),
        ({"headers": ["a"]}, "headers"),
        ({"headers": {"Retry-After": 7}}, "headers"),
        ({"headers": {"X": "a\r\nY: b"}}, "headers"),
        ({"answer": "nonsense"}, "answer"),
        ({"answer": "page", "accept": "yes"}, "accept"),
        ({"provider": "twilio", "status": 400, "code": "rate_limit"}, "code"),
        ({"seed": "a"}, "seed"),
        ([], "object"),
        ("x", "object"),
    ],
)
async def test_a_wrong_rule_is_refused_by_name_and_does_nothing(http, rule, named):
    answer = await http.post("/control/rules", json=rule)
    assert answer.status_code == 400
    assert named in answer.json()["error"]
    assert (await http.post(MESSAGES, data=SMS, auth=("AC0", "t"))).status_code == 201


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("rules", b"{"),
        ("rules", b""),
        ("rules", b"\xff"),
        ("session", b"{}"),
        ("session", b'{"session": ""}'),
        ("session", b"[]"),
        ("session", b'{"session": "a", "engine": "noweb"}'),
        ("session", b'{"session": "a", "color": 1}'),
        ("settings", b'{"clock": 1}'),
        ("settings", b'{"clock_offset_ms": "1s"}'),
        ("settings", b'{"listing_delay_ms": 1e99}'),
    ],
)
async def test_whatever_else_is_told_wrongly_is_refused(http, path, told):
    answer = await http.post(f"/control/{path}", content=told)
    assert answer.status_code == 400
    assert answer.json()["error"]


@pytest.mark.parametrize("name", ["page", "error", "other", "false", "empty", "cut", "list"])
async def test_it_says_what_no_provider_says(http, name):
    sends = [
        ("waha", "/waha/api/sendText", {"json": TEXT, "headers": KEY}, 201),
        ("resend", "/resend/emails", {"json": MAIL, "headers": BEARER}, 200),
        ("twilio", MESSAGES, {"data": SMS, "auth": ("AC0", "t")}, 201),
    ]
    for accept in (False, True):
        await http.post("/control/rules", json={"answer": name, "accept": accept})
        for _, path, said, status in sends:
            answer = await http.post(path, **said)
            assert answer.status_code == status
            assert "SM" not in answer.text
        counts = (await http.get("/control/counts")).json()
        assert counts == ({"waha": 1, "resend": 1, "twilio": 1} if accept else {})
        await http.delete("/control/rules")
    await http.post("/control/rules", json={"answer": name, "what": "ask", "status": 404})
    for path in (MESSAGES, "/waha/api/default/chats/1/messages", "/waha/api/default/chats/all/messages/1"):
        assert (await http.get(path, headers=KEY)).status_code == 404
