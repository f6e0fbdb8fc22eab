"""Every documented answer of the providers, and what it means."""

from __future__ import annotations

import httpx
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.channels.email import verdict as email
from pipeline.channels.http import HttpAnswer, retry_after_s
from pipeline.channels.sms import verdict as sms
from pipeline.channels.whatsapp import verdict as whatsapp
from pipeline.domain.verdict import Paused, Refused, Rejected, Sent, Split, Unknown

T0 = 1_790_000_000_000


def answer(status, body=None, **headers):
    raw = body if isinstance(body, bytes) else b"" if body is None else orjson.dumps(body)
    return HttpAnswer(status, httpx.Headers({name.replace("_", "-"): value for name, value in headers.items()}), raw)


# --- Resend ----------------------------------------------------------------------------------------------------------

RESEND = [  # HTTP, name, in a batch, alone
    (400, "validation_error", Split, Rejected),
    (400, "invalid_idempotency_key", Split, Rejected),
    (401, "missing_api_key", Paused, Paused),
    (401, "restricted_api_key", Paused, Paused),
    (403, "invalid_api_key", Paused, Paused),
    (403, "suspended_api_key", Paused, Paused),
    (403, "invalid_permission", Paused, Paused),
    (403, "validation_error", Paused, Paused),
    (403, "email_above_quota", Paused, Paused),
    (404, "not_found", Paused, Paused),
    (405, "method_not_allowed", Paused, Paused),
    (409, "invalid_idempotent_request", Sent, Sent),
    (409, "concurrent_idempotent_requests", Unknown, Unknown),
    (409, "resource_locked", Refused, Refused),
    (422, "missing_required_field", Split, Rejected),
    (422, "missing_required_parameter", Split, Rejected),
    (422, "invalid_attachment", Split, Rejected),
    (422, "invalid_parameter", Split, Rejected),
    (422, "invalid_from_address", Paused, Paused),
    (422, "invalid_access", Paused, Paused),
    (422, "invalid_region", Paused, Paused),
    (422, "validation_error", Split, Rejected),
    (429, "rate_limit_exceeded", Paused, Paused),
    (429, "daily_quota_exceeded", Paused, Paused),
    (429, "monthly_quota_exceeded", Paused, Paused),
    (451, "security_error", Paused, Paused),
    (500, "application_error", Unknown, Unknown),
    (500, "internal_server_error", Unknown, Unknown),
    (503, "service_unavailable", Unknown, Unknown),
    (500, "service_unavailable", Unknown, Unknown),
    (400, "something_new", Paused, Paused),
    (401, "something_new", Paused, Paused),
    (403, "something_new", Paused, Paused),
    (409, "something_new", Unknown, Unknown),
    (413, "something_new", Split, Rejected),
    (402, "something_new", Paused, Paused),
    (407, "", Paused, Paused),
    (418, "something_new", Paused, Paused),
    (429, "something_new", Paused, Paused),
    (500, "validation_error", Unknown, Unknown),
    (301, "", Paused, Paused),
    (307, "", Paused, Paused),
    (308, "", Paused, Paused),
    (302, "", Unknown, Unknown),
    (303, "", Unknown, Unknown),
]


@pytest.mark.parametrize(("status", "name", "batch", "alone"), RESEND)
def test_resend(status, name, batch, alone):
    said = answer(status, {"statusCode": status, "name": name, "message": "words"})
    judged = email.judge(said, 100, T0)
    assert type(judged) is batch
    assert type(email.judge(said, 1, T0)) is alone
    if not isinstance(judged, Sent):
        assert judged.code == (name or str(status))
    if isinstance(judged, Unknown):
        assert judged.refused is (status >= 500)


def test_every_name_of_the_resend_table_is_tried():
    assert set(email.NAMES) - {"missing_required_fields"} == {name for _, name, *_ in RESEND} - {"", "something_new"}


def test_resend_names_what_it_accepted_in_order():
    body = {"data": [{"id": "b"}, {"id": "a"}]}
    assert email.judge(answer(200, body), 2, T0) == Sent(("b", "a"))
    assert email.judge(answer(200, {"id": "a"}), 1, T0) == Sent(("a",))


