"""What an answer proves: only a provider's own success is `sent`, only its own list says that nothing is there, and errors speak."""

from __future__ import annotations

from dataclasses import replace

import httpx
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.channels.email import verdict as email
from pipeline.channels.http import HttpAnswer
from pipeline.channels.sms import resolve as sms_resolve
from pipeline.channels.sms import verdict as sms
from pipeline.channels.whatsapp import payload, resolve, verdict
from pipeline.channels.words import MOST, words
from pipeline.domain import value
from pipeline.domain.verdict import Absent, AskLater, Paused, Refused, Rejected, Sent, Split, Unknown
from pipeline.domain.work import Channel, Claim, Content, Request, Work

T0 = 1_790_000_000_000
HANDLE = "3EB0ABCDEF"
SID = "SM" + "0a" * 16
PAGE = b"<!DOCTYPE html><html><head><title>Sign in</title></head><body><h1>Free WiFi</h1></body></html>"


def answer(status, body=None, **headers):
    raw = body if isinstance(body, bytes) else b"" if body is None else orjson.dumps(body)
    return HttpAnswer(status, httpx.Headers({name.replace("_", "-"): value for name, value in headers.items()}), raw)


JUDGES = {
    "waha": lambda said: verdict.judge(said, HANDLE, T0),
    "resend": lambda said: email.judge(said, 2, T0),
    "twilio": lambda said: sms.judge(said, T0),
}
OWN = {
    "waha": {"key": {"remoteJid": "1@s.whatsapp.net", "fromMe": True, "id": HANDLE}, "status": "PENDING"},
    "resend": {"data": [{"id": "a"}, {"id": "b"}]},
    "twilio": {"sid": SID, "status": "queued", "error_code": None, "error_message": None},
}

# --- sent ------------------------------------------------------------------------------------------------------------

NOBODYS = [
    PAGE,
    b"",
    b"   ",
    b"OK",
    b"null",
    b"true",
    b"0",
    b'"sent"',
    b"{}",
    b"[]",
    b'{"status":"ok"}',
    b'{"message":"success"}',
    b'{"data":',
    b'{"sid":"SM0a0a',
    b'{"id":7}',
    b'{"id":{}}',
    b'{"id":""}',
    b'{"result":{"id":"x"}}',
    b"\x1f\x8b\x08\x00",
    b"\xff\xfe",
]


@pytest.mark.parametrize("name", JUDGES)
@pytest.mark.parametrize("status", [200, 201, 202, 204])
def test_only_the_providers_own_success_is_sent(name, status):
    assert isinstance(JUDGES[name](answer(status, OWN[name])), Sent)
    for other, own in OWN.items():
        if other != name:
            assert isinstance(JUDGES[name](answer(status, own)), Unknown), other
    for body in NOBODYS:
        said = JUDGES[name](answer(status, body))
        assert isinstance(said, Unknown), body
        assert not said.refused, "it was not the provider that answered"


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("waha", {"key": {"remoteJid": "1@s.whatsapp.net", "fromMe": False, "id": HANDLE}}),
        ("waha", {"key": {"fromMe": True}}),
        ("waha", {"id": "false_1@c.us_3EB0AA"}),
        ("waha", {"id": "true_nobody_3EB0AA"}),
        ("waha", {"id": "hello"}),
        ("waha", {"id": "true_1@c.us_"}),
        ("waha", {"id": "<html>"}),
        ("resend", {"data": [{"id": "a"}]}),
        ("resend", {"data": [{"id": "a"}, {"id": "b"}, {"id": "c"}]}),
        ("resend", {"data": [{"id": "a"}, {"id": "a"}]}),
        ("resend", {"data": [{"id": "a"}, {"id": 7}]}),
        ("resend", {"data": [{"id": "a"}, {"id": ""}]}),
        ("resend", {"data": [{"id": "a"}, "b"]}),
        ("resend", {"data": {"id": "a"}}),
        ("twilio", {"sid": "SM1"}),
        ("twilio", {"sid": None}),
        ("twilio", {"sid": "AC" + "0a" * 16}),
        ("twilio", {"sid": SID + "0"}),
        ("twilio", {"sid": [SID]}),
        ("twilio", {"sid": SID.replace("a", "g")}),
    ],
)
def test_a_success_of_the_wrong_form_is_unknown(name, change):
    assert isinstance(JUDGES[name](answer(201, {**OWN[name], **change} if name != "waha" else change)), Unknown)


