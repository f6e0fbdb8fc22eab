"""The keys that say in which hours a sender may call: `window` and `calendar`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from pipeline.channels.registry import SPECS
from pipeline.domain.calendar import Calendar
from pipeline.domain.window import ALL_DAYS, RECIPIENT, NeverOpens, Window
from pipeline.domain.work import Channel
from pipeline.settings.calendars import HOURS, HoursKeys, load_calendar
from pipeline.settings.compound import ByName, Nested
from pipeline.settings.key_path import InvalidValue
from pipeline.settings.kinds import CLOCK, CLOCK_OR_MIDNIGHT, DATES, WEEKDAYS, ZONE, ZONE_OR_RECIPIENT, text
from pipeline.settings.schema import ABSENT, REQUIRED, key


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowKeys:
    """`window`."""

    opens_s: int = key(CLOCK, REQUIRED, "First moment that is open.")
    closes_s: int = key(
        CLOCK_OR_MIDNIGHT, REQUIRED, "First moment that is closed; if earlier than `opens`, on the next day."
    )
    zone: str = key(
        ZONE_OR_RECIPIENT,
        REQUIRED,
        'Time zone of `opens` and `closes`. "recipient": the touch\'s `time_zone`; without one, the window must be open in every zone of the number.',
    )
    fallback_zone: str | None = key(
        ZONE,
        ABSENT,
        'Required with zone "recipient", and only read then: the zone of recipients without a known zone, or whose zones are never open together.',
    )
    days: frozenset[int] | None = key(WEEKDAYS, ABSENT, "Days on which the window opens; left out: every day.")
    holidays: frozenset[date] = key(DATES, [], "Dates on which the window stays closed, in the zone that applies.")


@dataclass(frozen=True, slots=True, kw_only=True)
class CalendarKeys:
    """`calendar`."""

    name: str = key(text(r"[a-z0-9.-]{1,64}", "a calendar's name"), REQUIRED, "The calendar and its edition.")
    override: dict[str, tuple[HoursKeys, ...]] = key(
        ByName(HOURS),
        {},
        "Other hours for some of its places, by code: a table of the keys below, or an array of them.",
    )


def _window(keys: WindowKeys, channel: Channel | None) -> Window:
    if keys.zone == RECIPIENT and keys.fallback_zone is None:
        raise InvalidValue('fallback_zone beside zone = "recipient"')
    margin_ms = _margin_ms(channel)
    days = ALL_DAYS if keys.days is None else keys.days
    try:
        return Window(
            keys.opens_s,
            keys.closes_s,
            keys.zone,
            keys.fallback_zone,
            days=days,
            holidays=keys.holidays,
            margin_ms=margin_ms,
        )
    except NeverOpens:
        why = f" by more than {margin_ms // 1000} s" if margin_ms else ""
        raise InvalidValue(f'closes after opens{why}, so that it opens at all ("always" for no window)') from None


def _calendar(keys: CalendarKeys, channel: Channel | None) -> Calendar:
    return load_calendar(keys.name, keys.override, _margin_ms(channel))


def _margin_ms(channel: Channel | None) -> int:
    return 0 if channel is None else SPECS[channel].window_margin_ms


WINDOW = Nested(WindowKeys, _window, "always")
CALENDAR = Nested(CalendarKeys, _calendar, "none", short="name")
