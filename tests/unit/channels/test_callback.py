"""Callbacks: who signed them, and what they say. The vectors are the providers' own."""

from __future__ import annotations

import base64
import hashlib
import hmac
from unittest.mock import patch
from urllib.parse import urlencode

import orjson
import pytest
import resend
from hypothesis import given
from hypothesis import strategies as st
from twilio.request_validator import RequestValidator

from pipeline.channels.email import callback as email
from pipeline.channels.sms import callback as sms
from pipeline.channels.whatsapp import callback as whatsapp
from pipeline.domain.account import ResendAccount, TwilioAccount, WahaAccount
from pipeline.domain.address_hash import address_hash
from pipeline.domain.callback import CallbackRules, NotAuthentic, NotReadable, ReceivedCallback
from pipeline.domain.fact import FactKind
from pipeline.domain.opt_out import OptOutWords
from pipeline.domain.sender_policy import WahaEngine
from pipeline.domain.suppression import Covers, Scope, SuppressionReason
from pipeline.domain.work import Channel
from pipeline.secret import Secret

NOW_S = 1_790_000_000
NOW_MS = NOW_S * 1000
DAY_MS = 86_400_000
RULES = CallbackRules(
    public_url="https://touch.example.com",
    words=OptOutWords(("STOP", "OPT OUT", "PARAR"), ("START", "YES")),
    covers=Covers.PHONE,
    remember_for_ms=30 * DAY_MS,
    privacy_key=b"k" * 32,
)
OLD, NEW = Secret("whsec_" + base64.b64encode(b"o" * 24).decode()), Secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
RESEND = ResendAccount(Secret("re_1"), "https://api.resend.com", (OLD, NEW))
TWILIO = TwilioAccount(
    "AC1", Secret("t"), "+15005550006", None, "https://api.twilio.com", None, (Secret("old"), Secret("12345"))
)
WAHA = WahaAccount("main", "http://waha", None, WahaEngine.NOWEB, (Secret("my-secret-key"), Secret("new")))


def phone(number):
    return address_hash(Channel.SMS, number, RULES.privacy_key)


# --- Resend ----------------------------------------------------------------------------------------------------------


def svix(body: bytes, secret=NEW, at_s=NOW_S, name="msg_1"):
    key = base64.b64decode(secret.reveal().removeprefix("whsec_"))
    signature = base64.b64encode(hmac.digest(key, f"{name}.{at_s}.".encode() + body, "sha256")).decode()
    headers = {"svix-id": name, "svix-timestamp": str(at_s), "svix-signature": f"v1,bm9uZQ== v1,{signature}"}
    return ReceivedCallback("/callbacks/resend/main", headers, body)


def event(kind: str, **data):
    data = {"email_id": "e-1", "to": ["Ada <ada@example.com>"], **data}
    return orjson.dumps({"type": f"email.{kind}", "created_at": "2026-09-21T14:13:20.123Z", "data": data})


def of_resend(body: bytes, **signed):
    return email.read(svix(body, **signed), "main", RESEND, RULES, NOW_MS)


