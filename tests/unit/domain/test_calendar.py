"""The legal calendars: whom they bind, what they say, and over twelve years that no call begins outside them."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import phonenumbers
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.domain.calendar import Calendar, Holiday, Jurisdiction
from pipeline.domain.hours import Never, ever_open, first_open_ms, gate
from pipeline.domain.window import RECIPIENT, Closed, Open, Window, zones_of
from pipeline.domain.work import Channel
from pipeline.settings import load
from pipeline.settings.calendars import HoursKeys, calendar_names, load_calendar
from pipeline.stages.lane.gate import NeverOpen, Pass, decide
from tests.harness.lane_rig import Rig, policy, work

NEW_YORK, LOS_ANGELES = "America/New_York", "America/Los_Angeles"
US = load_calendar("us-2026.1", {}, 0)
MIAMI, NEW_ORLEANS, DALLAS, PROVIDENCE, MANHATTAN = (
    "+13055550123",
    "+15045550123",
    "+12145550123",
    "+14015550123",
    "+12125550123",
)
TOLL_FREE, TORONTO, SAO_PAULO, SAN_JUAN = "+18005550123", "+14165550123", "+5511987654321", "+17875550123"
HOUR = 3_600


def at(text: str, zone: str = NEW_YORK) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp() * 1000)


def opening(to: str, text: str, zone: str = NEW_YORK, time_zone: str | None = None) -> str:
    """Return from `text` on the first opening and its close, by the clock of `zone`."""
    opens = first_open_ms(None, US, time_zone, to, at(text, zone))
    assert opens is not None
    answer = gate(None, US, time_zone, to, opens)
    assert isinstance(answer, Open)
    first, last = (datetime.fromtimestamp(each / 1000, ZoneInfo(zone)) for each in (opens, answer.closes_ms or 0))
    return f"{first:%a %m-%d %H:%M} to {last:%H:%M}"


@pytest.mark.parametrize(
    ("to", "now", "expected"),
    [
        (MANHATTAN, "2026-06-01T03:00", "Mon 06-01 08:00 to 21:00"),
        (MIAMI, "2026-06-01T03:00", "Mon 06-01 08:00 to 20:00"),
        (MIAMI, "2026-06-07T03:00", "Sun 06-07 08:00 to 20:00"),
        (PROVIDENCE, "2026-06-05T19:00", "Sat 06-06 10:00 to 17:00"),
        (PROVIDENCE, "2026-06-08T03:00", "Mon 06-08 09:00 to 18:00"),
        (PROVIDENCE, "2026-12-25T03:00", "Sat 12-26 10:00 to 17:00"),
        (SAN_JUAN, "2026-06-01T03:00", "Mon 06-01 08:00 to 21:00"),
        (TOLL_FREE, "2026-06-01T03:00", "Mon 06-01 13:00 to 18:00"),
        ("ann@example.com", "2026-06-06T19:00", "Mon 06-08 13:00 to 18:00"),
    ],
)
def test_the_place_decides(to: str, now: str, expected: str) -> None:
    assert opening(to, now) == expected


@pytest.mark.parametrize(
    ("to", "now", "expected"),
    [
        (NEW_ORLEANS, "2026-06-06T20:00", "Mon 06-08 08:00 to 20:00"),  # no Sunday
        (NEW_ORLEANS, "2026-07-02T20:00", "Mon 07-06 08:00 to 20:00"),  # the 4th is a Saturday: the Friday too
        (NEW_ORLEANS, "2027-07-03T20:00", "Tue 07-06 08:00 to 20:00"),  # the 4th is a Sunday: the Monday too
        (DALLAS, "2026-06-06T21:00", "Sun 06-07 12:00 to 21:00"),
    ],
)
def test_sundays_and_holidays_are_the_states(to: str, now: str, expected: str) -> None:
    assert opening(to, now, "America/Chicago") == expected


def test_the_touchs_own_time_zone_is_the_clock_of_its_numbers_place() -> None:
    assert opening(MIAMI, "2026-06-01T03:00", LOS_ANGELES, LOS_ANGELES) == "Mon 06-01 08:00 to 20:00"
    assert opening(TOLL_FREE, "2026-06-01T03:00", LOS_ANGELES, LOS_ANGELES) == "Mon 06-01 10:00 to 18:00"


@pytest.mark.parametrize("to", [TORONTO, SAO_PAULO])
def test_other_countries_are_not_bound(to: str) -> None:
    assert gate(None, US, None, to, at("2026-06-07T03:00")) == Open(None, None)


def test_a_number_in_several_zones_waits_for_all_of_them() -> None:
    assert US.jurisdiction_of(None, "+17755550123") == Jurisdiction(("NV",), ("America/Boise", LOS_ANGELES))
    assert opening("+17755550123", "2026-06-01T03:00", LOS_ANGELES) == "Mon 06-01 09:00 to 19:00"


def test_window_and_calendar_must_be_open_together() -> None:
    window = Window(9 * HOUR, 19 * HOUR, NEW_YORK)
    noon = gate(window, US, None, "+12065550123", at("2026-06-01T12:00"))
    assert noon == Open(at("2026-06-01T19:00"), at("2026-06-01T19:00"))
    early = gate(window, US, None, "+12065550123", at("2026-06-01T09:00"))
    assert early == Closed(at("2026-06-01T11:00")), "eight o'clock in Seattle"


def test_hours_that_never_meet_are_told() -> None:
    window = Window(9 * HOUR, 10 * HOUR, NEW_YORK)
    assert gate(window, US, "Asia/Tokyo", MIAMI, at("2026-06-01T12:00")) == Never()
    assert first_open_ms(window, US, "Asia/Tokyo", MIAMI, at("2026-06-01T12:00")) is None
    night = policy(window=window, calendar=US)
    assert decide(night, work("a", to=MIAMI, time_zone="Asia/Tokyo"), at("2026-06-01T12:00")) == NeverOpen()
    rig = Rig(night)
    rig.step(work("a", to=MIAMI, time_zone="Asia/Tokyo"))
    assert rig.states() == [("failed", "invalid")]


def test_a_lane_defers_to_the_calendars_opening_and_the_lease_ends_with_it() -> None:
    rig = Rig(policy(calendar=load_calendar("us-2026.1", {}, 5_000)), now_ms=at("2026-06-01T19:59:57"))
    rig.step(work("late", to=MIAMI), work("new-york", to=MANHATTAN))
    assert [claim.works[0].touch_id for claim in rig.calls] == ["new-york"]
    assert rig.events[0][1].next_attempt_at_ms == at("2026-06-02T08:00")
    rig.now_ms = at("2026-06-01T20:59:53")
    rig.step(work("just", to=MANHATTAN))
    assert rig.calls[-1].lease_until_ms == at("2026-06-01T20:59:55")


def test_a_place_may_be_overridden() -> None:
    own = load_calendar(
        "us-2026.1", {"FL": (HoursKeys(opens_s=9 * HOUR, closes_s=12 * HOUR, days=None, holidays="open"),)}, 0
    )
    assert gate(None, own, None, MIAMI, at("2026-06-01T08:00")) == Closed(at("2026-06-01T09:00"))
    assert isinstance(gate(None, own, None, MANHATTAN, at("2026-06-01T08:00")), Open)


def test_it_is_configured_per_channel_and_off_unless_it_is(tmp_path: Path) -> None:
    (tmp_path / "p.toml").write_text("""
    [channels.sms]
    calendar = { name = "us-2026.1", override = { FL = [{ opens = "09:00", closes = "12:00", days = ["mon"] }] } }
    [channels.whatsapp]
    calendar = "us-2026.1"
    """)
    channels = load({"PIPELINE_CONFIG": "p.toml"}, tmp_path).channels
    sms, whatsapp = channels[Channel.SMS].calendar, channels[Channel.WHATSAPP].calendar
    assert channels[Channel.EMAIL].calendar is None
    assert whatsapp == US
    assert sms is not None
    assert sms.rules["FL"] == (Window(9 * HOUR, 12 * HOUR, RECIPIENT, None, days=frozenset({0}), margin_ms=5_000),)
    assert sms.default[0].margin_ms == 5_000


def test_federal_holidays_are_the_published_ones() -> None:
    """opm.gov lists them; 2026 and 2028 written out."""
    kept = US.rules["AL"][0].holidays
    assert sorted(day for day in kept if day.year == 2026) == [
        date(2026, *day)
        for day in [
            (1, 1),
            (1, 19),
            (2, 16),
            (5, 25),
            (6, 19),
            (7, 3),
            (7, 4),
            (9, 7),
            (10, 12),
            (11, 11),
            (11, 26),
            (12, 25),
        ]
    ]
    assert {date(2028, 1, 1), date(2027, 12, 31), date(2028, 5, 29), date(2028, 11, 10)} <= kept
    assert {day.year for day in kept} == set(range(2024, 2036))
    assert Holiday(12, weekday=0, nth=-1).dates(2026) == [date(2026, 12, 28)]


def test_every_calendar_there_is_can_be_read_and_opens() -> None:
    for name in calendar_names():
        assert ever_open(None, load_calendar(name, {}, 5_000), at("2026-01-01"))


def test_every_area_code_of_the_united_states_is_in_a_place() -> None:
    for area in range(200, 1000):
        number = phonenumbers.PhoneNumber(country_code=1, national_number=int(f"{area}5550123"))
        zones = zones_of(Window(0, HOUR, RECIPIENT, "UTC"), None, f"+1{area}5550123")
        if (
            phonenumbers.is_valid_number(number)
            and phonenumbers.region_code_for_number(number) == "US"
            and len(zones) < 5
        ):
            place = US.jurisdiction_of(None, f"+1{area}5550123")
            assert place is not None
            assert place.codes, area


# --- twelve years ------------------------------------------------------------------------------------------------

NUMBERS = st.sampled_from(
    [
        MIAMI,
        NEW_ORLEANS,
        DALLAS,
        PROVIDENCE,
        MANHATTAN,
        TOLL_FREE,
        SAN_JUAN,
        "+12065550123",
        "+15025550123",
        "+17755550123",
        "+12015550123",
        "+19075550123",
        "ann@example.com",
    ]
)
WINDOWS = st.sampled_from(
    [
        None,
        Window(9 * HOUR, 20 * HOUR, NEW_YORK, margin_ms=5_000),
        Window(8 * HOUR, 22 * HOUR, RECIPIENT, NEW_YORK),
        Window(20 * HOUR, 12 * HOUR, RECIPIENT, NEW_YORK, days=frozenset(range(5))),
    ]
)
INSTANTS = st.integers(at("2024-01-01", "UTC"), at("2036-01-01", "UTC") - 1)
OWN = st.sampled_from([None, None, NEW_YORK, LOS_ANGELES, "Pacific/Honolulu", "America/Phoenix"])


def _lawful(calendar: Calendar, time_zone: str | None, to: str, instant_ms: int) -> bool:
    """The oracle: each wall clock, against the table in docs/calendars.md."""
    place = calendar.jurisdiction_of(time_zone, to)
    assert place is not None
    codes = [*sorted(calendar.rules), "NY"] if place.codes is None else place.codes
    return all(
        _allows(code, datetime.fromtimestamp(instant_ms / 1000, ZoneInfo(zone)))
        for code in codes
        for zone in place.zones
    )


def _allows(code: str, wall: datetime) -> bool:
    day, hour = wall.weekday(), wall.hour + wall.minute / 60
    feast = wall.date() in US.rules["AL"][0].holidays
    if code in ("AL", "LA", "MS"):
        return day != 6 and not feast and 8 <= hour < 20
    if code == "RI":
        return not feast and (9 <= hour < 18 if day < 5 else 10 <= hour < 17)
    if code == "TX":
        return (12 if day == 6 else 9) <= hour < 21
    hours = {"CT": (9, 20), "NV": (9, 20), "KY": (10, 21), "MI": (9, 21), "MN": (9, 21), "NM": (9, 21)}
    hours |= dict.fromkeys(("FL", "MA", "MD", "NJ", "OK", "WA", "WY"), (8, 20))
    opens, closes = hours.get(code, (8, 21))
    return opens <= hour < closes


def _open_in(window: Window | None, time_zone: str | None, to: str, instant_ms: int) -> bool:
    if window is None:
        return True
    return all(
        _inside(window, datetime.fromtimestamp(instant_ms / 1000, ZoneInfo(zone)))
        for zone in zones_of(window, time_zone, to)
    )


def _inside(window: Window, wall: datetime) -> bool:
    time_s, day = wall.hour * HOUR + wall.minute * 60 + wall.second, wall.weekday()
    if window.opens_s < window.closes_s:
        return window.opens_s <= time_s < window.closes_s and day in window.days
    return (time_s >= window.opens_s and day in window.days) or (
        time_s < window.closes_s and (day - 1) % 7 in window.days
    )


@settings(max_examples=150, deadline=None)
@given(NUMBERS, WINDOWS, OWN, INSTANTS)
def test_no_call_begins_outside_and_a_closed_answer_names_the_first_opening(
    to: str, window: Window | None, time_zone: str | None, now_ms: int
) -> None:
    if window is not None and window.zone == RECIPIENT and to == TOLL_FREE:
        time_zone = time_zone or NEW_YORK  # 42 zones: the window's fallback decides, which the oracle does not know
    margin_ms = 0 if window is None else window.margin_ms

    def is_open(instant_ms: int) -> bool:
        return _lawful(US, time_zone, to, instant_ms) and all(
            _open_in(window, time_zone, to, each) for each in (instant_ms, instant_ms + margin_ms)
        )

    answer = gate(window, US, time_zone, to, now_ms)
    if isinstance(answer, Open):
        assert answer.until_ms is not None
        assert is_open(now_ms)
        assert is_open(answer.until_ms - 1)
        return
    quarter = 15 * 60_000
    if isinstance(answer, Never):  # 20:00 to noon in New York, and the strictest hours
        assert not any(is_open(each) for each in range(now_ms, now_ms + 8 * 86_400_000, quarter))
        return
    opens_ms = answer.until_ms
    assert opens_ms > now_ms
    assert is_open(opens_ms)
    assert first_open_ms(window, US, time_zone, to, now_ms) == opens_ms
    before = range(now_ms - now_ms % quarter + quarter, opens_ms, quarter)
    assert not any(is_open(each) for each in (now_ms, opens_ms - 1, *before)), "none is passed over"


def test_judging_by_a_calendar_is_a_go_until_its_close() -> None:
    decision = decide(policy(calendar=US), work("a", to=MIAMI), at("2026-06-01T10:00"))
    assert decision == Pass(at("2026-06-01T20:00"), at("2026-06-01T20:00"))
    assert datetime.fromtimestamp(at("2026-06-01T20:00") / 1000, UTC)
