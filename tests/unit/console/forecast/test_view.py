"""The forecast as it is shown: tables, picture, notes and JSON of a known case."""

from __future__ import annotations

import io
import json
from array import array
from collections import Counter

import pytest

from pipeline.console.forecast.view import duration, json_of, show
from pipeline.domain.order import Action, Order, Target
from pipeline.domain.story import State
from pipeline.domain.work import Channel
from pipeline.forecast import CampaignOutlook, Forecast, LaneOutlook
from pipeline.forecast.picture import picture

NOW = 1_795_550_400_000  # 2026-11-24 20:00 UTC
MINUTE, HOUR = 60_000, 3_600_000


def every(step_ms: int, start_ms: int, count: int) -> array[int]:
    return array("q", [NOW + start_ms + n * step_ms for n in range(count)])


def known(**more) -> Forecast:
    evening, morning = every(6_000, 0, 600), every(12_000, 13 * HOUR, 300)
    lanes = [
        LaneOutlook(
            left=910,
            deferred=10,
            ends=Counter({State.SENT: 900, State.EXPIRED: 10}),
            sent_ms=evening + morning,
            last_ms=NOW + 14 * HOUR,
            channel=Channel.WHATSAPP,
            lane=0,
            sender="main",
            held_ms=Counter({"closed window": 12 * HOUR, "10 per 1m": 2 * HOUR}),
            latency_ms=200,
            outage="HTTP 503 \x1b[31m",
        ),
        LaneOutlook(
            left=40,
            ends=Counter({State.SENT: 20}),
            sent_ms=every(15 * MINUTE, 0, 20),
            last_ms=NOW + 5 * HOUR,
            is_done=False,
            channel=Channel.SMS,
            lane=3,
            sender="us",
            held_ms=Counter({"daily cap of 20": HOUR}),
            latency_ms=180,
            is_measured=True,
        ),
    ]
    campaigns = [
        CampaignOutlook(
            left=950,
            deferred=10,
            ends=Counter({State.SENT: 920, State.EXPIRED: 10}),
            sent_ms=evening,
            last_ms=NOW + 200 * MINUTE,
            name="autumn [red]",
            channels={Channel.WHATSAPP, Channel.SMS},
        )
    ]
    return Forecast(
        **{
            "now_ms": NOW,
            "until_ms": NOW + 24 * HOUR,
            "lanes": lanes,
            "campaigns": campaigns,
            "not_accepted": 0,
            **more,
        }
    )


def shown(foreseen: Forecast) -> list[str]:
    out = io.StringIO()
    show(foreseen, out)
    return [line.rstrip() for line in out.getvalue().splitlines()]


def test_the_picture_shows_who_sends_when_and_a_closed_window_as_a_gap():
    assert picture(known()) == [
        "whatsapp main  ████                                                ▄▄▄▄",
        "sms us         ████████████████████",
        "               ┬───────────┬───────────┬───────────┬───────────┬───────",
        "               20:00       23:00       02:00       05:00       08:00",
        "               UTC; a column is 15m, a full one each lane's busiest",
    ]


def test_a_picture_of_days_names_the_days_and_one_of_seconds_the_seconds():
    def axis(step_ms: int) -> list[str]:
        return picture(known(lanes=[LaneOutlook(sent_ms=every(step_ms, 0, 50), sender="us")]))[-2:]

    assert axis(24 * HOUR)[0].split()[:4] == ["11-24", "00:00", "12-06", "00:00"]
    assert axis(1_000)[0].split()[:2] == ["20:00:00", "20:00:12"]
    assert axis(1_000)[1].strip().startswith("UTC; a column is 1s")


@pytest.mark.parametrize("span_ms", [1, 59_999, 60_000, 3_600_001, 86_400_000, 400 * 86_400_000])
def test_a_picture_is_never_wider_than_sixty_columns_and_holds_all_that_is_sent(span_ms: int):
    row, axis, *_ = picture(known(lanes=[LaneOutlook(sent_ms=array("q", [NOW, NOW + span_ms]), sender="us")]))
    columns = len(axis.strip())
    assert columns <= 60
    assert len(row) - len("sms us  ") == columns, "the last is in the last column"