@pytest.mark.parametrize(
    ("name", "body", "expected", "code"),
    [
        ("waha", {"error": "boom"}, Refused, "201"),
        ("waha", False, Refused, "201"),
        ("waha", {"success": False}, Refused, "201"),
        ("waha", {"statusCode": 400, "message": "bad chatId"}, Rejected, "201"),
        ("waha", {"statusCode": 401, "message": "Unauthorized"}, Paused, "201"),
        ("waha", {"statusCode": 500, "exception": {"message": "boom"}}, Unknown, "201"),
        (
            "waha",
            {"error": "Session status is not as expected.", "expected": ["WORKING"], "status": "FAILED"},
            Paused,
            "201",
        ),
        ("waha", {"error": "Session 'default' does not exist"}, Paused, "201"),
        (
            "waha",
            {"code": "463", "blocked": True, "reason": "account_restricted", "error": "reachout timelock"},
            Paused,
            "201",
        ),
        ("waha", {"errors": [{"message": "boom"}]}, Refused, "201"),
        ("waha", {"exception": {"message": "boom"}}, Refused, "201"),
        ("resend", {"error": "boom"}, Refused, "201"),
        ("resend", False, Refused, "201"),
        ("resend", {"statusCode": 422, "name": "validation_error", "message": "bad to"}, Split, "validation_error"),
        (
            "resend",
            {"statusCode": 403, "name": "validation_error", "message": "not verified"},
            Paused,
            "validation_error",
        ),
        (
            "resend",
            {"data": None, "error": {"statusCode": 401, "name": "missing_api_key", "message": "no"}},
            Paused,
            "missing_api_key",
        ),
        ("resend", {"statusCode": 500, "message": "boom"}, Unknown, "201"),
        (
            "resend",
            {"statusCode": 429, "name": "daily_quota_exceeded", "message": "no"},
            Paused,
            "daily_quota_exceeded",
        ),
        ("twilio", {"error": "boom"}, Refused, "201"),
        ("twilio", False, Refused, "201"),
        ("twilio", {"status": "failed"}, Refused, "201"),
        ("twilio", {"code": 21211, "message": "Invalid 'To'", "status": 400}, Rejected, "21211"),
        ("twilio", {"code": 20003, "message": "Authenticate", "status": 401}, Paused, "20003"),
        ("twilio", {"code": 20500, "message": "oops", "status": 500}, Unknown, "20500"),
        (
            "twilio",
            {"sid": SID, "status": "failed", "error_code": 30007, "error_message": "filtered"},
            Rejected,
            "30007",
        ),
        ("twilio", {"sid": SID, "status": "failed", "error_code": 30001}, Refused, "30001"),
        ("twilio", {"sid": SID, "status": "failed", "error_code": 30034}, Paused, "30034"),
        ("twilio", {"sid": SID, "status": "undelivered", "error_code": None}, Rejected, "201"),
        ("twilio", {"sid": SID, "status": "canceled"}, Rejected, "201"),
        ("twilio", {"error": {"code": 21610, "message": "STOP"}}, Rejected, "21610"),
    ],
)
def test_a_success_that_says_failure_inside_it_is_a_refusal_by_its_content(name, body, expected, code):
    said = JUDGES[name](answer(201, body))
    assert (type(said), said.code) == (expected, code)


@pytest.mark.parametrize("trouble", [{"error": "boom"}, {"ack": -1}, {"status": "ERROR"}])
def test_a_message_with_an_error_beside_it_is_asked_about(trouble):
    said = verdict.judge(answer(201, {**OWN["waha"], **trouble}), HANDLE, T0)
    assert (type(said), said.refused) == (Unknown, True)


def test_a_batch_of_which_a_part_was_taken_is_asked_about():
    body = {"data": [{"id": "a"}], "errors": [{"index": 1, "message": "bad to"}]}
    assert not isinstance(email.judge(answer(200, body), 2, T0), Sent)


# --- the account's or the touch's ------------------------------------------------------------------------------------

DOMAIN = "The example.com domain is not verified. Please, add and verify your domain on https://resend.com/domains"


