"""What goes out, byte by byte."""

from __future__ import annotations

import string
from urllib.parse import parse_qs

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.channels.email import payload as email
from pipeline.channels.sms import payload as sms
from pipeline.channels.whatsapp import payload as whatsapp
from pipeline.domain.account import TwilioAccount
from pipeline.domain.work import Attachment, Channel, Content, Work
from pipeline.secret import Address, Secret

T0 = 1_790_000_000_000
NUMBER = TwilioAccount("AC1", Secret("secret"), "+15005550006", None, "https://api.twilio.com", None)
SERVICE = TwilioAccount(
    "AC1", Secret("secret"), None, "MG1", "https://api.twilio.com", Address("https://x.example/cb?id={touch_id}&a=1")
)


def work(channel=Channel.SMS, to="+12125550123", touch_id="t-1", campaign="c", lead="l", **content):
    return Work(touch_id, campaign, lead, channel, to, "default", False, Content(**content), b"d" * 16, 0)


def mail(**content):
    return work(Channel.EMAIL, "ada@example.com", **{"subject": "Hi", "body": "<p>é</p>", **content})


@pytest.mark.parametrize("engine", ["NOWEB", "GOWS"])
def test_waha_is_given_an_id_of_ours_where_it_takes_one(engine):
    request = whatsapp.build([work(body="Olá ☀")], "c1", "main", engine)
    assert request.path == "/api/sendText"
    assert orjson.loads(request.body) == {
        "session": "main",
        "chatId": "12125550123@c.us",
        "text": "Olá ☀",
        "id": request.handle,
    }


@pytest.mark.parametrize("engine", ["WEBJS", "WPP"])
def test_other_engines_get_no_id(engine):
    request = whatsapp.build([work(body="x")], "c1", "main", engine)
    assert request.handle == ""
    assert "id" not in orjson.loads(request.body)


@given(st.text(min_size=1, max_size=40))
def test_a_message_id_has_whatsapps_form_and_is_always_the_same(claim_id):
    made = whatsapp.message_id(claim_id)
    assert made == whatsapp.message_id(claim_id)
    assert made.startswith("3EB0")
    assert len(made) == 22
    assert set(made) <= set("0123456789ABCDEF")


def test_message_ids_do_not_repeat():
    assert len({whatsapp.message_id(f"claim-{number}") for number in range(10_000)}) == 10_000


def test_an_email_is_what_resend_documents():
    one = mail(text="plain", reply_to="r@example.com", headers={"X-A": "b"}, from_="Us <two@example.com>")
    (said,) = orjson.loads(email.build([one], "c1", "one@example.com").body)
    assert said == {
        "from": "Us <two@example.com>",
        "to": ["ada@example.com"],
        "subject": "Hi",
        "html": "<p>é</p>",
        "text": "plain",
        "reply_to": "r@example.com",
        "headers": {"X-A": "b"},
        "tags": [{"name": "campaign", "value": "c"}, {"name": "lead", "value": "l"}],
    }


def test_what_an_email_lacks_is_left_out():
    (said,) = orjson.loads(email.build([mail(body=None, text="plain")], "c1", "one@example.com").body)
    assert sorted(said) == ["from", "subject", "tags", "text", "to"]
    assert said["from"] == "one@example.com"


def test_a_lone_email_still_goes_as_a_batch():
    assert email.build([mail()], "c1", "us@example.com").path == "/emails/batch"


def test_a_batch_keeps_its_order_and_its_key():
    request = email.build([mail(subject=str(number)) for number in range(100)], "c1", "us@example.com")
    assert [each["subject"] for each in orjson.loads(request.body)] == [str(number) for number in range(100)]
    assert request.handle == "c1"


def test_an_attachment_in_company_is_our_fault():
    attached = mail(attachments=(Attachment("a", content=b"x"),))
    with pytest.raises(ValueError, match="alone"):
        email.build([mail(), attached], "c1", "us@example.com")


@pytest.mark.parametrize("count", [0, 101])
def test_a_batch_of_none_or_of_more_than_a_hundred_is_our_fault(count):
    with pytest.raises(ValueError, match="1 to 100"):
        email.build([mail()] * count, "c1", "us@example.com")


def test_an_attachment_is_content_or_url():
    attached = mail(
        attachments=(
            Attachment("a.bin", content=b"\x00\xff"),
            Attachment("b.pdf", "application/pdf", url="https://x/b"),
        )
    )
    request = email.build([attached], "c1", "us@example.com")
    assert request.path == "/emails"
    assert orjson.loads(request.body)["attachments"] == [
        {"filename": "a.bin", "content": "AP8="},
        {"filename": "b.pdf", "content_type": "application/pdf", "path": "https://x/b"},
    ]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("spring-sale_26", "spring-sale_26"),
        ("Frühling 26!", "Fr_hling_26_"),
        ("a" * 300, "a" * 256),
        ("☀", "_"),
        ("a@b.c/d:e", "a_b_c_d_e"),
    ],
)
def test_a_tag_has_only_what_resend_allows(value, expected):
    assert email.tag(value) == expected


