"""The legal calendars that come with the pipeline, `pipeline/calendars/*.toml`: data, read by the keys of an override."""

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
from pipeline.settings.kinds import CLOCK, CLOCK_OR_MIDNIGHT, DAYS, WEEKDAYS, choice
from pipeline.settings.place import Place, Wrong
from pipeline.settings.table import ABSENT, REQUIRED, Nested, OneOrSteps, key

YEARS: Final = range(2024, 2036)
"""For which the holidays are computed."""
_DATA = resources.files("pipeline") / "calendars"


@dataclass(frozen=True, slots=True, kw_only=True)
class HoursKeys:
    """Hours of a place."""

    opens_s: int = key(CLOCK, REQUIRED, "First moment that is open, by the recipient's clock.")
    closes_s: int = key(CLOCK_OR_MIDNIGHT, REQUIRED, "First moment that is closed.")
    days: frozenset[int] | None = key(WEEKDAYS, ABSENT, "Days that open so; every day if left out.")
    holidays: str = key(choice("open", "closed"), "open", "Whether the calendar's legal holidays open.")


def _itself(keys: HoursKeys, _: Channel | None) -> HoursKeys:
    return keys


def _alone(keys: HoursKeys, _: Channel | None) -> tuple[HoursKeys, ...]:
    return (keys,)


def _several(found: tuple[HoursKeys, ...]) -> tuple[HoursKeys, ...]:
    return found or _refuse("at least one table of hours")


HOURS = OneOrSteps(Nested(HoursKeys, _alone), Nested(HoursKeys, _itself), _several)


def calendar_names() -> list[str]:
    """Return the calendars there are."""
    return sorted(each.name.removesuffix(".toml") for each in _DATA.iterdir() if each.name.endswith(".toml"))


def load_calendar(name: str, override: Mapping[str, tuple[HoursKeys, ...]], margin_ms: int) -> Calendar:
    """Return calendar `name` with the hours of some places replaced; `margin_ms` before each close count as closed.

    Raises Wrong.
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
        name,
        raw["country_code"],
        frozenset(raw["regions"]),
        tuple(raw["zones"]),
        _rule(_read(raw["default"]["hours"], name), holidays, margin_ms),
        {code: _rule(each, holidays, margin_ms) for code, each in hours.items()},
        _by_area(raw["area_codes"]),
    )


def _read(hours: list[Any], name: str) -> tuple[HoursKeys, ...]:
    found = HOURS.read(hours, Place(name, None, [], {}), secret=False)
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
                ALL_DAYS if each.days is None else each.days,
                holidays if each.holidays == "closed" else frozenset(),
                margin_ms,
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
    raise Wrong(allowed)
