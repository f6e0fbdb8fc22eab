"""The legal calendars shipped with the pipeline, `pipeline/calendars/*.toml`: their hours have the keys of an override."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from difflib import get_close_matches
from importlib import resources
from typing import Any, Final, Never

from pipeline.domain.calendar import Calendar, Holiday, Rule
from pipeline.domain.window import ALL_DAYS, RECIPIENT, NeverOpens, Window
from pipeline.domain.work import Channel
from pipeline.settings.compound import Nested, OneOrArray
from pipeline.settings.key_path import InvalidValue, KeyPath
from pipeline.settings.kinds import CLOCK, CLOCK_OR_MIDNIGHT, DAYS, WEEKDAYS, choice
from pipeline.settings.schema import ABSENT, REQUIRED, key

YEARS: Final = range(2024, 2036)
"""Years for which the holidays are computed."""
_DATA = resources.files("pipeline") / "calendars"


@dataclass(frozen=True, slots=True, kw_only=True)
class HoursKeys:
    """Hours of a place."""

    opens_s: int = key(CLOCK, REQUIRED, "First moment that is open, in the recipient's zone.")
    closes_s: int = key(CLOCK_OR_MIDNIGHT, REQUIRED, "First moment that is closed.")
    days: frozenset[int] | None = key(WEEKDAYS, ABSENT, "Days with these hours; left out: every day.")
    holidays: str = key(choice("open", "closed"), "open", "Whether these hours hold on the calendar's legal holidays.")


def _unchanged(keys: HoursKeys, _: Channel | None) -> HoursKeys:
    return keys


def _alone(keys: HoursKeys, _: Channel | None) -> tuple[HoursKeys, ...]:
    return (keys,)


def _several(found: tuple[HoursKeys, ...]) -> tuple[HoursKeys, ...]:
    return found or _refuse("at least one table of hours")


HOURS = OneOrArray(Nested(HoursKeys, _alone), Nested(HoursKeys, _unchanged), _several)


def calendar_names() -> list[str]:
    """Return the names of the shipped calendars."""
    return sorted(each.name.removesuffix(".toml") for each in _DATA.iterdir() if each.name.endswith(".toml"))


def load_calendar(name: str, override: Mapping[str, tuple[HoursKeys, ...]], margin_ms: int) -> Calendar:
    """Return calendar `name` with the hours of some places replaced; the last `margin_ms` of each opening count as closed.

    Raises InvalidValue.
    """
    if name not in calendar_names():
        close = get_close_matches(name, calendar_names(), n=1)
        _refuse(f"a calendar: {', '.join(calendar_names())}" + (f' (did you mean "{close[0]}"?)' if close else ""))
    raw = tomllib.loads((_DATA / f"{name}.toml").read_text("utf-8"))
    for code in override:
        if code not in raw["area_codes"]:
            _refuse(f"as place one of {', '.join(raw['area_codes'])}, not {code}")
    holidays = _dates(raw["holidays"])
    hours = {code: _read(place["hours"], name) for code, place in raw["places"].items()} | dict(override)
    return Calendar(
        name=name,
        country_code=raw["country_code"],
        regions=frozenset(raw["regions"]),
        zones=tuple(raw["zones"]),
        default=_rule(_read(raw["default"]["hours"], name), holidays, margin_ms),
        rules={code: _rule(each, holidays, margin_ms) for code, each in hours.items()},
        area_codes=_by_area(raw["area_codes"]),
    )


def _read(hours: list[Any], name: str) -> tuple[HoursKeys, ...]:
    found = HOURS.read(hours, KeyPath(name, None, [], {}), secret=False)
    assert found is not None
    return found


def _rule(hours: Iterable[HoursKeys], holidays: frozenset[date], margin_ms: int) -> Rule:
    try:
        return tuple(
            Window(
                each.opens_s,
                each.closes_s,
                RECIPIENT,
                None,
                days=ALL_DAYS if each.days is None else each.days,
                holidays=holidays if each.holidays == "closed" else frozenset(),
                margin_ms=margin_ms,
            )
            for each in hours
        )
    except NeverOpens:
        _refuse("closes after opens, so that it opens at all")


def _dates(raw: Mapping[str, Any]) -> frozenset[date]:
    kept = [
        Holiday(
            each["month"],
            each.get("day"),
            None if "weekday" not in each else DAYS.index(each["weekday"]),
            each.get("nth", 1),
        )
        for each in raw.values()
    ]
    # The year after, too: a New Year's Day on a Saturday closes the last day of the year before.
    return frozenset(
        day for year in (*YEARS, YEARS.stop) for each in kept for day in each.dates(year) if day.year in YEARS
    )


def _by_area(raw: Mapping[str, list[int]]) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for code, areas in raw.items():
        for area in areas:
            found[str(area)] = (*found.get(str(area), ()), code)
    return found


def _refuse(allowed: str) -> Never:
    raise InvalidValue(allowed)