@pytest.mark.parametrize(
    ("name", "status", "body", "cure"),
    [
        ("resend", 403, {"statusCode": 403, "name": "validation_error", "message": DOMAIN}, "verify the domain"),
        ("resend", 401, {"statusCode": 401, "name": "missing_api_key", "message": "m"}, "api_key"),
        ("resend", 401, {"statusCode": 401, "name": "restricted_api_key", "message": "m"}, "permission"),
        ("resend", 403, {"statusCode": 403, "name": "suspended_api_key", "message": "m"}, "new key"),
        ("resend", 403, {"statusCode": 403, "name": "invalid_api_key", "message": "m"}, "api_key"),
        ("resend", 422, {"statusCode": 422, "name": "invalid_from_address", "message": "m"}, "`from`"),
        (
            "resend",
            422,
            {"statusCode": 422, "name": "validation_error", "message": "Invalid `from` field. It needs to be ..."},
            "domain",
        ),
        ("resend", 402, {"message": "m"}, "bill"),
        ("resend", 407, PAGE, "proxy"),
        ("resend", 308, PAGE, "base_url"),
        ("resend", 429, {"name": "monthly_quota_exceeded", "message": "m"}, "quota"),
        ("twilio", 401, {"code": 20003, "message": "Authenticate"}, "auth_token"),
        ("twilio", 403, {"code": 20005, "message": "m"}, "not active"),
        ("twilio", 404, {"code": 20404, "message": "m"}, "account_sid"),
        ("twilio", 400, {"code": 21212, "message": "m"}, "`from`"),
        ("twilio", 400, {"code": 21606, "message": "m"}, "`from`"),
        ("twilio", 400, {"code": 21408, "message": "m"}, "Geo permissions"),
        ("twilio", 400, {"code": 21608, "message": "m"}, "trial"),
        ("twilio", 400, {"code": 21703, "message": "m"}, "Messaging Service"),
        ("twilio", 400, {"code": 30034, "message": "m"}, "register"),
        ("twilio", 402, {"message": "m"}, "billing"),
        ("twilio", 307, None, "base_url"),
        ("waha", 401, {"message": "Unauthorized", "statusCode": 401}, "api_key"),
        ("waha", 404, PAGE, "base_url"),
        ("waha", 422, {"error": "Session 'x' does not exist"}, "session"),
        ("waha", 301, PAGE, "base_url"),
    ],
)
def test_a_fault_of_the_account_pauses_the_lane_and_says_what_to_do(name, status, body, cure):
    said = JUDGES[name](answer(status, body))
    assert isinstance(said, Paused)
    assert cure in said.error
    assert "\n" not in said.error


def test_a_mixed_batch_is_taken_apart_when_one_of_its_senders_addresses_is_refused():
    said = answer(403, {"statusCode": 403, "name": "validation_error", "message": DOMAIN})
    assert isinstance(email.judge(said, 2, T0, is_mixed=True), Split)
    assert not email.judge(said, 2, T0).may_be_the_touch


@pytest.mark.parametrize("name", JUDGES)
@pytest.mark.parametrize("status", [400, 409, 418, 422, 426, 451])
def test_a_refusal_in_the_words_of_a_proxy_is_nobodys_until_others_are_sent(name, status):
    said = JUDGES[name](answer(status, PAGE))
    assert isinstance(said, Paused | Unknown)  # 409 at Resend may be the key that is still running
    assert isinstance(said, Unknown) or said.may_be_the_touch
    assert "Sign in; Free WiFi" in said.error


# --- look-ups --------------------------------------------------------------------------------------------------------

WORK = Work("t", "c", "l", Channel.WHATSAPP, "+12125550123", "default", False, Content(body="hi"), b"d" * 16, 0)
CLAIM = Claim("c1", (WORK,), payload.build([WORK], "c1", "default", "NOWEB"), T0, T0 + 5_000)
BY_ID = resolve.question(CLAIM)
FORM = b"To=%2B12125550123&From=%2B15005550006&Body=hi"
BY_LIST = sms_resolve.question(
    value.replace(CLAIM, request=Request("/2010-04-01/Accounts/AC1/Messages.json", FORM, "x", ""))
)
NOT_FOUND = {"message": "Message not found", "error": "Not Found", "statusCode": 404}


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (404, NOT_FOUND, Absent),
        (404, {"message": "Not Found", "statusCode": 404}, Absent),
        (404, {"message": "Message 3EB0 was not found in the store"}, Absent),
        (404, {"message": "Not Found"}, AskLater),
        (404, {"error": "not found"}, AskLater),
        (404, {"detail": "Not Found"}, AskLater),
        (404, {"message": "Route GET:/api/default/chats not found", "error": "Not Found", "statusCode": 404}, AskLater),
        (404, {"message": "Cannot GET /api/default/chats", "error": "Not Found", "statusCode": 404}, AskLater),
        (404, {"message": "no Route matched with those values"}, AskLater),
        (404, {"message": "Session not found", "statusCode": 404}, AskLater),
        (404, PAGE, AskLater),
        (404, b"404 page not found", AskLater),
        (404, b"", AskLater),
        (404, b"null", AskLater),
        (404, [NOT_FOUND], AskLater),
        (410, NOT_FOUND, AskLater),
        (200, NOT_FOUND, AskLater),
        (200, PAGE, AskLater),
        (200, b"", AskLater),
        (200, b"null", AskLater),
        (200, b"[]", AskLater),
        (200, {"error": "boom"}, AskLater),
        (200, {"id": "true_1@c.us_3EB0OTHER"}, AskLater),
        (302, PAGE, AskLater),
        (403, NOT_FOUND, AskLater),
        (500, NOT_FOUND, AskLater),
        (200, {"id": BY_ID.handle}, Sent),
        (200, {"id": f"true_1@c.us_{BY_ID.handle}"}, Sent),
        (200, {"id": f"true_1@c.us_{BY_ID.handle}", "ack": -1}, Refused),
    ],
)
def test_only_wahas_own_word_says_that_a_message_is_not_there(status, body, expected):
    said = resolve.judge_id(answer(status, body), BY_ID)
    assert type(said) is expected
    if isinstance(said, AskLater):
        assert f"HTTP {status}" in said.error


