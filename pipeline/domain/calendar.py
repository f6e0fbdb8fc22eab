"""A legal calendar: the hours in which the law of the recipient's place allows a call."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from functools import lru_cache

import phonenumbers

from pipeline.domain.window import Window, zones_of_number

Rule = tuple[Window, ...]
"""Open when any of its windows is."""
SATURDAY, SUNDAY = 5, 6


@dataclass(frozen=True, slots=True)
class Jurisdiction:
    """The places and time zones that may apply to a recipient: all their rules must be open, in every zone."""

    codes: tuple[str, ...] | None
    """Codes of the possible places; None: unknown, so any place."""
    zones: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Calendar:
    """The rules of one country, one edition. Its windows have no zone: the recipient's applies."""

    name: str
    country_code: int
    regions: frozenset[str]
    """CLDR regions whose numbers the calendar applies to."""
    zones: tuple[str, ...]
    """The time zones of a recipient without a known place."""
    default: Rule
    rules: Mapping[str, Rule]
    """Rules that differ from the default, by place."""
    area_codes: Mapping[str, tuple[str, ...]]
    """Places by the first three digits of the national number."""

    def __hash__(self) -> int:
        return hash(self.name)  # equal calendars have one name; the mappings have no hash

    def jurisdiction_of(self, time_zone: str | None, to: str) -> Jurisdiction | None:
        """Return what applies to `to` (E.164, or an e-mail address); None if this calendar does not apply.

        `time_zone` is the touch's own, which takes precedence over those of the number.
        """
        if to.startswith("+") and not self._binds(to):
            return None
        codes = self._area(to)
        own = () if codes is None else zones_of_number(to)
        return Jurisdiction(codes, (time_zone,) if time_zone is not None else own or self.zones)

    def rules_in(self, jurisdiction: Jurisdiction) -> list[Rule]:
        """Return the rules that must all be open; of an unknown place every rule: the strictest decides, hour by hour."""
        if jurisdiction.codes is None:
            return [self.default, *self.rules.values()]
        return [self.rules.get(code, self.default) for code in jurisdiction.codes]

    def _binds(self, number: str) -> bool:
        prefix = f"+{self.country_code}"
        return number.startswith(prefix) and (
            self._area(number) is not None or _region(number) in {*self.regions, None}
        )

    def _area(self, number: str) -> tuple[str, ...] | None:
        prefix = f"+{self.country_code}"
        return self.area_codes.get(number[len(prefix) : len(prefix) + 3]) if number.startswith(prefix) else None


@dataclass(frozen=True, slots=True)
class Holiday:
    """A day of each year: `day` of the month, or the `nth` such weekday of it (Monday is 0; -1 is the last)."""

    month: int
    day: int | None = None
    weekday: int | None = None
    nth: int = 1

    def dates(self, year: int) -> list[date]:
        """Return the days of `year` on which it is observed: with a Saturday also the Friday before, with a Sunday the Monday after."""
        if self.weekday is not None:
            return [_nth_weekday(year, self.month, self.weekday, self.nth)]
        assert self.day is not None
        found = date(year, self.month, self.day)
        beside = {SATURDAY: -1, SUNDAY: 1}.get(found.weekday())
        return [found] if beside is None else [found, found + timedelta(days=beside)]


def _nth_weekday(year: int, month: int, weekday: int, nth: int) -> date:
    first = date(year, month, 1)
    if nth < 0:  # counted from the month after, whose first such weekday is the one behind the last
        first, nth = date(year + month // 12, month % 12 + 1, 1), nth + 1
    return first + timedelta(days=(weekday - first.weekday()) % 7 + 7 * (nth - 1))


@lru_cache(maxsize=65_536)
def _region(number: str) -> str | None:
    try:
        region = phonenumbers.region_code_for_number(phonenumbers.parse(number))
    except phonenumbers.NumberParseException:
        return None
    return None if region is None else str(region)
