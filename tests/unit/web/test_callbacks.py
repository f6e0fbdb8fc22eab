"""The public application of the web process: which callback is answered how, and that nothing is taken before the last check."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import logging

import orjson
import pytest
from yarl import URL

from pipeline.domain.fact import FactKind
from pipeline.web import public as public_module
from tests.unit.web.conftest import NOW_MS, PUBLIC_URL, resend_event, svix, twilio_form, waha, waha_event

RESEND, WAHA = "/callbacks/resend/main", "/callbacks/waha/wa"
STATUS, INBOUND = "/callbacks/twilio/ma%2Fin/status", "/callbacks/twilio/ma%2Fin/inbound"


async def post(client, path: str, headers, body: bytes = b""):
    return await client.post(URL(path, encoded=True), headers=headers, data=body)


def counted(metrics, provider: str, result: str) -> float:
    return metrics.registry.get_sample_value("pipeline_callbacks_total", {"provider": provider, "result": result})


async def test_each_provider_is_answered_as_it_expects_once_it_is_taken(public, intake, metrics):
    body = resend_event()
    answer = await post(public, RESEND, svix(body), body)
    assert (answer.status, await answer.read()) == (200, b"")
    body = waha_event()
    answer = await post(public, WAHA, waha(body), body)
    assert (answer.status, await answer.read()) == (200, b"")
    answer = await post(public, STATUS, *twilio_form(STATUS))
    assert (answer.status, await answer.read()) == (204, b"")
    answer = await post(public, INBOUND, *twilio_form(INBOUND, From="+12125550001", Body="Stop."))
    assert (answer.status, answer.content_type, await answer.read()) == (200, "text/xml", b"<Response/>")
    assert [(each.sender, each.kind) for each in intake.taken] == [
        ("main", FactKind.DELIVERED),
        ("wa", FactKind.DELIVERED),
        ("ma/in", FactKind.DELIVERED),
        ("ma/in", None),
    ]
    assert [counted(metrics, provider, "taken") for provider in ("resend", "waha", "twilio")] == [1, 1, 2]
    labels = {"provider": "twilio", "sender": "ma/in"}
    assert metrics.registry.get_sample_value("pipeline_last_callback_timestamp_seconds", labels) == NOW_MS / 1000


async def test_an_answer_says_nothing_of_the_software(public):
    body = resend_event()
    assert "Server" not in (await post(public, RESEND, svix(body), body)).headers


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/live",
        "/metrics",
        "/callbacks",
        "/callbacks/resend",
        "/callbacks/resend/",
        "/callbacks/resend/other",
        "/callbacks/resend/main/",
        "/callbacks/resend/main/status",
        "/callbacks/Resend/main",
        "/callbacks/twilio/silent/status",
        "/callbacks/twilio/ma/in/status",
        "/callbacks/twilio/ma%2Fin",
        "/callbacks/waha/wa%00",
        "/callbacks/waha/%ff",
    ],
)
async def test_what_is_not_there_is_404_whatever_the_method(public, path):
    for method in ("GET", "POST", "PUT"):
        answer = await public.request(method, URL(path, encoded=True))
        assert (answer.status, await answer.read()) == (404, b"")


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH"])
async def test_another_method_is_405(public, method):
    answer = await public.request(method, URL(STATUS, encoded=True))
    assert (answer.status, answer.headers["Allow"]) == (405, "POST")


async def test_a_name_may_be_percent_encoded_in_any_way(public, intake):
    for path in ("/callbacks/twilio/ma%2fin/status", "/callbacks/twilio/%6da%2Fin/status"):
        assert (await post(public, path, *twilio_form(path))).status == 204
    assert len(intake.taken) == 2


async def test_only_public_url_and_the_path_as_received_are_signed(public, intake):
    path = STATUS + "?a=%2f&b=%C3%A9&a=1"
    headers, body = twilio_form(path)
    for more in ({}, {"Host": "evil.example"}, {"X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "http"}):
        assert (await post(public, path, {**headers, **more}, body)).status == 204
    forwarded = "https://evil.example"
    headers, body = twilio_form(path, public_url=forwarded)
    named = {"Host": "evil.example", "X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "https"}
    assert (await post(public, path, {**headers, **named}, body)).status == 403
    for other in (STATUS + "?a=/&b=%C3%A9&a=1", STATUS + "?b=%C3%A9&a=%2f&a=1", STATUS):
        assert (await post(public, other, *twilio_form(path))).status == 403
    assert len(intake.taken) == 3


def _old_waha():
    event = {**orjson.loads(waha_event()), "timestamp": NOW_MS - 31 * 86_400_000}
    body = orjson.dumps(event)
    return waha(body), body


FORGED = {
    "resend, no signature": (RESEND, lambda: ({}, resend_event())),
    "resend, altered": (RESEND, lambda: (svix(resend_event()), resend_event("bounced"))),
    "resend, too old": (RESEND, lambda: (svix(resend_event(), at_s=NOW_MS // 1000 - 301), resend_event())),
    "resend, too far ahead": (RESEND, lambda: (svix(resend_event(), at_s=NOW_MS // 1000 + 301), resend_event())),
    "resend, another secret": (RESEND, lambda: (svix(resend_event(), secret="whsec_AAAA"), resend_event())),
    "resend, no body": (RESEND, lambda: (svix(resend_event()), b"")),
    "resend, compressed": (RESEND, lambda: ({**svix(resend_event()), "Content-Encoding": "gzip"}, gzip.compress(resend_event()))),
    "waha, no signature": (WAHA, lambda: ({}, waha_event())),
    "waha, another key": (WAHA, lambda: (waha(waha_event(), b"other"), waha_event())),
    "waha, another session": (WAHA, lambda: (waha(waha_event("s2")), waha_event("s2"))),
    "waha, too old": (WAHA, _old_waha),
    "twilio, no signature": (STATUS, lambda: ({}, twilio_form(STATUS)[1])),
    "twilio, another token": (STATUS, lambda: twilio_form(STATUS, "other")),
    "twilio, another path": (STATUS, lambda: twilio_form(INBOUND)),
    "twilio, another account": (STATUS, lambda: twilio_form(STATUS, AccountSid="AC2")),
    "twilio, altered": (STATUS, lambda: (twilio_form(STATUS)[0], twilio_form(STATUS, MessageStatus="failed")[1])),
    "twilio, json without its hash": (STATUS, lambda: ({**twilio_form(STATUS)[0], "Content-Type": "application/json"}, b"{}")),
    "twilio, wrong content type": (STATUS, lambda: ({**twilio_form(STATUS)[0], "Content-Type": "application/json"}, twilio_form(STATUS)[1])),
    "twilio, no UTF-8": (STATUS, lambda: (twilio_form(STATUS)[0], b"a=%ff\xff")),
    "twilio, no body": (STATUS, lambda: (twilio_form(STATUS)[0], b"")),
}  # fmt: skip


@pytest.mark.parametrize("name", FORGED)
async def test_what_is_not_authentic_is_403_and_not_taken(public, intake, metrics, name):
    path, made = FORGED[name]
    answer = await post(public, path, *made())
    assert (answer.status, await answer.read(), intake.taken) == (403, b"", [])
    assert counted(metrics, name.partition(",")[0], "refused") == 1


DEEP = b'{"type":' + b"[" * 1_000 + b"]" * 1_000 + b"}"
UNREADABLE = {
    "no json": b"stop",
    "no object": b"[1]",
    "no utf-8": b'{"type": "\xff"}',
    "a thousand deep": DEEP,
    "too deep to parse": b"[" * 100_000,
    "nothing": b"",
}


@pytest.mark.parametrize("name", UNREADABLE)
async def test_what_is_signed_and_cannot_be_read_is_400_and_not_taken(public, intake, metrics, name):
    body = UNREADABLE[name]
    assert (await post(public, RESEND, svix(body), body)).status == 400
    assert (await post(public, WAHA, waha(body), body)).status == 400
    assert (intake.taken, counted(metrics, "waha", "refused")) == ([], 1)


async def test_signed_json_of_twilio_is_read_and_a_broken_one_is_400(public, intake):
    token_form = {"AccountSid": "AC1", "MessageSid": "SM1", "MessageStatus": "read"}
    for body, status in ((orjson.dumps(token_form), 204), (b"{", 400), (b"[]", 400)):
        path = f"{STATUS}?bodySHA256={hashlib.sha256(body).hexdigest()}"
        from twilio.request_validator import RequestValidator  # noqa: PLC0415

        signature = RequestValidator("token").compute_signature(PUBLIC_URL + path, {})
        headers = {"X-Twilio-Signature": signature, "Content-Type": "application/json"}
        assert (await post(public, path, headers, body)).status == status
    assert [each.kind for each in intake.taken] == [FactKind.READ]


async def test_what_says_nothing_new_is_answered_as_taken_and_counted(public, intake, metrics):
    for body in (resend_event("sent"), resend_event("a_future_event"), b'{"test": 2432232314}', b"{}"):
        assert (await post(public, RESEND, svix(body), body)).status == 200
    assert (await post(public, STATUS, *twilio_form(STATUS, MessageStatus="tumbling"))).status == 204
    body = orjson.dumps({"event": "session.status", "session": "s1", "payload": {"status": "FAILED"}})
    assert (await post(public, WAHA, waha(body), body)).status == 200
    assert intake.taken == []
    assert [counted(metrics, each, "ignored") for each in ("resend", "twilio", "waha")] == [4, 1, 1]


async def test_a_body_over_256_kib_is_413_announced_or_not(public, intake, metrics):
    async def drops(size):
        for _ in range(size // 1024):
            yield b"x" * 1024

    assert (await post(public, RESEND, {}, b"x" * (10 * 1024 * 1024))).status == 413
    answer = await public.post(RESEND, data=drops(300 * 1024))
    assert (answer.status, intake.taken, counted(metrics, "resend", "refused")) == (413, [], 2)
    largest = orjson.dumps({"type": "email.sent", "data": {"pad": "x" * 200_000}}).ljust(256 * 1024)
    assert (await post(public, RESEND, svix(largest), largest)).status == 200


async def test_a_body_that_drips_is_408_and_nobody_waits_for_it(public, intake, monkeypatch):
    monkeypatch.setattr(public_module, "BODY_S", 0.3)
    over = asyncio.Event()

    async def drips():
        yield b"{"
        await over.wait()

    dripping = asyncio.ensure_future(public.post(RESEND, data=drips(), headers=svix(b"{")))
    body = resend_event()
    assert (await post(public, RESEND, svix(body), body)).status == 200
    async with asyncio.timeout(20):
        assert (await dripping).status == 408
    over.set()
    assert len(intake.taken) == 1


async def test_a_caller_who_hangs_up_leaves_nothing_and_no_complaint(public, intake, caplog):
    reader, writer = await asyncio.open_connection("127.0.0.1", public.port)
    writer.write(f"POST {RESEND} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{{".encode())
    await writer.drain()
    writer.close()
    body = resend_event()
    assert (await post(public, RESEND, svix(body), body)).status == 200
    assert len(intake.taken) == 1
    assert [each for each in caplog.records if each.levelno >= logging.WARNING] == []
    del reader


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET / HTTP/1.1\r\nHost: x\r\nX: secret-text\x00\r\n\r\n",
        b"POST /callbacks/resend/main HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nsecret-text\r\n",
        b"POST /callbacks/resend/main HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\nsecret-text",
        b"POST /callbacks/resend/main HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nsecret",
    ],
)
async def test_what_is_no_http_is_refused_and_nothing_of_it_logged(public, intake, caplog, sent):
    reader, writer = await asyncio.open_connection("127.0.0.1", public.port)
    writer.write(sent)
    await writer.drain()
    writer.write_eof()
    async with asyncio.timeout(20):
        answer = await reader.read()
    writer.close()
    assert answer == b"" or answer.split()[1].startswith(b"4")
    assert "secret" not in caplog.text
    assert intake.taken == []


async def test_while_kafka_is_away_it_is_503_and_refused_ones_stay_refused(public, intake, metrics):
    intake.is_away = True
    body = resend_event()
    assert (await post(public, RESEND, svix(body), body)).status == 503
    assert (await post(public, STATUS, *twilio_form(STATUS))).status == 503
    assert (await post(public, RESEND, {}, body)).status == 403
    body = resend_event("sent")
    assert (await post(public, RESEND, svix(body), body)).status == 200
    assert [counted(metrics, "resend", each) for each in ("unavailable", "refused", "ignored")] == [1, 1, 1]


async def test_five_hundred_at_once_are_all_taken(public, intake):
    bodies = [resend_event(email_id=f"e-{number}") for number in range(500)]
    answers = await asyncio.gather(*(post(public, RESEND, svix(body), body) for body in bodies))
    assert {answer.status for answer in answers} == {200}
    assert {each.message_id for each in intake.taken} == {f"e-{number}" for number in range(500)}


async def test_nothing_of_a_body_is_logged(public, intake, caplog):
    caplog.set_level(logging.DEBUG)
    await post(public, INBOUND, *twilio_form(INBOUND, From="+12125550001", Body="a private sentence"))
    body = resend_event("bounced", to=["ada@example.com"], subject="a private subject")
    await post(public, RESEND, svix(body), body)
    assert not any(said in caplog.text for said in ("private", "2125550001", "ada@example"))
