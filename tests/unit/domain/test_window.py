"""Windows: against a slow oracle that only looks at the wall clock, over the zones of the world; and by hand."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pipeline.domain.window import RECIPIENT, Closed, NeverOpens, Open, Window, first_open_ms, gate, zones_of
from pipeline.domain.zone import is_zone

HOUR = 3_600
MINUTE_MS, DAY_MS = 60_000, 86_400_000
NEW_YORK, SAO_PAULO, LONDON = "America/New_York", "America/Sao_Paulo", "Europe/London"
ODD_ZONES = [
    NEW_YORK,
    SAO_PAULO,
    LONDON,
    "Australia/Lord_Howe",
    "Asia/Kathmandu",
    "Pacific/Apia",
    "Africa/Casablanca",
    "Pacific/Chatham",
    "America/St_Johns",
    "Asia/Gaza",
    "Africa/Cairo",
    "America/Nuuk",
    "Etc/GMT+12",
]
ALL_ZONES = sorted(zone for zone in available_timezones() if is_zone(zone))

DAYTIME = Window(8 * HOUR, 20 * HOUR, NEW_YORK)
EVENING = Window(9 * HOUR, 20 * HOUR, NEW_YORK, margin_ms=5_000)
NIGHT = Window(22 * HOUR, 6 * HOUR, NEW_YORK)


def at(text: str, zone: str = NEW_YORK, fold: int = 0) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold).timestamp() * 1000)


def local(instant_ms: int, zone: str = NEW_YORK) -> str:
    return datetime.fromtimestamp(instant_ms / 1000, ZoneInfo(zone)).strftime("%a %m-%d %H:%M:%S %z")


def is_open_by_the_clock(window: Window, zones: tuple[str, ...], instant_ms: int) -> bool:
    """The oracle: look at each wall clock, nothing else."""
    return all(_clock_allows(window, zone, instant_ms) for zone in zones)


def _clock_allows(window: Window, zone: str, instant_ms: int) -> bool:
    wall = datetime.fromtimestamp(instant_ms // 1000, ZoneInfo(zone))
    time_s, day = wall.hour * HOUR + wall.minute * 60 + wall.second, wall.date()
    if window.opens_s < window.closes_s:
        inside = window.opens_s <= time_s < window.closes_s
    else:
        inside = time_s >= window.opens_s or time_s < window.closes_s
        day -= timedelta(days=1) if time_s < window.closes_s else timedelta()
    return inside and day.weekday() in window.days and day not in window.holidays


def check_against_the_clock(window: Window, zones: tuple[str, ...], now_ms: int) -> None:
    """Whole minutes are enough: so are all windows and all transitions since 1972."""
    answer = gate(window, zones, now_ms)
    following = range(now_ms - now_ms % MINUTE_MS + MINUTE_MS, now_ms + 4 * DAY_MS, MINUTE_MS)
    is_open = is_open_by_the_clock(window, zones, now_ms)
    change = next((t for t in following if is_open_by_the_clock(window, zones, t) != is_open), None)
    if change is None:
        assert isinstance(answer, Open) == is_open
    elif is_open:
        assert answer == Open(change, change)
    else:
        assert answer == Closed(change)
        assert first_open_ms(window, zones, now_ms) == change


MINUTES = st.integers(0, 1_439).map(lambda minute: minute * 60)


def _transitions(zone: str, year: int) -> list[int]:
    """Return the instants of `year` at which the wall clock of `zone` jumps."""
    info, start = ZoneInfo(zone), datetime(year, 1, 1, tzinfo=UTC)
    hours = [start + timedelta(hours=hour) for hour in range(366 * 24)]
    offsets = [hour.astimezone(info).utcoffset() for hour in hours]
    return [int(hours[i].timestamp()) * 1000 for i in range(1, len(hours)) if offsets[i] != offsets[i - 1]]


JUMPS = [(zone, jump) for zone in ODD_ZONES for year in (2011, 2018, 2026) for jump in _transitions(zone, year)]


def _window(opens_s: int, closes_s: int, days: frozenset[int]) -> Window | None:
    try:
        return Window(opens_s, closes_s, RECIPIENT, NEW_YORK, days=days)
    except NeverOpens:
        return None


WINDOWS = st.builds(
    _window,
    MINUTES,
    st.just(86_400) | MINUTES,
    st.just(frozenset(range(7))) | st.frozensets(st.integers(0, 6), min_size=4),
).filter(lambda window: window is not None)


@settings(max_examples=60, deadline=None)
@given(WINDOWS, st.sampled_from(ALL_ZONES), st.integers(at("2024-01-01"), at("2036-01-01")))
def test_any_zone_at_any_time_agrees_with_the_wall_clock(window: Window, zone: str, now_ms: int) -> None:
    check_against_the_clock(window, (zone,), now_ms)


@settings(max_examples=100, deadline=None)
@given(WINDOWS, st.sampled_from(JUMPS), st.integers(-DAY_MS, DAY_MS))
def test_nights_of_daylight_saving_agree_with_the_wall_clock(
    window: Window, jump: tuple[str, int], after_ms: int
) -> None:
    check_against_the_clock(window, (jump[0],), jump[1] + after_ms)


@pytest.mark.parametrize("seed", range(4))
def test_in_every_zone_a_closed_window_names_the_first_opening(seed: int) -> None:
    """Each at some instant of 2024-2035: now, and every quarter of an hour up to the opening, is closed by its clock."""
    dice, quarter = random.Random(seed), 15 * MINUTE_MS
    for zone in ALL_ZONES:
        window = dice.choice([DAYTIME, EVENING, NIGHT, Window(0, HOUR, RECIPIENT, NEW_YORK)])
        now = dice.randrange(at("2024-01-01", "UTC"), at("2036-01-01", "UTC"))
        answer = gate(window, (zone,), now)
        if isinstance(answer, Closed):
            opens = answer.until_ms
            assert opens > now
            assert is_open_by_the_clock(window, (zone,), opens)
            usable = [
                each + window.margin_ms
                for each in (now, opens - 1, *range(now - now % quarter + quarter, opens, quarter))
            ]
            assert not any(is_open_by_the_clock(window, (zone,), each) for each in usable if each < opens), zone
        else:
            assert isinstance(answer, Open)
            assert answer.until_ms is not None
            assert is_open_by_the_clock(window, (zone,), now)
            assert is_open_by_the_clock(window, (zone,), answer.until_ms - 1)


NIGHT_MINUTES = st.integers(0, 239).map(lambda minute: minute * 60)


@settings(max_examples=60, deadline=None)
@given(NIGHT_MINUTES, NIGHT_MINUTES, st.sampled_from(JUMPS), st.integers(-180, 180))
def test_edges_inside_the_missing_or_repeated_hour_agree_with_the_wall_clock(
    opens_s: int, closes_s: int, jump: tuple[str, int], after_min: int
) -> None:
    if (window := _window(opens_s, closes_s, frozenset(range(7)))) is not None:
        check_against_the_clock(window, (jump[0],), jump[1] + after_min * MINUTE_MS)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.sampled_from(ODD_ZONES), min_size=2, max_size=3, unique=True),
    st.integers(at("2024-01-01"), at("2036-01-01")),
)
def test_several_zones_must_be_open_together_or_the_fallback_decides(zones: list[str], now_ms: int) -> None:
    window = replace(DAYTIME, zone=RECIPIENT, fallback_zone=LONDON)
    first_ms = now_ms - now_ms % DAY_MS
    together, later = (
        any(
            is_open_by_the_clock(window, tuple(zones), minute)
            for minute in range(first_ms, first_ms + days * DAY_MS, 5 * MINUTE_MS)
        )
        for days in (7, 10)
    )
    assume(together == later)  # a zone that changes its clock within the last days: on which of them is left open
    deciding = tuple(zones) if together else (LONDON,)
    answer = gate(window, tuple(zones), now_ms)
    assert isinstance(answer, Open) == is_open_by_the_clock(window, deciding, now_ms)
    if isinstance(answer, Closed):
        assert is_open_by_the_clock(window, deciding, answer.until_ms)
        assert not is_open_by_the_clock(window, deciding, answer.until_ms - 1)


def test_a_window_is_open_from_its_first_instant_and_closed_at_its_last() -> None:
    assert gate(DAYTIME, (NEW_YORK,), at("2026-06-01T08:00") - 1) == Closed(at("2026-06-01T08:00"))
    until = at("2026-06-01T20:00")
    assert gate(DAYTIME, (NEW_YORK,), at("2026-06-01T08:00")) == Open(until, until)
    assert gate(DAYTIME, (NEW_YORK,), until - 1) == Open(until, until)
    assert gate(DAYTIME, (NEW_YORK,), until) == Closed(at("2026-06-02T08:00"))


def test_the_margin_counts_as_closed_but_the_true_close_is_told() -> None:
    closes = at("2026-06-01T20:00")
    assert gate(EVENING, (NEW_YORK,), closes - 5_001) == Open(closes - 5_000, closes)
    assert gate(EVENING, (NEW_YORK,), closes - 5_000) == Closed(at("2026-06-02T09:00"))


@pytest.mark.parametrize(
    ("now", "opens"),
    [("2026-03-07T21:00", "Sun 03-08 08:00:00 -0400"), ("2026-10-31T21:00", "Sun 11-01 08:00:00 -0500")],
    ids=["spring", "autumn"],
)
def test_the_morning_after_daylight_saving_opens_at_eight(now: str, opens: str) -> None:
    assert local(first_open_ms(DAYTIME, (NEW_YORK,), at(now))) == opens


def test_an_opening_in_the_missing_hour_is_the_jump_itself() -> None:
    window = Window(2 * HOUR + 1_800, 5 * HOUR, NEW_YORK)
    assert local(first_open_ms(window, (NEW_YORK,), at("2026-03-08T00:00"))) == "Sun 03-08 03:00:00 -0400"


def test_a_close_in_the_repeated_hour_closes_on_both_rounds() -> None:
    window = Window(0, HOUR + 1_800, NEW_YORK)
    first, second = at("2026-11-01T01:30"), at("2026-11-01T01:30", fold=1)
    again = at("2026-11-01T01:00", fold=1)
    assert gate(window, (NEW_YORK,), first - 1) == Open(first, first)
    assert gate(window, (NEW_YORK,), first) == Closed(again)
    assert gate(window, (NEW_YORK,), again) == Open(second, second)


def test_a_night_over_midnight_belongs_to_the_day_it_opened_on() -> None:
    window = replace(NIGHT, days=frozenset({4}), holidays=frozenset({date(2026, 6, 12)}))
    assert isinstance(gate(window, (NEW_YORK,), at("2026-06-06T05:59")), Open)  # Saturday, opened on Friday
    assert gate(window, (NEW_YORK,), at("2026-06-06T06:00")) == Closed(at("2026-06-19T22:00"))  # the 12th is a holiday
    assert isinstance(gate(window, (NEW_YORK,), at("2026-06-05T05:00")), Closed)  # Friday early: opened on Thursday


def test_holidays_and_week_ends_are_skipped() -> None:
    window = replace(DAYTIME, days=frozenset(range(5)), holidays=frozenset({date(2026, 12, 25), date(2026, 12, 28)}))
    assert local(first_open_ms(window, (NEW_YORK,), at("2026-12-24T20:00"))) == "Tue 12-29 08:00:00 -0500"


def test_a_holiday_is_a_day_of_the_zone_that_decides() -> None:
    window = Window(8 * HOUR, 20 * HOUR, RECIPIENT, NEW_YORK, holidays=frozenset({date(2026, 12, 25)}))
    instant = at("2026-12-25T09:00", "Pacific/Auckland")
    assert isinstance(gate(window, ("Pacific/Auckland",), instant), Closed)
    assert isinstance(gate(window, ("America/Los_Angeles",), instant), Open)  # still the 24th there


def test_midnight_may_be_written_as_either_end_of_the_day() -> None:
    late = at("2026-06-01T23:59")
    for closes_s in (0, 86_400):
        assert gate(Window(8 * HOUR, closes_s, NEW_YORK), (NEW_YORK,), late) == Open(
            at("2026-06-02T00:00"), at("2026-06-02T00:00")
        )


def test_round_the_clock_is_open_as_far_as_one_looks() -> None:
    answer = gate(Window(0, 86_400, NEW_YORK, margin_ms=5_000), (NEW_YORK,), at("2026-06-01T23:59:58"))
    assert isinstance(answer, Open)
    assert answer.until_ms == answer.closes_ms == at("2026-06-01T23:59:58") + 8 * DAY_MS


def test_no_window_is_always_open() -> None:
    assert gate(None, (), 5) == Open(None, None)
    assert first_open_ms(None, (), 5) == 5


@pytest.mark.parametrize(
    "wrong",
    [
        {"opens_s": 8 * HOUR, "closes_s": 8 * HOUR},
        {"opens_s": 0, "closes_s": 0},
        {"opens_s": 0, "closes_s": 5, "margin_ms": 5_000},
        {"opens_s": 0, "closes_s": HOUR, "days": frozenset[int]()},
    ],
)
def test_a_window_that_never_opens_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(NeverOpens):
        Window(zone=NEW_YORK, **wrong)


RECIPIENTS = replace(DAYTIME, zone=RECIPIENT, fallback_zone=LONDON)


@pytest.mark.parametrize(
    ("window", "time_zone", "to", "zones"),
    [
        (DAYTIME, "Asia/Tokyo", "+12125550123", (NEW_YORK,)),
        (RECIPIENTS, "Asia/Tokyo", "+12125550123", ("Asia/Tokyo",)),
        (RECIPIENTS, None, "+12125550123", (NEW_YORK,)),
        (RECIPIENTS, None, "+5511987654321", (SAO_PAULO,)),
        (RECIPIENTS, None, "a@example.com", (LONDON,)),
        (RECIPIENTS, None, "+99912345", (LONDON,)),
        (RECIPIENTS, "Etc/Unknown", "+12125550123", (NEW_YORK,)),
        (None, "Asia/Tokyo", "+12125550123", ()),
    ],
    ids=["fixed", "own", "number", "brazil", "email", "no-country", "unknown-zone", "no-window"],
)
def test_the_clocks_that_decide(window: Window | None, time_zone: str | None, to: str, zones: tuple[str, ...]) -> None:
    assert zones_of(window, time_zone, to) == zones


def test_a_number_in_several_zones_waits_for_all_of_them() -> None:
    zones = zones_of(RECIPIENTS, None, "+17755550123")  # Nevada and a town on Mountain Time
    assert zones == ("America/Boise", "America/Los_Angeles")
    assert local(first_open_ms(RECIPIENTS, zones, at("2026-06-01T05:00"))) == "Mon 06-01 11:00:00 -0400"
    assert gate(RECIPIENTS, zones, at("2026-06-01T22:00")) == Closed(at("2026-06-02T11:00"))


def test_zones_never_open_together_leave_it_to_the_fallback() -> None:
    window = Window(9 * HOUR, 12 * HOUR, RECIPIENT, LONDON)
    zones = (NEW_YORK, "Asia/Tokyo")
    assert gate(window, zones, at("2026-06-01T10:00", LONDON)) == gate(
        window, (LONDON,), at("2026-06-01T10:00", LONDON)
    )


def test_zones_that_daylight_saving_has_parted_leave_it_to_the_fallback_from_then_on() -> None:
    window = Window(9 * HOUR, 12 * HOUR, RECIPIENT, LONDON)
    zones = (NEW_YORK, "America/Phoenix")  # two hours apart in winter, three in summer
    last = at("2026-03-07T12:00")
    assert gate(window, zones, last - 1) == Open(last, last)
    assert gate(window, zones, last) == Closed(at("2026-03-08T09:00", LONDON))


def test_a_long_holiday_is_no_reason_for_the_fallback() -> None:
    holidays = frozenset(date(2026, 12, 20) + timedelta(days=day) for day in range(14))
    window = Window(8 * HOUR, 20 * HOUR, RECIPIENT, "Asia/Tokyo", holidays=holidays)
    opens = first_open_ms(window, (NEW_YORK, "America/Chicago"), at("2026-12-19T21:00"))
    assert local(opens) == "Sun 01-03 09:00:00 -0500"


def test_a_distant_date_does_not_push_out_the_present() -> None:
    now = at("2026-06-01T10:00")
    present = gate(DAYTIME, (NEW_YORK,), now)
    assert local(first_open_ms(DAYTIME, (NEW_YORK,), at("2031-06-01T03:00"))).startswith("Sun 06-01 08:00")
    assert gate(DAYTIME, (NEW_YORK,), now) is present


def test_the_end_of_time_is_no_error() -> None:
    assert first_open_ms(DAYTIME, (NEW_YORK,), 10**17) >= 10**17


def test_every_zone_of_the_database_is_one_and_nothing_else() -> None:
    missing = {zone for zone in available_timezones() if not is_zone(zone)}
    assert missing <= {"Factory", "localtime"}
    for name in (
        "",
        "America",
        "Etc/Unknown",
        "../etc/passwd",
        "/etc/localtime",
        "america/new_york2",
        "UTC+3",
        "\udc80",
        "A\0",
    ):
        assert not is_zone(name)