# --- Twilio ----------------------------------------------------------------------------------------------------------

PAUSES = [
    20003,
    20004,
    20005,
    20006,
    20008,
    20010,
    20403,
    20404,
    20429,
    30002,
    30010,
    21611,
    30022,
    60728,
    63017,
    63038,
    21212,
    21603,
    21606,
    21607,
    21609,
    21659,
    21660,
    21661,
    21701,
    21703,
    21704,
    21705,
    30032,
    30033,
    30034,
    30035,
]
STRANGE = [20001, 20002, 30039, 21219, 21408, 21608, 21612]
REJECTS = [
    21211,
    21214,
    21217,
    21265,
    21266,
    21268,
    21421,
    21602,
    21604,
    21610,
    21614,
    21617,
    21618,
    21619,
    21620,
    30003,
    30004,
    30005,
    30006,
    30007,
    30008,
    30450,
    30640,
]
REFUSES = [14107, 30001, 30017, 30023, 30027, 30036, 30610]
MAYBES = [20500, 20503, 30410]
TWILIO = [
    (code, kind)
    for codes, kind in ((PAUSES + STRANGE, Paused), (REJECTS, Rejected), (REFUSES, Refused), (MAYBES, Unknown))
    for code in codes
]


@pytest.mark.parametrize(("code", "kind"), TWILIO)
def test_twilio(code, kind):
    judged = sms.judge(answer(400, {"code": code, "message": "words", "status": 400}), T0)
    assert type(judged) is kind
    assert judged.code == str(code)
    if isinstance(judged, Unknown):
        assert judged.refused
    if isinstance(judged, Paused):
        assert judged.may_be_the_touch is (code in STRANGE)


def test_every_code_of_the_twilio_table_is_tried():
    assert sorted(sms.CODES) == sorted(code for code, _ in TWILIO)


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (401, 20003, Paused),
        (401, None, Paused),
        (403, 99999, Paused),
        (404, 20404, Paused),
        (429, 20429, Paused),
        (429, None, Paused),
        (400, 99999, Paused),
        (400, None, Paused),
        (422, 99999, Paused),
        (402, None, Paused),
        (407, None, Paused),
        (408, None, Unknown),
        (500, 20500, Unknown),
        (503, 20503, Unknown),
        (500, 21211, Unknown),
        (502, None, Unknown),
        (301, None, Paused),
        (302, None, Unknown),
        (303, None, Unknown),
        (308, None, Paused),
        (403, 21408, Paused),
        (403, 21610, Rejected),
    ],
)
def test_twilio_by_class(status, code, kind):
    assert type(sms.judge(answer(status, {"code": code, "message": "m"}), T0)) is kind


def test_a_full_queue_waits_longer_unless_twilio_said():
    assert sms.judge(answer(400, {"code": 21611}), T0).retry_after_s == 60
    assert sms.judge(answer(400, {"code": 21611}, retry_after="5"), T0).retry_after_s == 5


# --- WAHA ------------------------------------------------------------------------------------------------------------

STATE = {
    "error": "Session status is not as expected. Try again later or restart the session",
    "session": "default",
    "status": "SCAN_QR_CODE",
    "expected": ["WORKING"],
}


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (400, {"message": "bad chatId", "statusCode": 400}, Rejected),
        (401, {"message": "Unauthorized", "statusCode": 401}, Paused),
        (403, {"message": "Forbidden"}, Paused),
        (404, {"message": "We didn't find a session with name 'default'", "statusCode": 404}, Paused),
        (404, b"<html>", Paused),
        (408, None, Unknown),
        (413, {"message": "too large"}, Rejected),
        (422, STATE, Paused),
        (422, {"message": 'Session "default" does not exist', "statusCode": 422}, Paused),
        (422, {"message": "no such number", "statusCode": 422}, Rejected),
        (429, None, Paused),
        (500, {"statusCode": 500, "request": {"body": {"text": "hello"}}, "exception": {"message": "boom"}}, Unknown),
        (502, b"<html>", Unknown),
        (503, None, Unknown),
        (301, None, Paused),
        (302, None, Unknown),
        (402, None, Paused),
        (409, {"message": "odd"}, Rejected),
    ],
)
def test_waha(status, body, kind):
    judged = whatsapp.judge(answer(status, body), "3EB0", T0)
    assert type(judged) is kind
    assert judged.code == str(status)
    assert "hello" not in judged.error


