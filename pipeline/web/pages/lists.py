"""Orders, suppressions, dead letters, unconfirmed touches, open opt-outs, and the audit: lists, a hundred rows at most."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlencode

from aiohttp import web

from pipeline.domain.audit import Role
from pipeline.domain.dead_letter import DeadReason
from pipeline.web.pages import words
from pipeline.web.pages.desk import Desk

SCOPES: Final = {
    "phone": "WhatsApp and SMS",
    "whatsapp": "WhatsApp",
    "sms": "SMS",
    "email": "e-mail",
    "*": "every channel",
}
_TABS: Final = (("", "Current"), ("pending", "Pending"), ("in_force", "In force"), ("ended", "Ended"))
_LOOKS: Final = {"pending": "trying", "in_force": "stopped", "ended": "sent"}
_HASH: Final = re.compile(r"[0-9a-f]{32}")
_PENDING: Final = (
    "The order is kept and counts. It is in force once every lane concerned obeys and no call made before can begin any more: "
    "mostly within a second, after a worker's death as soon as another one has its lanes."
)
_MOST_TEXT: Final = 20_000


def shown_order(order: Mapping[str, Any]) -> dict[str, Any]:
    """Return an order as pages show it: with its look and its target in words."""
    state = order.get("state") or ("in_force" if order["in_force"] else "pending")
    return {**order, "state": state, "look": _LOOKS.get(state, "unknown"), "words": words.target_words(order["target"])}


async def orders(desk: Desk, request: web.Request) -> web.StreamResponse:
    """The orders there are."""
    chosen = request.query.get("state", "")
    answer = await desk.answers.orders(state=chosen or None, after=request.query.get("after"))
    return desk.page(
        request,
        "orders.html",
        "Orders",
        as_of=answer.get("as_of"),
        orders=[shown_order(each) for each in answer["orders"]],
        next=answer["next"],
        tabs=_TABS,
        chosen=chosen,
    )


async def order(desk: Desk, request: web.Request) -> web.StreamResponse:
    """One order, and how far it is: committed, in force, ended."""
    key = request.query.get("key", "")
    answer = await desk.answers.order(key)
    found = answer["order"]
    values: dict[str, Any] = {"key": key, "order": None, "as_of": answer["as_of"]}
    if found is not None:
        shown = shown_order(found)
        headline, meaning = _order_words(shown["action"], shown["state"])
        target = found["target"] if isinstance(found["target"], Mapping) else {"all": "1"}
        resume = "/orders/new?" + urlencode({"action": "resume", **target})
        values |= {"order": shown, "headline": headline, "meaning": meaning, "resume": resume}
    return desk.page(request, "order.html", "Order", status=404 if found is None else 200, **values)


def _order_words(action: str, state: str) -> tuple[str, str]:
    if state == "pending":
        return ("Given, not in force yet", _PENDING)
    if state == "in_force":
        return "In force", "No call for its touches begins any more, whatever is killed or restarted."
    if action == "pause":
        return "Ended", "It was resumed, or it reached its end. What no other pause holds is back in line."
    return "Ended", "It takes no touch any more. What it took stays cancelled."


async def suppressions(desk: Desk, request: web.Request) -> web.StreamResponse:
    """Who must not be written to."""
    by, value = _whom(request.query)
    asked: dict[str, Any] = {} if not value else {{"hash": "hashed"}.get(by, by): value}
    answer = await desk.answers.suppressions(**asked, after=request.query.get("after"))
    heading = f"Suppressions of {value}" if value else "Suppressions"
    return desk.page(
        request,
        "suppressions.html",
        heading,
        as_of=answer.get("as_of"),
        heading=heading,
        by=by,
        value=value,
        scopes=SCOPES,
        suppressions=answer["suppressions"],
        next=answer["next"],
    )


def _whom(query: Mapping[str, str]) -> tuple[str, str]:
    for by in ("address", "hash", "lead"):
        if query.get(by):
            return by, query[by]
    typed = query.get("q", "").strip()
    if _HASH.fullmatch(typed):
        return "hash", typed
    return ("address" if "@" in typed or typed.startswith("+") else "lead"), typed


async def dead_letters(desk: Desk, request: web.Request) -> web.StreamResponse:
    """Records that could not become a touch."""
    chosen = request.query.get("reason", "")
    answer = await desk.answers.dead_letters(reason=chosen or None, after=request.query.get("after"))
    return desk.page(
        request,
        "dead_letters.html",
        "Dead letters",
        as_of=answer.get("as_of"),
        letters=answer["dead_letters"],
        next=answer["next"],
        reasons=[str(each) for each in DeadReason],
        chosen=chosen,
    )


async def dead_letter(desk: Desk, request: web.Request) -> web.StreamResponse:
    """One dead letter; an administrator sees what it holds, which is recorded."""
    is_admin = desk.has_role(request, Role.ADMIN)
    is_shown = request.query.get("unmask") == "1"
    partition, offset = int(request.match_info["partition"]), int(request.match_info["offset"])
    who = desk.visitors.who(request) if is_shown else None
    found = await desk.answers.dead_letter(partition, offset, unmasked_for=who)
    meaning = words.DEAD.get(found["reason"], str(found["reason"]))
    text = legible(found.get("value")) if is_shown else None
    return desk.page(
        request,
        "dead_letter.html",
        f"Dead letter {partition}/{offset}",
        as_of=found["as_of"],
        letter=found,
        meaning=meaning,
        text=text,
        is_admin=is_admin,
    )


def legible(value: Any) -> str:
    """Return a dead letter's value (bytes, or base64 as in JSON) as text, or as hexadecimal digits if it is none."""
    if value is None:
        return "(null)"
    try:
        raw = value if isinstance(value, bytes) else base64.b64decode(value, validate=True)
        return raw.decode()[:_MOST_TEXT]
    except UnicodeDecodeError:
        return raw.hex(" ")[:_MOST_TEXT]
    except ValueError:
        return str(value)[:_MOST_TEXT]


async def unconfirmed(desk: Desk, request: web.Request) -> web.StreamResponse:
    """Touches of which nobody could find out whether they were sent."""
    answer = await desk.answers.unconfirmed(after=request.query.get("after"))
    return desk.page(
        request,
        "unconfirmed.html",
        "Unconfirmed",
        as_of=answer.get("as_of"),
        unconfirmed=[{"resolution": None, "error": None, **each} for each in answer["unconfirmed"]],
        next=answer["next"],
    )


async def opt_outs(desk: Desk, request: web.Request) -> web.StreamResponse:
    """Opt-outs of which no number is known."""
    answer = await desk.answers.opt_outs(after=request.query.get("after"))
    return desk.page(
        request,
        "opt_outs.html",
        "Opt-outs",
        as_of=answer.get("as_of"),
        opt_outs=answer["opt_outs"],
        next=answer["next"],
    )


async def audit(desk: Desk, request: web.Request) -> web.StreamResponse:
    """Who did what."""
    await desk.answers.may_audit(desk.visitors.who(request))
    answer = await desk.answers.audit(after=request.query.get("after"))
    return desk.page(
        request, "audit.html", "Audit", as_of=answer.get("as_of"), audit=answer["audit"], next=answer["next"]
    )