def test_the_vector_that_svix_publishes_passes():
    headers = {
        "svix-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "svix-timestamp": "1614265330",
        "svix-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }
    received = ReceivedCallback("/callbacks/resend/main", headers, b'{"test": 2432232314}')
    assert email.read(received, "main", RESEND, RULES, 1_614_265_330_000) == []


@given(st.binary(max_size=60), st.integers(-400, 400), st.booleans())
def test_a_signature_counts_here_as_it_does_in_resends_own_library(noise, late_s, is_altered):
    body = orjson.dumps({"type": "email.sent", "noise": base64.b64encode(noise).decode()})
    received = svix(body, at_s=NOW_S - late_s)
    if is_altered:
        received = ReceivedCallback(received.target, received.headers, body + b" ")
    said = {each: received.header(f"svix-{each}") for each in ("id", "timestamp", "signature")}
    with patch("time.time", lambda: NOW_S):
        try:
            resend.Webhooks.verify({"payload": received.body.decode(), "headers": said, "webhook_secret": NEW.reveal()})
            is_theirs = True
        except ValueError:
            is_theirs = False
    assert _is_authentic(lambda: email.read(received, "main", RESEND, RULES, NOW_MS)) is is_theirs


def _is_authentic(read):
    try:
        read()
    except NotAuthentic:
        return False
    return True


def test_either_secret_counts_while_they_are_rotated():
    assert of_resend(event("delivered"), secret=OLD) == of_resend(event("delivered"), secret=NEW) != []


@pytest.mark.parametrize("late_s", [-301, 301, 10**9])
def test_what_is_too_old_or_too_far_ahead_is_not_believed(late_s):
    with pytest.raises(NotAuthentic):
        of_resend(event("delivered"), at_s=NOW_S - late_s)


@pytest.mark.parametrize(
    "change",
    [
        {"svix-id": ""},
        {"svix-id": "é" * 9},
        {"svix-timestamp": ""},
        {"svix-timestamp": "9" * 5000},
        {"svix-timestamp": "1e9"},
        {"svix-signature": ""},
        {"svix-signature": "v1,é"},
        {"svix-signature": "v2,AAAA"},
    ],
)
def test_bad_headers_are_not_believed(change):
    received = svix(event("delivered"))
    with pytest.raises(NotAuthentic):
        email.read(
            ReceivedCallback(received.target, {**received.headers, **change}, received.body),
            *("main", RESEND, RULES, NOW_MS),
        )


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("delivered", FactKind.DELIVERED),
        ("delivery_delayed", FactKind.DELAYED),
        ("opened", FactKind.OPENED),
        ("clicked", FactKind.CLICKED),
        ("bounced", FactKind.BOUNCED),
        ("complained", FactKind.COMPLAINED),
        ("failed", FactKind.UNDELIVERED),
        ("suppressed", FactKind.SUPPRESSED_BY_PROVIDER),
    ],
)
def test_each_event_of_resend_is_a_kind(name, kind):
    (said,) = of_resend(event(name))
    assert (said.kind, said.message_id, said.sender) == (kind, "e-1", "main")
    assert (said.occurred_at_ms, said.received_at_ms) == (1_790_000_000_123, NOW_MS)


@pytest.mark.parametrize("name", ["sent", "scheduled", "received", "of_next_year"])
def test_other_events_tell_nothing(name):
    assert of_resend(event(name)) == []


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (event("bounced", bounce={"type": "Permanent", "subType": "General"}), SuppressionReason.BOUNCED),
        (event("bounced", bounce={"type": "Transient", "subType": "MailboxFull"}), None),
        (event("bounced", bounce={"type": "permanent"}), None),
        (event("bounced", bounce="Permanent"), None),
        (event("complained"), SuppressionReason.COMPLAINED),
        (event("suppressed", suppressed={"reason": "previous_bounce"}), SuppressionReason.BOUNCED),
        (event("suppressed", suppressed={"reason": "previous_complaint"}), SuppressionReason.COMPLAINED),
        (event("failed", failed={"reason": "reached_daily_quota"}), None),
    ],
)
def test_what_is_final_suppresses_the_address(body, reason):
    (said,) = of_resend(body)
    assert [each.reason for each in said.entries] == ([] if reason is None else [reason])
    for each in said.entries:
        assert (each.scope, each.by) == (Scope.EMAIL, "provider")
        assert each.recipient == address_hash(Channel.EMAIL, "ada@example.com", RULES.privacy_key)


def test_detail_and_error_have_the_words_and_no_address():
    bounce = {
        "type": "Permanent",
        "subType": "NoEmail",
        "message": "ada@example.com and +1 212 555 0123 and 12125550123",
    }
    (said,) = of_resend(event("bounced", bounce=bounce))
    assert said.detail == "Permanent/NoEmail"
    assert said.error == "*** and *** and ***"