@given(st.text(min_size=1, max_size=400))
def test_every_tag_is_allowed(value):
    assert 1 <= len(email.tag(value)) <= 256
    assert set(email.tag(value)) <= set(string.ascii_letters + string.digits + "_-")


def test_an_sms_from_a_number():
    request = sms.build([work(body="Hi & bye +1 ☀")], NUMBER, T0, None)
    assert request.path == "/2010-04-01/Accounts/AC1/Messages.json"
    assert request.content_type == "application/x-www-form-urlencoded"
    assert parse_qs(request.body.decode()) == {
        "To": ["+12125550123"],
        "From": ["+15005550006"],
        "Body": ["Hi & bye +1 ☀"],
    }


def test_an_sms_from_a_service_with_a_callback_that_names_the_touch():
    request = sms.build([work(body="x", touch_id="a:b.c_d-e")], SERVICE, T0, None)
    assert parse_qs(request.body.decode()) == {
        "To": ["+12125550123"],
        "MessagingServiceSid": ["MG1"],
        "Body": ["x"],
        "StatusCallback": ["https://x.example/cb?id=a%3Ab.c_d-e&a=1"],
    }


@pytest.mark.parametrize(
    ("left_ms", "expected"),
    [
        (3_600_000, "3600"),
        (3_600_999, "3600"),
        (5_000, "5"),
        (999, "1"),
        (-1, "1"),
        (36_000_000, "36000"),
        (90_000_000, "36000"),
    ],
)
def test_an_sms_is_valid_until_its_window_closes(left_ms, expected):
    request = sms.build([work(body="x")], NUMBER, T0, T0 + left_ms)
    assert parse_qs(request.body.decode())["ValidityPeriod"] == [expected]


@given(st.text(max_size=200))
def test_any_text_comes_through_whole(text):
    body = text.encode("utf-8", "ignore").decode()
    said = parse_qs(sms.build([work(body=body)], NUMBER, T0, None).body.decode(), keep_blank_values=True)
    assert said["Body"] == [body]
    assert orjson.loads(whatsapp.build([work(body=body)], "c", "s", "NOWEB").body)["text"] == body


CALLBACK = "https://me:p%40ss@hook.example.com/cb/{touch_id}?a=1"
GUARDED = TwilioAccount("AC1", Secret("secret"), "+15005550006", None, "https://api.twilio.com", Address.read(CALLBACK))


def test_a_callbacks_user_and_password_go_to_twilio_and_into_no_claim():
    request = sms.build([work(body="a=b&StatusCallback=https://x", touch_id="t:1")], GUARDED, T0, None)
    assert b"p%2540ss" not in request.body
    assert b"me" not in request.body
    sent = sms.with_login(request, GUARDED.status_callback)
    kept, told = parse_qs(request.body.decode()), parse_qs(sent.body.decode())
    assert kept.pop("StatusCallback") == ["https://hook.example.com/cb/t%3A1?a=1"]
    assert told.pop("StatusCallback") == ["https://me:p%40ss@hook.example.com/cb/t%3A1?a=1"]
    assert kept == told
    assert (sent.path, sent.content_type, sent.handle) == (request.path, request.content_type, request.handle)


@pytest.mark.parametrize(
    "url", ["https://elsewhere.example.com/cb", "http://hook.example.com/cb", "https://hook.example.com:8443/cb"]
)
def test_a_claim_whose_callback_goes_elsewhere_is_sent_as_it_is(url):
    before = TwilioAccount("AC1", Secret("secret"), "+15005550006", None, "https://api.twilio.com", Address(url))
    request = sms.build([work(body="x")], before, T0, None)
    assert sms.with_login(request, GUARDED.status_callback) is request
    without = sms.build([work(body="x")], NUMBER, T0, None)
    assert sms.with_login(without, GUARDED.status_callback) is without
    assert sms.with_login(request, before.status_callback) is request


@pytest.mark.parametrize(
    ("address", "goes_out"),
    [
        ("Shop <hi@münchen.de>", "Shop <hi@xn--mnchen-3ya.de>"),
        ("hi@MÜNCHEN.de", "hi@xn--mnchen-3ya.de"),
        ("Us <two@example.com>", "Us <two@example.com>"),
        ("Shop, Inc. <hi@example.com>", '"Shop, Inc." <hi@example.com>'),
        ("Us <us@sandbox.test>", "Us <us@sandbox.test>"),
    ],
)
def test_a_senders_address_goes_out_in_ascii(address, goes_out):
    for content, default in (({"from_": address}, "other@example.com"), ({}, address)):
        assert orjson.loads(email.build([mail(**content)], "c", default).body)[0]["from"] == goes_out
