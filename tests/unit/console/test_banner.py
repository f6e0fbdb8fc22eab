"""The first lines of a worker's log: where each sender sends, and whether that is half sandbox, half real."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.console.banner import half, introduction, unkeyed
from pipeline.settings import load

WAHA = {"WAHA_BASE_URL": "http://waha:3000", "WAHA_API_KEY": "hidden-waha"}
RESEND = {"RESEND_API_KEY": "re_hidden", "RESEND_FROM": "a@example.com"}
TWILIO = {"TWILIO_ACCOUNT_SID": "AC1", "TWILIO_AUTH_TOKEN": "hidden-token", "TWILIO_FROM": "+15005550006"}
SANDBOX = {
    "WAHA_BASE_URL": "http://sandbox:4010/waha",
    "RESEND_API_URL": "http://sandbox:4010/resend",
    "TWILIO_API_URL": "http://sandbox:4010/twilio",
}


def lines(environ: dict[str, str]) -> list[str]:
    return list(introduction(load(environ, Path("/")), "touch-pipeline 1"))


def test_each_sender_says_where_it_sends():
    assert lines({**WAHA, **RESEND, **TWILIO})[2:] == [
        "whatsapp default: sends to http://waha:3000, a WAHA server or the sandbox",
        "email default: sends to https://api.resend.com, Resend itself",
        "sms default: sends to https://api.twilio.com, Twilio itself",
    ]


def test_a_sandbox_is_seen_and_a_channel_that_is_off_is_said():
    assert lines({**WAHA, **RESEND, **TWILIO, **SANDBOX})[2:] == [
        "whatsapp default: sends to http://sandbox:4010/waha, a WAHA server or the sandbox",
        "email default: sends to http://sandbox:4010/resend, not Resend itself (api.resend.com): a sandbox, or a proxy",
        "sms default: sends to http://sandbox:4010/twilio, not Twilio itself (api.twilio.com): a sandbox, or a proxy",
    ]
    assert "off, without a sender: whatsapp, sms; their touches end failed, channel_off" in lines(RESEND)


def test_no_secret_is_told():
    told = "\n".join(lines({**WAHA, **RESEND, **TWILIO, "SCHEMA_REGISTRY_URL": "http://ann:hidden-word@registry:8081"}))
    assert "hidden" not in told
    assert "http://registry:8081" in told


def test_the_source_the_prefix_and_the_form_of_the_statuses_are_told():
    first, second, *_ = lines(
        {"KAFKA_TOPIC_PREFIX": "x.", "KAFKA_STATUS_FORMAT": "json", "KAFKA_BOOTSTRAP_SERVERS": "k:9092"}
    )
    assert first == "touch-pipeline 1; configuration: environment"
    assert second == "Kafka k:9092 (PLAINTEXT), topic prefix x.; statuses as JSON"


@pytest.mark.parametrize(
    ("environ", "is_half"),
    [
        ({}, False),
        (WAHA, False),
        (RESEND, False),
        ({**WAHA, **RESEND, **TWILIO}, False),
        ({**WAHA, **RESEND, **TWILIO, **SANDBOX}, False),
        ({**WAHA, **RESEND, **TWILIO, "RESEND_API_URL": SANDBOX["RESEND_API_URL"]}, True),
        ({**WAHA, **RESEND, **TWILIO, "TWILIO_API_URL": SANDBOX["TWILIO_API_URL"]}, True),
        ({**WAHA, **RESEND, **TWILIO, **SANDBOX, "WAHA_BASE_URL": "http://waha:3000"}, True),
        ({**RESEND, **TWILIO, "RESEND_API_URL": SANDBOX["RESEND_API_URL"]}, True),
        ({**RESEND, "RESEND_API_URL": SANDBOX["RESEND_API_URL"]}, False),
    ],
)
def test_half_sandbox_half_real_is_noticed(environ: dict[str, str], is_half: bool):
    assert (half(load(environ, Path("/"))) is not None) == is_half


def test_a_start_without_a_privacy_key_is_warned_of_once():
    assert "find a phone number" in str(unkeyed(load(RESEND, Path("/"))))
    assert unkeyed(load({**RESEND, "PIPELINE_PRIVACY_KEY": "k" * 32}, Path("/"))) is None