DEEP = b"[" * 1000 + b"]" * 1000
BAD_BODIES = [b"", b"null", b"[]", b"{", b'{"a": "\xff"}', b'{"data": ' + DEEP + b"}", b"a=b", b"\xff\xfe{\x00}\x00"]


@pytest.mark.parametrize("body", BAD_BODIES)
def test_what_is_signed_and_no_json_object_is_not_readable(body):
    with pytest.raises(NotReadable):
        of_resend(body)
    with pytest.raises(NotReadable):
        of_waha(body)


@given(st.recursive(st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=5), st.lists, max_leaves=4))
def test_members_of_any_type_are_taken(odd):
    for name in ("bounced", "suppressed", "failed"):
        body = {"type": f"email.{name}", "created_at": odd, "data": {"email_id": odd, "to": odd, name: odd}}
        of_resend(orjson.dumps(body))
        of_resend(orjson.dumps({**body, "data": {**body["data"], "email_id": "e-1"}}))
        of_resend(orjson.dumps({**body, "data": odd}))
    for body in (
        {"event": "message.ack", "session": "main", "payload": odd},
        {"event": "message.ack", "session": "main", "payload": {"id": "true_1@c.us_AB12CD", "ack": odd, "fromMe": odd}},
        {"event": "message", "session": "main", "payload": {"from": "12125550123@c.us", "fromMe": False, "body": odd}},
        {
            "event": "message",
            "session": "main",
            "payload": {**message("STOP"), "id": odd, "replyTo": odd, "_data": odd},
        },
    ):
        of_waha(orjson.dumps(body))


@pytest.mark.parametrize(
    "said",
    [
        "(" * 100_000,
        "(" * 640,
        "<" * 100_000,
        '"' * 100_000,
        ["(" * 600] * 10_000,
        ["a@b,"] * 10_000,
        "a@b.example," * 9_000,
    ],
)
def test_addresses_of_any_form_and_size_are_taken(said):
    (found,) = of_resend(
        event("bounced", to=said, bounce={"type": "Permanent", "message": "\x1b[2J\n" + "x" * 100_000})
    )
    assert len(found.entries) <= 50
    assert found.error is not None
    assert found.error.isprintable()
    assert len(found.error) <= 301


# --- Twilio ----------------------------------------------------------------------------------------------------------

CALL = {
    "CallSid": "CA1234567890ABCDE",
    "Caller": "+14158675309",
    "Digits": "1234",
    "From": "+14158675309",
    "To": "+18005551212",
}
"""The parameters of Twilio's page on webhook security; their signature with token 12345 is known."""


def twilio(form, path="/callbacks/twilio/main/status", token="12345", signature=None, **headers):
    body = urlencode(form).encode()
    signature = signature or RequestValidator(token).compute_signature(RULES.public_url + path, dict(form))
    return ReceivedCallback(path, {"x-twilio-signature": signature, **headers}, body)


def of_status(form, **signed):
    form = {"AccountSid": "AC1", "MessageSid": "SM1", "To": "+12125550123", "From": "+15005550006", **form}
    return sms.read_status(twilio(form, **signed), "main", TWILIO, RULES, NOW_MS)


def of_inbound(body, **form):
    form = {
        "AccountSid": "AC1",
        "MessageSid": "SM9",
        "From": "+12125550123",
        "To": "+15005550006",
        "Body": body,
        **form,
    }
    return sms.read_inbound(twilio(form, path="/callbacks/twilio/main/inbound"), "main", TWILIO, RULES, NOW_MS)