MESSAGE = {"id": "true_12125550123@c.us_3EB0", "timestamp": T0 // 1000, "fromMe": True, "body": "hi"}


@pytest.mark.parametrize(
    ("status", "body", "is_list"),
    [
        (200, [], True),
        (200, [MESSAGE], True),
        (200, [{**MESSAGE, "body": None}], True),
        (200, [{**MESSAGE, "fromMe": False}], True),
        (200, PAGE, False),
        (200, b"", False),
        (200, b"null", False),
        (200, {}, False),
        (200, {"error": "boom"}, False),
        (200, [1], False),
        (200, [{"error": "boom"}], False),
        (200, [None], False),
        (200, ["x"], False),
        (200, [[]], False),
        (200, [MESSAGE, {}], False),
        (200, [{**MESSAGE, "fromMe": "yes"}], False),
        (200, {"messages": []}, False),
        (404, [], False),
        (302, [], False),
        (500, [MESSAGE], False),
    ],
)
def test_only_wahas_own_list_is_read(status, body, is_list):
    assert (resolve.page_of(answer(status, body)) is not None) is is_list


def test_a_message_that_whatsapp_did_not_take_is_refused_unless_another_was_taken():
    failed = {**MESSAGE, "ack": -1, "ackName": "ERROR"}
    other = {**MESSAGE, "id": "true_12125550123@c.us_3EB1"}
    asked = replace(BY_ID, handle="")
    assert isinstance(resolve.first_match([failed], asked, frozenset()), Refused)
    assert resolve.first_match([failed, other], asked, frozenset()) == Sent(("3EB1",))


LISTED = {
    "sid": SID,
    "to": "+12125550123",
    "from": "+15005550006",
    "direction": "outbound-api",
    "body": "hi",
    "status": "queued",
    "date_created": "Mon, 21 Sep 2026 14:13:20 +0000",
}


@pytest.mark.parametrize(
    ("status", "body", "is_list"),
    [
        (200, {"messages": []}, True),
        (200, {"messages": [LISTED], "next_page_uri": None, "page": 0}, True),
        (200, {"messages": [{**LISTED, "body": None}], "next_page_uri": "/more"}, True),
        (200, {"meta": {"key": "messages"}, "messages": []}, True),
        (200, PAGE, False),
        (200, b"", False),
        (200, b"null", False),
        (200, [], False),
        (200, {}, False),
        (200, {"error": []}, False),
        (200, {"records": []}, False),
        (200, {"messages": {}}, False),
        (200, {"messages": None}, False),
        (200, {"messages": 7}, False),
        (200, {"messages": [{}]}, False),
        (200, {"messages": [{"error": "x"}]}, False),
        (200, {"messages": [LISTED, None]}, False),
        (200, {"messages": [{**LISTED, "sid": "x"}]}, False),
        (200, {"messages": [{**LISTED, "to": 7}]}, False),
        (200, {"messages": [], "next_page_uri": 7}, False),
        (200, {"messages": [], "error": "boom"}, False),
        (200, {"messages": [], "code": 20003, "status": 401}, False),
        (404, {"messages": []}, False),
        (302, {"messages": []}, False),
    ],
)
def test_only_twilios_own_list_is_read(status, body, is_list):
    assert (sms_resolve.page_of(answer(status, body)) is not None) is is_list


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, Sent((SID,))),
        ({"status": "undelivered", "error_code": 30003}, Sent((SID,))),
        ({"status": "delivered"}, Sent((SID,))),
        ({"status": "failed", "error_code": 30007, "error_message": "filtered"}, Rejected("30007", "failed: filtered")),
        ({"status": "failed", "error_code": 30001}, Absent()),
        ({"status": "failed", "error_code": 30034}, Absent()),
        ({"status": "canceled", "error_code": None}, Absent()),
        ({"date_created": None}, Sent((SID,))),
        ({"date_created": "soon"}, Sent((SID,))),
        ({"date_created": "Mon, 21 Sep 2026 14:13:10 +0000"}, Absent()),
    ],
)
def test_a_message_that_twilio_gave_up_itself_was_not_sent(change, expected):
    assert sms_resolve.first_match([{**LISTED, **change}], BY_LIST, frozenset()) == expected