def test_every_status_of_the_waha_table_has_a_meaning_and_a_5xx_counts():
    for status in whatsapp.TABLE:
        judged = whatsapp.judge(answer(status, {}), "3EB0", T0)
        assert isinstance(judged, Unknown) is (status == 408 or status >= 500)
        assert not isinstance(judged, Unknown) or judged.refused is (status >= 500)
        if status in whatsapp.CURES and isinstance(judged, Paused):
            assert whatsapp.CURES[status] in judged.error


def test_a_lost_session_is_named():
    assert "SCAN_QR_CODE" in whatsapp.judge(answer(422, STATE), "", T0).error


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"id": "true_12125550123@c.us_3EB0AA", "_data": {}}, "3EB0AA"),
        ({"id": "true_1203@g.us_3EB0AA_555@c.us"}, "3EB0AA"),
        ({"id": "3EB0AA"}, "3EB0AA"),
        ({"key": {"remoteJid": "1@s.whatsapp.net", "fromMe": True, "id": "3EB0AA"}, "status": "PENDING"}, "3EB0AA"),
        ({"id": {"fromMe": True, "remote": "1@c.us", "id": "3EB0AA", "_serialized": "true_1@c.us_3EB0AA"}}, "3EB0AA"),
        ({"id": {"fromMe": True, "remote": "1@c.us", "id": "3EB0AA"}}, "3EB0AA"),
        ({"id": "3EB0OURS"}, "3EB0OURS"),
    ],
)
def test_wahas_201_in_every_engines_form(body, expected):
    assert whatsapp.judge(answer(201, body), "3EB0OURS", T0) == Sent((expected,))


# --- all -------------------------------------------------------------------------------------------------------------

ANSWERS = st.builds(
    answer,
    st.integers(100, 599),
    st.one_of(
        st.binary(max_size=40),
        st.recursive(
            st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(max_size=8),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(
                    st.sampled_from(
                        [
                            "id",
                            "key",
                            "data",
                            "code",
                            "name",
                            "message",
                            "error",
                            "errors",
                            "status",
                            "sid",
                            "_serialized",
                            "exception",
                            "title",
                        ]
                    ),
                    inner,
                )
            ),
            max_leaves=8,
        ),
    ),
)


@given(ANSWERS)
def test_no_answer_however_odd_breaks_a_table_and_only_2xx_or_a_used_key_is_sent(said):
    judged = [
        email.judge(said, 1, T0),
        sms.judge(said, T0),
        whatsapp.judge(said, "", T0),
        whatsapp.judge_session(said, T0),
    ]
    for each in judged[:3]:
        used_key = "invalid_idempotent_request" in repr(said.json())
        assert said.is_accepted or used_key or not isinstance(each, Sent)
        if said.is_fault:
            assert isinstance(each, Unknown)
            assert each.refused


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("7", 7.0),
        ("0.5", 0.5),
        ("0", 0.0),
        ("-3", 0.0),
        ("99999999", 3600.0),
        ("nan", None),
        ("inf", None),
        ("soon", None),
        ("", None),
        ("Mon, 21 Sep 2026 14:13:30 GMT", 10.0),
        ("Mon, 21 Sep 2020 14:13:20 GMT", 0.0),
        ("9" * 400, None),
    ],
)
def test_a_wait_is_read_in_seconds_or_as_a_date(said, expected):
    assert retry_after_s(httpx.Headers({"Retry-After": said}), T0) == expected


def test_the_first_readable_header_counts():
    headers = httpx.Headers({"retry-after": "x", "ratelimit-reset": "3"})
    assert retry_after_s(headers, T0) is None
    assert retry_after_s(headers, T0, "ratelimit-reset") == 3