def test_the_vector_that_twilio_publishes_passes():
    rules = CallbackRules(
        public_url="https://mycompany.com", words=RULES.words, covers=RULES.covers, remember_for_ms=1, privacy_key=b""
    )
    received = ReceivedCallback(
        "/myapp.php?foo=1&bar=2", {"x-twilio-signature": "RSOYDt4T1cUTdK1PDd93/VVr8B8="}, urlencode(CALL).encode()
    )
    account = TwilioAccount("AC1", Secret("t"), "+1", None, "u", None, (Secret("12345"),))
    assert sms._is_signed("12345", "https://mycompany.com/myapp.php?foo=1&bar=2", CALL, "RSOYDt4T1cUTdK1PDd93/VVr8B8=")
    with pytest.raises(NotAuthentic):  # the signature holds; the account is not in it
        sms.read_status(received, "main", account, rules, NOW_MS)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        ("delivered", FactKind.DELIVERED),
        ("read", FactKind.READ),
        ("undelivered", FactKind.UNDELIVERED),
        ("failed", FactKind.UNDELIVERED),
        ("canceled", FactKind.UNDELIVERED),
    ],
)
def test_each_final_status_of_twilio_is_a_kind(status, kind):
    (said,) = of_status({"MessageStatus": status})
    assert (said.kind, said.message_id, said.occurred_at_ms, said.entries) == (kind, "SM1", None, ())


@pytest.mark.parametrize("status", ["queued", "sending", "sent", "accepted", "scheduled", "of_next_year", ""])
def test_other_statuses_tell_nothing(status):
    assert of_status({"MessageStatus": status}) == []


@pytest.mark.parametrize(
    ("code", "scope", "reason"),
    [
        ("21610", Scope.PHONE, SuppressionReason.OPT_OUT),
        ("30005", Scope.SMS, SuppressionReason.UNREACHABLE),
        ("30006", Scope.SMS, SuppressionReason.UNREACHABLE),
        ("21211", Scope.SMS, SuppressionReason.UNREACHABLE),
        ("21614", Scope.SMS, SuppressionReason.UNREACHABLE),
        ("30003", None, None),
        ("30007", None, None),
        ("30008", None, None),
    ],
)
def test_final_error_codes_suppress_the_number(code, scope, reason):
    (said,) = of_status({"MessageStatus": "undelivered", "ErrorCode": code, "ErrorMessage": "The number +12125550123"})
    assert (said.error_code, said.error) == (code, "The number ***")
    assert [(each.scope, each.reason, each.recipient) for each in said.entries] == (
        [] if scope is None else [(scope, reason, phone("+12125550123"))]
    )


@pytest.mark.parametrize("code", ["1" * 200_000, "21610\n", "x" * 50, "\u0662\u0661\u0666\u0661\u0660", "21610;", ""])
def test_what_is_no_code_of_twilios_is_none(code):
    (said,) = of_status({"MessageStatus": "undelivered", "ErrorCode": code})
    assert (said.error_code, said.entries) == (None, ())


@pytest.mark.parametrize("body", ["STOP", " stop.", "Ｓｔｏｐ", "opt-out", "Opt Out!", "párar"])
def test_a_word_that_is_the_whole_message_opts_out(body):
    (said,) = of_inbound(body)
    (entry,) = said.entries
    assert (entry.scope, entry.reason, entry.recipient) == (
        Scope.PHONE,
        SuppressionReason.OPT_OUT,
        phone("+12125550123"),
    )
    assert (entry.by, said.kind, said.message_id, said.acts_as) == ("recipient", None, "", "SM9")
    assert entry.note in RULES.words.stop


@pytest.mark.parametrize("body", ["Please stop", "STOP IT", "", "stop" * 300, "🛑", "Yes please"])
def test_other_messages_ask_for_nothing(body):
    assert of_inbound(body) == []


@pytest.mark.parametrize("body", ["start", "YES", "Yes!"])
def test_a_word_back_lifts(body):
    (said,) = of_inbound(body)
    assert (said.lifts, said.entries) == ((phone("+12125550123"),), ())


def test_twilios_own_word_for_it_counts():
    assert of_inbound("whatever", OptOutType="STOP")[0].entries[0].note == "STOP"
    assert of_inbound("whatever", OptOutType="START")[0].lifts
    assert of_inbound("whatever", OptOutType="HELP") == []


