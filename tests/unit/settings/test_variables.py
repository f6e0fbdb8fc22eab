"""Misspelt variables stop the start, what is set and not read is said, and other programs' variables are left alone."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.settings import SettingsError, load, unread_variables
from pipeline.settings.variables import WITHOUT_FILE, misspelled

SLIPS = [
    ("TWILIO_FORM", "TWILIO_FROM"),
    ("KAFKA_BOOTSTRAP_SERVER", "KAFKA_BOOTSTRAP_SERVERS"),
    ("RESEND_APIKEY", "RESEND_API_KEY"),
    ("TWILIO_ACOUNT_SID", "TWILIO_ACCOUNT_SID"),
    ("TWILLIO_AUTH_TOKEN", "TWILIO_AUTH_TOKEN"),
    ("RESEND_FORM", "RESEND_FROM"),
    ("WAHA_APIKEY", "WAHA_API_KEY"),
    ("WAHA_BASEURL", "WAHA_BASE_URL"),
    ("KAKFA_TOPIC_PREFIX", "KAFKA_TOPIC_PREFIX"),
    ("kafka_bootstrap_servers", "KAFKA_BOOTSTRAP_SERVERS"),
    ("PIPELINE_CONFIGS", "PIPELINE_CONFIG"),
    ("PIPLINE_CONFIG", "PIPELINE_CONFIG"),
    ("SCHEMA_REGISTRY_URI", "SCHEMA_REGISTRY_URL"),
    ("KAFKA_SASL_USER_NAME", "KAFKA_SASL_USERNAME"),
    ("KAFKA_SSL_CA_FILE", "KAFKA_SSL_CAFILE"),
    ("TWILIO_MESSAGE_SERVICE_SID", "TWILIO_MESSAGING_SERVICE_SID"),
    ("TWILIO_ACCOUNT_ID", "TWILIO_ACCOUNT_SID"),
]
OTHERS = {
    "TWILIO_API_KEY": "x",
    "TWILIO_API_SECRET": "x",
    "TWILIO_REGION": "ie1",
    "KAFKA_HEAP_OPTS": "x",
    "KAFKA_LOG4J_OPTS": "x",
    "KAFKA_OPTS": "x",
    "KAFKA_SSL_KEYSTORE_PASSWORD": "x",
    "KAFKA_CLUSTERS_0_NAME": "x",
    "WAHA_DASHBOARD_PASSWORD": "x",
    "WAHA_API_KEY_PLAIN": "x",
    "PATH": "/bin",
    "PIPELINE_TEST_KAFKA": "127.0.0.1:1",
    "HOME": "/",
    "KAFKA_JMX_PORT": "x",
}


@pytest.mark.parametrize(("found", "meant"), SLIPS)
def test_a_slip_of_the_pen_stops_the_start_with_the_name_that_was_meant(found: str, meant: str):
    if meant == "TWILIO_MESSAGING_SERVICE_SID":  # more than a slip: said, and not refused
        assert f"{found} (did you mean {meant}?)" in unread_variables({found: "x"})[0]
        return
    with pytest.raises(SettingsError) as caught:
        load({found: "x"}, Path("/"))
    assert (
        f"{found}: found an unknown environment variable; allowed: {meant}, which is not set (did you mean that?)"
        in caught.value.lines
    )


def test_a_slip_is_named_beside_what_it_left_missing():
    with pytest.raises(SettingsError) as caught:
        load(
            {"TWILIO_ACCOUNT_SID": "AC1", "TWILIO_AUTH_TOKEN": "hidden-token", "TWILIO_FORM": "+15005550006"}, Path("/")
        )
    assert len(caught.value.lines) == 2
    assert caught.value.lines[0].startswith("TWILIO_FORM: ")
    assert "hidden-token" not in str(caught.value)


def test_what_other_programs_read_stops_nothing():
    assert list(misspelled(OTHERS)) == []
    assert load(OTHERS, Path("/")).source == "environment"


def test_what_resembles_a_variable_that_is_set_is_only_said():
    environ = {"RESEND_API_KEY": "re_secret", "RESEND_API_KEY2": "re_other", "RESEND_FROM": "a@example.com"}
    assert load(environ, Path("/")).accounts
    assert unread_variables(environ) == [
        "set in the environment and not read: RESEND_API_KEY2 (did you mean RESEND_API_KEY?)"
    ]


def test_of_servers_that_share_a_prefix_with_us_nothing_is_said_unless_it_resembles_ours():
    assert unread_variables({"KAFKA_HEAP_OPTS": "x", "WAHA_DASHBOARD_PASSWORD": "x", "PATH": "x"}) == []
    assert unread_variables({"TWILIO_REGION": "ie1"}) == ["set in the environment and not read: TWILIO_REGION"]


def test_beside_a_file_the_variables_that_do_not_count_are_named():
    (line,) = unread_variables(
        {"PIPELINE_CONFIG": "pipeline.toml", "RESEND_API_KEY": "re_secret", "KAFKA_TOPIC_PREFIX": "x."}
    )
    assert (
        line
        == "PIPELINE_CONFIG is set: these variables count only where that file names them: KAFKA_TOPIC_PREFIX, RESEND_API_KEY"
    )


def test_an_empty_variable_is_one_that_is_not_set():
    assert list(misspelled({"TWILIO_FORM": ""})) == []
    assert unread_variables({"TWILIO_FORM": ""}) == []


@given(st.sampled_from(WITHOUT_FILE), st.data())
def test_any_two_letters_swapped_are_noticed(name: str, data: st.DataObject):
    at = data.draw(st.integers(0, len(name) - 2))
    slip = name[:at] + name[at + 1] + name[at] + name[at + 2 :]
    if slip != name:
        assert [found for found, _ in misspelled({slip: "x"})] == [slip]


@given(st.sampled_from(WITHOUT_FILE), st.data())
def test_any_letter_left_out_is_noticed(name: str, data: st.DataObject):
    at = data.draw(st.integers(0, len(name) - 1))
    assert [found for found, _ in misspelled({name[:at] + name[at + 1 :]: "x"})] == [name[:at] + name[at + 1 :]]
