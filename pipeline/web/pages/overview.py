"""Campaigns and lanes: how far they are, and what holds them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

from aiohttp import web

from pipeline.web.pages import words
from pipeline.web.pages.columns import Column, by_hour
from pipeline.web.pages.desk import Desk, or_none
from pipeline.web.pages.foreseen import foreseen_of
from pipeline.web.pages.pictures import pace, shares
from pipeline.web.pages.pictures import week as week_picture
from pipeline.web.pages.rules import lane_rules
from pipeline.web.pages.times import HOUR_MS, MINUTE_MS

MOST_HOUR_ROWS: Final = 100
PACE_MINUTES: Final = 60
LONGEST_DAY_MS: Final = 25 * HOUR_MS
"""A day on which clocks are set back."""


async def campaigns(desk: Desk, request: web.Request) -> web.StreamResponse:
    """All campaigns, newest first."""
    answer = await desk.answers.campaigns(after=request.query.get("after"))
    return desk.page(
        request,
        "campaigns.html",
        "Campaigns",
        as_of=answer["as_of"],
        campaigns=answer["campaigns"],
        next=answer["next"],
    )


async def campaign(desk: Desk, request: web.Request) -> web.StreamResponse:
    """One campaign: counts by state and hour, when it will be done, and the orders on it."""
    found = await desk.answers.campaign(request.match_info["id"])
    name = found["campaign_id"]
    by_look, by_state = Counter[str](), Counter[str]()
    for each in found["states"]:
        by_look[words.look_of(each["state"])] += each["touches"]
        by_state[each["state"]] += each["touches"]
    open_touches = sum(count for state, count in by_state.items() if state not in words.ENDS)
    given = await or_none(desk.answers.orders())
    return desk.page(
        request,
        "campaign.html",
        name,
        as_of=found["as_of"],
        campaign=found,
        total=sum(by_state.values()),
        totals=[{"word": state, "touches": count} for state, count in by_state.most_common()],
        open_touches=open_touches,
        foreseen=foreseen_of(desk.foreseen(), name) if open_touches else None,
        shares=shares(by_look, words.ORDER_OF_LOOKS),
        course=by_hour(_columns(found["hours"]), words.ORDER_OF_LOOKS),
        looks=[look for look in words.ORDER_OF_LOOKS if by_look[look]],
        look_words=words.LOOK_WORDS,
        last_hours=sorted(found["hours"], key=lambda each: each["hour"], reverse=True)[:MOST_HOUR_ROWS],
        orders=None if given is None else [each for each in given["orders"] if _names(each["target"], name)],
    )


def _columns(hours: list[dict[str, Any]]) -> list[Column]:
    return [Column(each["hour"], {words.look_of(each["state"]): each["touches"]}) for each in hours]


def _names(target: object, campaign_id: str) -> bool:
    """Return whether an order's target can concern the campaign: it names it, or none."""
    return not isinstance(target, Mapping) or target.get("campaign", campaign_id) == campaign_id


async def lanes(desk: Desk, request: web.Request) -> web.StreamResponse:
    """All lanes: what waits, what holds them, when they open."""
    answer = await desk.answers.lanes()
    now = desk.now_ms()
    counted: dict[tuple[str, str], dict[int, int]] = {}
    for each in desk.sends(now - (LONGEST_DAY_MS if _has_cap(desk) else PACE_MINUTES * MINUTE_MS)):
        of_sender = counted.setdefault((each["channel"], each["sender"]), {})
        of_sender[each["minute"] // MINUTE_MS] = each["touches"]
    shown = [_lane(desk, each, counted.get((each["channel"], each["sender"]), {}), now) for each in answer["lanes"]]
    return desk.page(request, "lanes.html", "Lanes", as_of=answer.get("as_of"), lanes=shown)


def _has_cap(desk: Desk) -> bool:
    """Whether any sender has a daily cap: only then the sends of a whole day are read."""
    return any(sender.daily_cap is not None for policy in desk.policies.values() for sender in policy.senders)


def _lane(desk: Desk, lane: Mapping[str, Any], minutes: Mapping[int, int], now: int) -> dict[str, Any]:
    held = list(lane["held_by"] or [])
    if not held:
        look, said = ("trying", "sending") if lane["backlog"] else ("sent", "nothing waits")
    else:
        look = "stopped" if {"outage", "order"} & set(held) else "waiting"
        said = words.held_words(held, is_open=lane["window_open"])
    rules = lane_rules(desk.policies, str(lane["channel"]), str(lane["sender"]), now)
    week = "" if rules is None or rules.week is None else week_picture(rules.week, now)
    first = now // MINUTE_MS - PACE_MINUTES
    limit = None if rules is None else rules.per_minute
    drawn = pace(minutes, limit, now, shown=PACE_MINUTES) if any(at > first for at in minutes) else ""
    today = 0 if rules is None else sum(n for at, n in minutes.items() if at * MINUTE_MS >= rules.day_from_ms)
    return {**lane, "sent_today": today, "look": look, "words": said, "rules": rules, "week": week, "pace": drawn}