def test_where_nothing_is_sent_there_is_no_picture():
    assert picture(known(lanes=[])) == []


def test_tables_picture_and_notes():
    assert shown(known()) == [
        "",
        " channel    sender   waiting   deferred   expire   fail   done at                      in    held back most by",
        " ─────────────────────────────────────────────────────────────────────────────────────────────────────────────",
        " whatsapp   main         900         10       10      0   2026-11-25T10:00:00Z         14h   closed window",
        " sms        us            40          0        0      0   after 2026-11-25T20:00:00Z   -     daily cap of 20",
        "",
        "",
        " campaign       channels        left   deferred   expire   fail   done at                in",
        " ──────────────────────────────────────────────────────────────────────────────────────────────",
        " autumn [red]   sms, whatsapp    950         10       10      0   2026-11-24T23:20:00Z   3h 20m",
        "",
        *picture(known()),
        "",
        "whatsapp main is held by outage (HTTP 503 ?[31m): assumed to be at work again at its next probe",
        "duration of a call, assumed: whatsapp main 200 ms",
    ]


def test_without_a_backlog_it_says_so_and_what_is_not_accepted():
    assert shown(known(lanes=[], campaigns=[], not_accepted=1_234)) == [
        "no backlog: nothing waits in a lane, nothing is deferred",
        "not yet accepted: 1,234 records of touches; they are not in the forecast",
    ]


def test_as_json_everything_is_there():
    said = json.loads(json_of(known(not_accepted=2)))
    whatsapp, sms = said["lanes"]
    assert {key: said[key] for key in ("now", "until", "not_accepted", "buckets")} == {
        "now": "2026-11-24T20:00:00Z",
        "until": "2026-11-25T20:00:00Z",
        "not_accepted": 2,
        "buckets": {"start": "2026-11-24T20:00:00Z", "seconds": 900, "count": 56},
    }
    assert sum(whatsapp.pop("sent_per_bucket")) == 900
    assert whatsapp == {
        "channel": "whatsapp",
        "lane": 0,
        "sender": "main",
        "left": 910,
        "waiting": 900,
        "deferred": 10,
        "sent": 900,
        "expired": 10,
        "failed": 0,
        "unconfirmed": 0,
        "cancelled": 0,
        "suppressed": 0,
        "done_at": "2026-11-25T10:00:00Z",
        "held_by": "closed window",
        "outage": "HTTP 503 \x1b[31m",
        "orders": [],
        "call_ms": 200,
        "call_ms_is_measured": False,
    }
    assert (sms["done_at"], sms["call_ms_is_measured"]) == (None, True)
    assert said["campaigns"][0]["channels"] == ["sms", "whatsapp"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (0.4, "0s"),
        (59, "59s"),
        (60, "1m"),
        (61, "1m 1s"),
        (3_600, "1h"),
        (3_605, "1h"),
        (12_000, "3h 20m"),
        (183_600, "2d 3h"),
    ],
)
def test_a_duration_is_said_in_its_two_largest_units(seconds: float, text: str):
    assert duration(round(seconds * 1000)) == text


def pause(**target) -> Order:
    return Order(Action.PAUSE, Target(**target), note="wrong price", by="ann", at_ms=NOW)


def test_the_orders_that_hold_a_lane_are_named():
    held = [pause(channel=Channel.SMS), pause(campaign="spring"), pause(channel=Channel.SMS, sender="other")]
    out = io.StringIO()
    show(known(), out, held)
    said = [line for line in out.getvalue().splitlines() if "held by pause" in line]
    tail = ", ann, 2026-11-24T20:00:00.000Z: wrong price; the forecast leaves that out"
    assert said == [f"sms us is held by pause:channel=sms{tail}", f"touches may be held by pause:campaign=spring{tail}"]
    lanes = {lane["channel"]: lane["orders"] for lane in json.loads(json_of(known(), held))["lanes"]}
    assert lanes == {"whatsapp": [], "sms": ["pause:channel=sms"]}