@pytest.mark.parametrize("sender", ["12345", "whatsapp:+12125550123", "MYBANK", ""])
def test_who_has_no_number_asks_for_nothing(sender):
    assert of_inbound("STOP", From=sender) == []


@pytest.mark.parametrize(
    "signed", [{"token": "54321"}, {"signature": "x"}, {"signature": "RSOYDt4T1cUTdK1PDd93/VVr8B8="}]
)
def test_what_another_token_signed_is_not_believed(signed):
    with pytest.raises(NotAuthentic):
        of_status({"MessageStatus": "delivered"}, **signed)


def test_the_former_token_counts_while_it_is_rotated():
    assert of_status({"MessageStatus": "delivered"}, token="old")


def test_another_account_is_not_believed():
    with pytest.raises(NotAuthentic):
        of_status({"MessageStatus": "delivered", "AccountSid": "AC2"})


def test_host_and_forwarding_headers_change_nothing():
    received = twilio({"AccountSid": "AC1", "MessageSid": "SM1", "MessageStatus": "delivered"})
    headers = {
        **received.headers,
        "host": "evil.example",
        "x-forwarded-host": "evil.example",
        "x-forwarded-proto": "http",
    }
    assert sms.read_status(ReceivedCallback(received.target, headers, received.body), "main", TWILIO, RULES, NOW_MS)


def test_path_and_query_count_byte_for_byte():
    path = "/callbacks/twilio/main/status?touch=t%3A1&b=%C3%A9"
    form = {"AccountSid": "AC1", "MessageSid": "SM1", "MessageStatus": "delivered"}
    received = twilio(form, path=path)
    assert sms.read_status(received, "main", TWILIO, RULES, NOW_MS)
    altered = ReceivedCallback(path.replace("%3A", ":"), received.headers, received.body)
    with pytest.raises(NotAuthentic):
        sms.read_status(altered, "main", TWILIO, RULES, NOW_MS)


def test_json_counts_by_its_digest_in_the_signed_url():
    body = orjson.dumps({"AccountSid": "AC1", "MessageSid": "SM1", "MessageStatus": "delivered"})
    path = f"/callbacks/twilio/main/status?bodySHA256={hashlib.sha256(body).hexdigest()}"
    signature = RequestValidator("12345").compute_signature(RULES.public_url + path, {})
    headers = {"x-twilio-signature": signature, "content-type": "application/json; charset=utf-8"}
    assert (
        sms.read_status(ReceivedCallback(path, headers, body), "main", TWILIO, RULES, NOW_MS)[0].kind
        is FactKind.DELIVERED
    )
    with pytest.raises(NotAuthentic):
        sms.read_status(ReceivedCallback(path, headers, body + b" "), "main", TWILIO, RULES, NOW_MS)


def test_json_without_a_digest_is_not_believed():
    headers = {"x-twilio-signature": "x" * 28, "content-type": "application/json"}
    with pytest.raises(NotAuthentic):
        sms.read_status(ReceivedCallback("/x", headers, b"{}"), "main", TWILIO, RULES, NOW_MS)


@pytest.mark.parametrize("body", [b"\xff", b"a=%FF", b"&".join([b"a=1"] * 5000), b"=" * 100_000, "é=1".encode()])
def test_no_form_of_twilios_is_not_believed(body):
    with pytest.raises(NotAuthentic):
        sms.read_status(ReceivedCallback("/x", {"x-twilio-signature": "x"}, body), "main", TWILIO, RULES, NOW_MS)


def test_a_signed_callback_without_a_body_is_not_readable():
    with pytest.raises(NotReadable):
        sms.read_status(twilio({}), "main", TWILIO, RULES, NOW_MS)


# --- WAHA ------------------------------------------------------------------------------------------------------------