def test_of_two_the_one_that_was_not_given_up_counts():
    failed = {**LISTED, "sid": "SM" + "0b" * 16, "status": "failed", "error_code": 30007}
    assert sms_resolve.first_match([failed, LISTED], BY_LIST, frozenset()) == Sent((SID,))


# --- words -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"message": "no such number"}, "no such number"),
        ({"error": "boom"}, "boom"),
        (
            {"statusCode": 500, "exception": {"name": "Error", "message": "rate-overlimit", "stack": "at secret"}},
            "rate-overlimit",
        ),
        (
            {"type": "about:blank", "title": "Forbidden", "status": 403, "detail": "no permission for +44"},
            "Forbidden; no permission for +44",
        ),
        (
            {"title": "Bad", "errors": [{"detail": "to is empty"}, {"message": "body is empty"}]},
            "Bad; to is empty; body is empty",
        ),
        (
            {"message": ["a must be text", "b must be short"], "error": "Bad Request", "statusCode": 400},
            "a must be text; b must be short; Bad Request",
        ),
        ({"error": {"message": "deep", "code": 7}}, "deep"),
        ({"errors": ["x", "y"]}, "x; y"),
        ({"error": {"code": "E42"}}, "E42"),
        ({"name": "validation_error"}, "validation_error"),
        ("just text", "just text"),
        (["one", {"message": "two"}], "one; two"),
        ({"message": "same", "error": "same"}, "same"),
        ({"message": "two\nlines\there\x00"}, "two lines here"),
        (False, "false"),
        ({"error_description": "expired"}, "expired"),
        ({"errors": {"to": "x", "message": "y"}}, "y"),
        (PAGE, "Sign in; Free WiFi"),
        (
            b"<html><head><title>502 Bad Gateway</title></head><body><center><h1>502 Bad Gateway</h1></center></body>",
            "502 Bad Gateway",
        ),
        (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code><Message>No</Message></Error>", "AccessDenied No"),
        (b"<script>var a=1</script><style>p{}</style><p>Down for maintenance", "Down for maintenance"),
        (b"upstream connect error", "upstream connect error"),
        (b"error code: 1010", "error code: 1010"),
        (b"", ""),
        (b"{}", ""),
        (b"null", "null"),
        (b"\xff\xfe\x00", "\N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}"),
    ],
)
def test_an_error_has_the_providers_own_words(body, expected):
    assert words(answer(500, body)) == expected


@pytest.mark.parametrize("name", JUDGES)
@pytest.mark.parametrize("status", [200, 400, 401, 403, 422, 429, 500, 503])
@pytest.mark.parametrize(
    "body",
    [
        {"exception": {"message": "the reason"}},
        {"title": "the reason", "detail": "more"},
        {"errors": [{"message": "the reason"}]},
        {"message": ["the reason"]},
        b"<title>the reason</title>",
        b"the reason",
    ],
)
def test_whatever_form_an_error_has_its_words_are_in_the_verdict(name, status, body):
    assert "the reason" in JUDGES[name](answer(status, body)).error


def test_an_error_never_repeats_the_request():
    body = {
        "statusCode": 500,
        "exception": {"message": "boom", "data": {"text": "hello"}},
        "request": {"body": {"text": "hello"}},
        "data": "hello",
        "body": "hello",
    }
    assert "hello" not in verdict.judge(answer(500, body), HANDLE, T0).error


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(max_size=400),
        lambda inner: (
            st.lists(inner, max_size=6)
            | st.dictionaries(st.sampled_from(["message", "error", "errors", "exception", "title"]), inner)
        ),
        max_leaves=20,
    )
    | st.binary(max_size=2_000)
)
def test_words_are_one_short_line_whatever_is_answered(body):
    said = words(answer(500, body))
    assert len(said) <= MOST
    assert said == "" or said.isprintable()
