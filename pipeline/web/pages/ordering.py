"""Orders from a page: counted first, with a note, then their progress. What is asked is done by `Actions`, as from a command."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import quote, urlencode

from aiohttp import web

from pipeline.domain.order import MEMBERS
from pipeline.domain.work import Channel
from pipeline.web.pages import words
from pipeline.web.pages.desk import Desk, or_refused, see_other
from pipeline.web.problem import Code, Problem

ACTIONS: Final = ("pause", "resume", "cancel")
_COUNTING: Final = "(counted first)"
"""Stands for the note where nothing is written."""
_DOES: Final = {
    "pause": "No call for them begins from when it is in force, until it is resumed. A call under way ends. What waits keeps its "
    "place in time: expires_at runs on.",
    "resume": "What no other pause holds goes back in line. Hours and limits hold.",
    "cancel": "They end “cancelled” and are not sent. A call under way ends as it ends. This cannot be undone.",
}


async def new_order(desk: Desk, request: web.Request) -> web.StreamResponse:
    """The form: first what and for whom, then, counted, why."""
    _check_may_act(desk, request)
    action, target, is_all = _asked(request.query)
    if action not in ACTIONS or not (target or is_all):
        return _form(desk, request, action, target, is_all=is_all, counted=None)
    counted = await or_refused(_count(desk, request, action, target, is_all=is_all))
    if isinstance(counted, Problem):
        asked_again = _form(desk, request, action, target, is_all=is_all, counted=None, refused=counted)
        asked_again.set_status(HTTPStatus.OK)  # what was asked for is the form, and here it is
        return asked_again
    return _form(desk, request, action, target, is_all=is_all, counted=counted)


async def give_order(desk: Desk, request: web.Request) -> web.StreamResponse:
    """Give the order; then the browser looks at its progress."""
    form = await desk.form(request)
    action, target, is_all = _asked(form)
    note, until = form.get("note", "").strip(), form.get("until", "").strip()
    given = await or_refused(
        desk.actions.order(
            desk.visitors.who(request),
            action=action,
            target="all" if is_all else target,
            note=note,
            until=until or None,
        )
    )
    if isinstance(given, Problem):
        counted = {"touches": None}
        return _form(
            desk, request, action, target, is_all=is_all, counted=counted, note=note, until=until, refused=given
        )
    return see_other("/orders/one?key=" + quote(given["key"], safe=""))


def _asked(fields: Mapping[str, str]) -> tuple[str, dict[str, str], bool]:
    """Return the action, the members of the target, and whether it is all."""
    target = {name: fields[name].strip() for name in MEMBERS if fields.get(name, "").strip()}
    return fields.get("action", "pause"), target, fields.get("all") == "1" and not target


def _check_may_act(desk: Desk, request: web.Request) -> None:
    if not desk.may_act(request):
        raise Problem(Code.FORBIDDEN, "To give an order, one needs to be an operator.")


async def _count(
    desk: Desk, request: web.Request, action: str, target: dict[str, str], *, is_all: bool
) -> dict[str, Any]:
    who = desk.visitors.who(request)
    chosen: Mapping[str, str] | str = "all" if is_all else target
    return await desk.actions.order(who, action=action, target=chosen, note=_COUNTING, is_dry=True)


def _form(
    desk: Desk,
    request: web.Request,
    action: str,
    target: dict[str, str],
    *,
    is_all: bool,
    counted: Mapping[str, Any] | None,
    note: str = "",
    until: str = "",
    refused: Problem | None = None,
) -> web.Response:
    whom = words.target_words("all" if is_all else target)
    is_asked = counted is not None
    title = f"{action.capitalize()} {whom}" if is_asked else "Give an order"
    touches = None if counted is None else counted["touches"]
    how_many = "" if touches is None else f": {touches:,} touch{'es' * (touches != 1)}"
    later = "" if {"campaign", "touch"} & target.keys() else " (within five minutes)"
    return desk.page(
        request,
        "order_new.html",
        title,
        refused=refused,
        action=action,
        actions=ACTIONS,
        members=MEMBERS,
        channels=[str(each) for each in Channel],
        target=target,
        is_all=is_all,
        counted=counted,
        what_it_does=_DOES.get(action, ""),
        later_words=later,
        button=f"{action.capitalize()}{how_many}",
        note=note,
        until=until,
        here="/orders/new?" + urlencode({"action": action, **target, **({"all": "1"} if is_all else {})}),
    )
