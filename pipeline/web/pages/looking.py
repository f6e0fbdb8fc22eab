"""The one box, lists of touches, and a touch: what happened, why it waits, who stopped it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import pairwise
from typing import Any, Final
from urllib.parse import quote

from aiohttp import web

from pipeline.web.pages import words
from pipeline.web.pages.desk import Desk, or_none, path_of, see_other
from pipeline.web.pages.pictures import LifeMark, life
from pipeline.web.pages.times import span
from pipeline.web.problem import Code, Problem

_HASH: Final = re.compile(r"[0-9a-f]{32}")
_DIGITS: Final = re.compile(r"[0-9 ()./-]{6,}")
_TOUCH_ID: Final = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_LISTED: Final = {
    "lead": "Touches of lead {}",
    "campaign": "Touches of campaign {}",
    "address": "Touches to {}",
    "message": "Touches with the provider's id {}",
}
_UNTIL: Final = {
    "window": "They open at",
    "not_before": "It may go from",
    "order": "The pause ends at",
    "outage": "Next test at",
    "looking_up": "Asked again at",
}
"""What is at the end of a wait; otherwise the next try."""


async def home(desk: Desk, request: web.Request) -> web.StreamResponse:
    """The box; with `q`, what it names: the page itself if that is one thing."""
    asked = request.query.get("q", "").strip()
    if not asked:
        notices, as_of = await _notices(desk)
        return desk.page(request, "home.html", "Find", as_of=as_of, is_home=True, choices=[], notices=notices)
    choices, as_of = await _named(desk, asked)
    if len(choices) == 1:
        return see_other(choices[0]["href"])
    hint = "A phone number is written with + and its country code." if _DIGITS.fullmatch(asked) else ""
    tried = "a touch, a lead, a campaign, an address and a provider's id"
    status = 200 if choices else 404
    return desk.page(
        request,
        "home.html",
        asked,
        status=status,
        as_of=as_of,
        asked=asked,
        choices=choices,
        hint=hint,
        tried=tried,
        notices=[],
    )


async def _named(desk: Desk, asked: str) -> tuple[list[dict[str, str]], int | None]:
    """Return what goes by this name (where it stands, what it is, and more of it), and as of when nothing else does."""
    found, as_of = [], None
    if _TOUCH_ID.fullmatch(asked) and (touch := await _if_any(desk.answers.touch(asked))) is not None:
        more = words.short_reason(touch["state"] or "sent", touch["reason"])
        found.append({"href": path_of("touches", asked), "word": f"Touch {asked}", "more": more})
    if (campaign := await _if_any(desk.answers.campaign(asked))) is not None:
        count = sum(each["touches"] for each in campaign["states"])
        found.append({"href": path_of("campaigns", asked), "word": f"Campaign {asked}", "more": f"{count:,} touches"})
    for by, word in (("lead", "Lead"), ("address", "Address"), ("message", "Provider's id")):
        listed = await _if_any(_listed(desk, by, asked, limit=2))
        as_of = as_of if listed is None else listed["as_of"]
        rows = [] if listed is None else listed["touches"]
        if rows:
            alone = len(rows) == 1 and by != "lead"
            href = path_of("touches", rows[0]["touch_id"]) if alone else f"/touches?{by}={_quoted(asked)}"
            found.append(
                {"href": href, "word": f"{word} {asked}", "more": "one touch" if len(rows) == 1 else "touches"}
            )
    if not found and _HASH.fullmatch(asked):
        found.append({"href": f"/suppressions?hash={asked}", "word": f"Hash {asked}", "more": "suppressions"})
    return found, as_of


async def _listed(desk: Desk, by: str, value: str, **more: Any) -> dict[str, Any]:
    """Return the touches whose `by` (a key of _LISTED) is `value`."""
    asked: dict[str, Any] = {by: value, **more}
    return await desk.answers.touches(**asked)


async def _if_any(asked: Any) -> dict[str, Any] | None:
    """Return what was found; None for what is not there, or cannot be such a thing."""
    try:
        return dict(await asked)
    except Problem as problem:
        if problem.code in (Code.NOT_FOUND, Code.BAD_REQUEST):
            return None
        raise


async def _notices(desk: Desk) -> tuple[list[dict[str, str]] | None, int | None]:
    """Return what waits for a human, and as of when; None if the lanes cannot be read."""
    lanes = await or_none(desk.answers.lanes())
    if lanes is None:
        return None, None
    found = []
    for lane in lanes["lanes"]:
        held = [words.HELD.get(each, each) for each in lane["held_by"] if each in ("outage", "order")]
        if held:
            name = f"{lane['channel']}/{lane['sender']}: {', '.join(held)}"
            found.append(
                {"look": "stopped", "href": "/lanes", "words": name, "more": f"{lane['backlog'] or 0:,} waiting"}
            )
    answer = await or_none(desk.answers.unconfirmed(is_all=False)) or {"unconfirmed": [], "next": None}
    rows = answer["unconfirmed"]
    if rows:
        count = f"{len(rows)}{' or more' if answer['next'] else ''} unconfirmed: nobody knows whether it was sent"
        found.append({"look": "unknown", "href": "/unconfirmed", "words": count, "more": ""})
    return found, lanes.get("as_of")


async def touches(desk: Desk, request: web.Request) -> web.StreamResponse:
    """Touches of a lead, campaign, address or provider's id, newest first."""
    given = [(by, request.query[by]) for by in _LISTED if request.query.get(by)]
    if len(given) != 1:
        raise Problem(Code.BAD_REQUEST, "A list of touches is of one lead, campaign, address or provider's id.")
    by, value = given[0]
    chosen = request.query.get("state") or None
    answer = await _listed(desk, by, value, state=chosen, after=request.query.get("after"))
    heading = _LISTED[by].format(value)
    return desk.page(
        request,
        "touches.html",
        heading,
        as_of=answer["as_of"],
        heading=heading,
        by=by,
        value=value,
        chosen=chosen or "",
        states=words.STATES,
        touches=answer["touches"],
        next=answer["next"],
    )


