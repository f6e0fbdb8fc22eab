"""What the configuration says of a lane: its limit in words, and a week of its hours."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple

from pipeline.domain import window as windows
from pipeline.domain.window import RECIPIENT, Closed, Window, zones_of
from pipeline.domain.work import Channel
from pipeline.domain.zone import day_end_ms
from pipeline.web.pages.pictures import Opening
from pipeline.web.pages.times import DAY_MS, MINUTE_MS

if TYPE_CHECKING:
    from pipeline.domain.policy import ChannelPolicy


class LaneRules(NamedTuple):
    """The rules of a lane, for people."""

    limit: str
    """Its limit, warm-up, gap and daily cap in words."""
    per_minute: float | None
    """Its limit as calls per minute (one call is one touch, except in batches); None: no limit, or one that is not counted so."""
    week: list[Opening] | None
    """The openings of seven days; None: there is no window."""
    hours: str
    """By whose clock, and what else must be open."""
    cap: int | None
    """Most messages of a day; None: no cap."""
    day_from_ms: int
    """When the day of the cap began."""


def lane_rules(policies: Mapping[Channel, ChannelPolicy], channel: str, sender: str, now_ms: int) -> LaneRules | None:
    """Return the rules of a lane; None for one that is not configured here."""
    policy = policies.get(Channel(channel)) if channel in set(Channel) else None
    if policy is None:
        return None
    week = None if policy.window is None else list(_openings(policy.window, now_ms // DAY_MS * DAY_MS))
    named = policy.sender_named(sender)
    return LaneRules(
        _limit_words(policy, sender),
        _per_minute(policy),
        week,
        _hours_words(policy),
        None if named is None else named.daily_cap,
        day_begin_ms(policy.day_zone, now_ms),
    )


def day_begin_ms(zone: str, at_ms: int) -> int:
    """Return when the wall clock of `zone` first showed the date of `at_ms`."""
    begin_ms = day_end_ms(zone, at_ms - 2 * DAY_MS)
    while (end_ms := day_end_ms(zone, begin_ms)) <= at_ms:
        begin_ms = end_ms
    return begin_ms


def _limit_words(policy: ChannelPolicy, sender: str) -> str:
    named = policy.sender_named(sender)
    said = [f"{policy.limit}" if policy.limit is not None else "no limit"]
    said += ["less while it warms up"] if policy.warm_up is not None else []
    said += ["a random gap between calls"] if policy.gap is not None else []
    said += [f"at most {named.daily_cap:,} a day"] if named is not None and named.daily_cap is not None else []
    return ", ".join(said)


def _per_minute(policy: ChannelPolicy) -> float | None:
    limit = policy.limit
    return None if limit is None or policy.batch > 1 else limit.rate * MINUTE_MS / limit.per_ms


def _hours_words(policy: ChannelPolicy) -> str:
    window = policy.window
    if window is None:
        return "No window: always open" + (", within the legal calendar." if policy.calendar is not None else ".")
    law = " The legal calendar of the person's place must be open, too." if policy.calendar is not None else ""
    if window.zone == RECIPIENT:
        return f"Each person's own clock counts; drawn as for {window.fallback_zone or 'UTC'}, in UTC.{law}"
    return f"By the clock of {window.zone}, drawn in UTC.{law}"


def _openings(window: Window, from_ms: int) -> Iterator[Opening]:
    """Yield the openings of seven days from `from_ms` on, without the margin at their ends."""
    zones, at, end = zones_of(window, None, ""), from_ms, from_ms + 7 * DAY_MS
    while at < end:
        answer = windows.gate(window, zones, at)
        if isinstance(answer, Closed):
            at = answer.until_ms
            continue
        until_ms = end if answer.until_ms is None else min(end, answer.until_ms)
        yield Opening(at, until_ms)
        at = until_ms