def of_waha(body: bytes, key="new", account=WAHA):
    signature = hmac.digest(key.encode(), body, "sha512").hex()
    received = ReceivedCallback("/callbacks/waha/main", {"x-webhook-hmac": signature}, body)
    return whatsapp.read(received, "main", account, RULES, NOW_MS)


def waha(name, payload, **envelope):
    return orjson.dumps(
        {"id": "evt_1", "timestamp": NOW_MS, "event": name, "session": "main", "payload": payload, **envelope}
    )


def message(text, **more):
    return {"id": "false_12125550123@c.us_3AFF00", "from": "12125550123@c.us", "fromMe": False, "body": text, **more}


def test_the_vector_that_waha_publishes_passes():
    signature = (
        "208f8a55dde9e05519e898b10b89bf0d0b3b0fdf11fdbf09b6b90476301b98d8"
        "097c462b2b17a6ce93b6b47a136cf2e78a33a63f6752c2c1631777076153fa89"
    )
    body = b'{"event":"message","session":"default","engine":"WEBJS"}'
    account = WahaAccount("default", "http://waha", None, WahaEngine.WEBJS, (Secret("my-secret-key"),))
    received = ReceivedCallback("/callbacks/waha/main", {"x-webhook-hmac": signature}, body)
    assert whatsapp.read(received, "main", account, RULES, NOW_MS) == []


@pytest.mark.parametrize(
    ("ack", "kind"),
    [(-1, FactKind.UNDELIVERED), (0, None), (1, None), (2, FactKind.DELIVERED), (3, FactKind.READ), (4, FactKind.READ)],
)
def test_each_ack_is_a_kind(ack, kind):
    found = of_waha(waha("message.ack", {"id": "true_12125550123@c.us_3EB0AB12", "fromMe": True, "ack": ack}))
    assert [(each.kind, each.message_id, each.occurred_at_ms) for each in found] == (
        [] if kind is None else [(kind, "3EB0AB12", NOW_MS)]
    )


def test_a_bare_id_of_an_engine_is_ours():
    assert of_waha(waha("message.ack", {"id": "3EB0AB12CD", "fromMe": True, "ack": 2}))[0].message_id == "3EB0AB12CD"


@pytest.mark.parametrize(
    "body",
    [
        waha("message.ack", {"id": "false_1@c.us_AB12CD", "fromMe": False, "ack": 3}),
        waha("session.status", {"status": "WORKING"}),
        waha("message.of_next_year", message("STOP")),
        waha("message", message("STOP", fromMe=True)),
        waha("message", message("STOP", **{"from": "123456@g.us"})),
        waha("message", message("STOP", **{"from": "status@broadcast"})),
        waha("message", message("hello")),
    ],
)
def test_other_events_of_waha_tell_nothing(body):
    assert of_waha(body) == []


def test_a_word_over_whatsapp_opts_out():
    (said,) = of_waha(waha("message", message("Parar")))
    (entry,) = said.entries
    assert (entry.scope, entry.note, entry.recipient) == (Scope.PHONE, "PARAR", phone("+12125550123"))
    assert said.acts_as == "3AFF00"


def test_an_opt_out_covers_whatsapp_alone_if_it_is_configured_so():
    assert Covers.CHANNEL.scope(Channel.WHATSAPP) is Scope.WHATSAPP
    assert of_waha(waha("message", message("start")))[0].lifts == (phone("+12125550123"),)


def test_an_answer_that_quotes_us_is_a_reply():
    (said,) = of_waha(waha("message", message("hello", replyTo={"id": "3EB0AB12CD"})))
    assert (said.kind, said.message_id, said.entries) == (FactKind.REPLIED, "3EB0AB12CD", ())
    assert [each.kind for each in of_waha(waha("message", message("STOP", replyTo={"id": "true_1@c.us_3EB0AB"})))] == [
        FactKind.REPLIED,
        None,
    ]


