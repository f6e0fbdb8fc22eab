"""A status record as a line."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from pipeline.console.status.view import ENDS, json_of, line_of, occurred_ms, time_of

AT = datetime(2026, 11, 24, 12, 3, 4, 567_000, tzinfo=UTC)
AT_MS = 1_795_521_784_567


def test_the_first_four_words_are_time_id_state_and_reason():
    line = line_of({"touch_id": "t-1", "state": "deferred", "reason": "window", "occurred_at": AT_MS})
    assert line.split() == ["2026-11-24T12:03:04.567Z", "t-1", "deferred", "window"]


def test_no_reason_is_a_dash():
    assert line_of({"touch_id": "t-1", "state": "sent", "reason": None, "occurred_at": AT_MS}).split()[3] == "-"


def test_what_else_is_known_follows_by_name():
    line = line_of(
        {
            "touch_id": "t-1",
            "state": "retrying",
            "reason": "backoff",
            "occurred_at": AT_MS,
            "attempt": 2,
            "sender": "main",
            "next_attempt_at": AT_MS + 1_000,
            "error_code": "500",
            "error": 'said "no"',
            "provider_message_id": "SM1",
        }
    )
    assert line.split()[4:] == [
        "next=2026-11-24T12:03:05.567Z",
        "attempt=2",
        "sender=main",
        "id=SM1",
        "code=500",
        r'error="said',
        r'\"no\""',
    ]


def test_an_error_cannot_steer_a_terminal():
    line = line_of(
        {"touch_id": "t-1", "state": "failed", "reason": "rejected", "occurred_at": AT_MS, "error": "a\x1b[2J\nb"}
    )
    assert line.endswith("error=a?[2J?b")


def test_all_forms_of_an_instant_are_one_instant():
    assert {occurred_ms({"occurred_at": form}) for form in (AT_MS, AT, "2026-11-24T12:03:04.567+00:00")} == {AT_MS}


def test_json_has_integer_instants_and_no_absent_members():
    assert (
        json_of({"touch_id": "t-1", "occurred_at": AT, "reason": None}) == f'{{"touch_id":"t-1","occurred_at":{AT_MS}}}'
    )


def test_the_states_that_end_a_touch():
    assert {"sent", "failed", "expired", "unconfirmed", "suppressed", "cancelled"} == ENDS


HOSTILE = "\x9b31mred \u202e\x7f\u2028"
"""What steers a terminal: a C1 escape, a turn of direction, delete, a line separator."""


def test_no_status_steers_a_terminal_as_a_line_or_as_json():
    told = {"touch_id": "t-1", "state": "failed", "occurred_at": AT_MS, "error": HOSTILE, "campaign_id": HOSTILE}
    for shown in (line_of(told), json_of(told)):
        assert shown.isprintable(), shown
    assert json.loads(json_of(told)) == told


@pytest.mark.parametrize("at_ms", [2**62, -(2**62), 253_402_300_800_000, 10**18])
def test_an_instant_that_no_calendar_has_is_shown_as_its_number(at_ms: int):
    assert time_of(at_ms) == f"{at_ms} ms"
    assert f"{at_ms} ms" in line_of({"touch_id": "t-1", "state": "sent", "occurred_at": at_ms})