async def touch(desk: Desk, request: web.Request) -> web.StreamResponse:
    """One touch: where it stands in words, why it has not gone yet, its life."""
    found = await desk.answers.touch(request.match_info["id"])
    story = words.story_of(found)
    steps = timeline(found)
    waits = found.get("waits") or {}
    statuses = found["statuses"]
    has_ended = (found["state"] or "sent") in words.ENDS
    return desk.page(
        request,
        "touch.html",
        found["touch_id"],
        as_of=found["as_of"],
        touch=found,
        story=story,
        has_ended=has_ended,
        is_explained=has_ended and found["state"] not in (None, "sent"),
        told_at=statuses[-1]["occurred_at"] if statuses else None,
        until_words=_UNTIL.get(waits.get("why", ""), "Next try at"),
        error=_error(found),
        facts_told=[
            each
            for each in steps
            if found["state"] in (None, "sent") and (each["is_delivery"] or each["word"] == "sent")
        ],
        message_id=next((each["provider_message_id"] for each in statuses if each.get("provider_message_id")), None),
        held_by=await _held_by(desk, story.orders),
        steps=steps,
        life=life(
            [LifeMark(each["at"], each["word"], each["look"]) for each in steps],
            now_ms=None if has_ended else found["as_of"],
            next_ms=story.until_ms,
        ),
    )


def _error(found: Mapping[str, Any]) -> str | None:
    """Return what the last status says went wrong; of a sent touch what the worst of its deliveries says."""
    told = found["deliveries"] if found["state"] in (None, "sent") else found["statuses"][-1:]
    return next((each["error"] for each in told if each.get("error")), None)


async def _held_by(desk: Desk, keys: list[str]) -> list[dict[str, Any]]:
    """Return the orders with these keys, with note, by and at where orders can be read."""
    told = [(key, await or_none(desk.answers.order(key))) for key in keys]
    return [(answer or {}).get("order") or {"key": key, "note": "", "by": "", "at": 0} for key, answer in told]


def timeline(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return statuses and deliveries in the order of their time, in words."""
    told = [_status_step(each) for each in found["statuses"]] + [_delivery_step(each) for each in found["deliveries"]]
    told.sort(key=lambda each: each["at"])  # stable: equal instants keep their sequence
    for before, step in pairwise(told):
        step["after"] = span(step["at"] - before["at"])
    return told


def _status_step(status: Mapping[str, Any]) -> dict[str, Any]:
    state, reason = status["state"], status.get("reason")
    small = [f"attempt {status['attempt']}"] if status.get("attempt") else []
    small += [f"code {status['error_code']}"] if status.get("error_code") else []
    return {
        "at": status["occurred_at"],
        "is_delivery": False,
        "look": words.look_of(state),
        "word": state,
        "reason": reason,
        "meaning": words.explained(state, reason).happened if state != "accepted" else "",
        "error": status.get("error"),
        "order": status.get("order"),
        "next": status.get("next_attempt_at"),
        "small": ", ".join(small),
        "after": "",
    }


def _delivery_step(fact: Mapping[str, Any]) -> dict[str, Any]:
    kind = fact["kind"]
    small = [f"code {fact['error_code']}"] if fact.get("error_code") else []
    small += [fact["detail"]] if fact.get("detail") else []
    return {
        "at": fact.get("occurred_at") or fact["received_at"],
        "is_delivery": True,
        "look": "failed" if kind in words.BAD_KINDS else "sent",
        "word": str(kind).replace("_", " "),
        "reason": None,
        "meaning": words.KINDS.get(kind, ""),
        "error": fact.get("error"),
        "order": None,
        "next": None,
        "small": ", ".join(small),
        "after": "",
    }


def _quoted(text: str) -> str:
    return quote(text, safe="", errors="replace")