def test_a_hidden_number_is_found_beside_it_or_by_the_message_that_is_quoted():
    hidden = {"id": "false_99@lid_3AFF00", "from": "99@lid"}
    beside = {"_data": {"key": {"remoteJidAlt": "12125550123:4@s.whatsapp.net"}}}
    learnt, said = of_waha(waha("message", message("STOP", **hidden, **beside)))
    assert (said.entries[0].recipient, said.lid) == (phone("+12125550123"), "")
    assert (learnt.lid, learnt.people, learnt.place) == ("99@lid", (phone("+12125550123"),), "lid/99@lid")
    (learnt,) = of_waha(waha("message", message("hello", **{**hidden, "from": "99:3@lid"}, **beside)))
    assert (learnt.lid, learnt.people) == ("99@lid", (phone("+12125550123"),))
    quoting = {"replyTo": {"id": "3EB0AB12CD"}}
    reply, said = of_waha(waha("message", message("STOP", **hidden, **quoting)))
    assert (reply.message_id, reply.kind, reply.lid, reply.entries) == ("3EB0AB12CD", FactKind.REPLIED, "99@lid", ())
    assert (said.message_id, said.acts_as, said.lid, said.entries[0].recipient) == ("", "3AFF00", "99@lid", None)
    _, said = of_waha(waha("message", message("START", **hidden, **quoting)))
    assert (said.lifts, said.lid) == ((None,), "99@lid")


def test_an_opt_out_without_a_number_and_without_a_quote_is_kept():
    hidden = {"id": "false_99@lid_3AFF00", "from": "99@lid"}
    (said,) = of_waha(waha("message", message("STOP", **hidden)))
    assert (said.place, said.acts_as, said.entries[0].note) == ("lid/99@lid", "3AFF00", "STOP")
    assert of_waha(waha("message", message("hello", **hidden))) == []


@pytest.mark.parametrize(
    ("number", "spellings"),
    [
        ("551187654321", ["+551187654321", "+5511987654321"]),
        ("5511987654321", ["+5511987654321", "+551187654321"]),
        ("5215512345678", ["+5215512345678", "+525512345678"]),
        ("551132345678", ["+551132345678"]),
        ("12125550123", ["+12125550123"]),
    ],
)
def test_a_number_from_before_its_country_renumbered_is_opted_out_in_both_forms(number, spellings):
    said = message("STOP", **{"from": f"{number}@c.us", "id": f"false_{number}@c.us_3A"})
    assert [each.recipient for each in of_waha(waha("message", said))[0].entries] == [phone(each) for each in spellings]


@pytest.mark.parametrize("key", ["my-secret-key", "new"])
def test_either_key_counts_while_they_are_rotated(key):
    assert of_waha(waha("message", message("STOP")), key=key)


@pytest.mark.parametrize(
    "body",
    [
        waha("message", message("STOP"), session="other"),
        waha("message", message("STOP"), timestamp=NOW_MS - 31 * DAY_MS),
        waha("message", message("STOP"), timestamp=0),
    ],
)
def test_another_session_and_what_is_too_old_are_not_believed(body):
    with pytest.raises(NotAuthentic):
        of_waha(body)


@pytest.mark.parametrize("said", ["", "é", "00", "0" * 128])
def test_a_wrong_hmac_is_not_believed(said):
    received = ReceivedCallback("/x", {"x-webhook-hmac": said}, waha("message", message("STOP")))
    with pytest.raises(NotAuthentic):
        whatsapp.read(received, "main", WAHA, RULES, NOW_MS)


def test_no_repr_shows_a_body_or_a_key():
    assert "STOP" not in repr(ReceivedCallback("/x", {"a": "STOP"}, b"STOP"))
    assert "kkk" not in repr(RULES)


@given(st.text(max_size=40))
def test_what_opts_out_is_the_whole_word_however_it_is_written(text):
    for spelled in (text, text.upper(), f" {text}! "):
        found = RULES.words.stopping(spelled)
        assert found is None or found in RULES.words.stop
    assert RULES.words.stopping(f"x{text}STOP{text}") is None
