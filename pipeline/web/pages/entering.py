"""Suppressions, replays and resolutions from a page: what is meant first, then the act, then where it shows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlencode

from aiohttp import web

from pipeline.console.resubmit import again_id
from pipeline.domain.suppression import SuppressionReason
from pipeline.web.pages import words
from pipeline.web.pages.desk import Desk, or_none, or_refused, path_of, see_other
from pipeline.web.pages.lists import SCOPES
from pipeline.web.problem import Code, Problem

_WHOM: Final = (("address", "Address (or a hash, or a person, below)"), ("address_hash", "Hash"), ("lead_id", "Lead"))


def _check_may_act(desk: Desk, request: web.Request) -> None:
    if not desk.may_act(request):
        raise Problem(Code.FORBIDDEN, "To act here, one needs to be an operator.")


async def new_suppression(desk: Desk, request: web.Request) -> web.StreamResponse:
    """The form of an entry."""
    _check_may_act(desk, request)
    query = request.query
    names = {"address": "address", "hash": "address_hash", "lead": "lead_id"}
    values = {member: query[name] for name, member in names.items() if query.get(name)}
    return await _suppress_form(desk, request, values)


async def suppress(desk: Desk, request: web.Request) -> web.StreamResponse:
    """Add the entry; then the browser looks at the recipient's entries."""
    form = {name: value.strip() for name, value in (await desk.form(request)).items() if value.strip()}
    entry = await or_refused(desk.actions.suppress(desk.visitors.who(request), form, wait_s=2))
    if isinstance(entry, Problem):
        return await _suppress_form(desk, request, form, refused=entry)
    return see_other(_entries_of(entry))


def _entries_of(entry: Mapping[str, Any]) -> str:
    by, value = ("lead", entry["lead_id"]) if entry.get("lead_id") else ("hash", entry.get("address_hash"))
    return "/suppressions?" + urlencode({by: value or ""})


async def _suppress_form(
    desk: Desk, request: web.Request, values: Mapping[str, str], refused: Problem | None = None
) -> web.Response:
    return desk.page(
        request,
        "suppress.html",
        "Never write to this recipient",
        refused=refused,
        whom=_WHOM,
        values=values,
        scopes=SCOPES,
        reasons=[str(each) for each in SuppressionReason],
        counted=await _known_touches(desk, values),
        here="/suppressions/new",
    )


async def _known_touches(desk: Desk, values: Mapping[str, str]) -> str:
    """Return in words how many touches of the recipient are known and have not ended; "" if that cannot be told."""
    by: dict[str, Any] = (
        {"lead": values["lead_id"]} if values.get("lead_id") else {"address": values.get("address", "")}
    )
    listed = await or_none(desk.answers.touches(**by)) if any(by.values()) else None
    if listed is None:
        return ""
    count = sum(each["state"] not in words.ENDS for each in listed["touches"])
    if listed["next"] is not None:
        return f"Of the recipient's latest {len(listed['touches'])} touches {count} have not ended."
    return f"{count} touch{' has' if count == 1 else 'es have'} not ended."


async def new_lift(desk: Desk, request: web.Request) -> web.StreamResponse:
    """The form that lifts an entry."""
    _check_may_act(desk, request)
    return _lift_form(desk, request, request.query.get("key", ""))


def _lift_form(desk: Desk, request: web.Request, key: str, refused: Problem | None = None) -> web.Response:
    return desk.page(
        request,
        "confirm.html",
        "Write to this recipient again",
        refused=refused,
        shown=[("Entry", key)],
        what="Touches to this recipient are sent again, unless another entry holds. What ended suppressed stays so.",
        action="/suppressions/lift",
        carried={"key": key},
        fields=[],
        choices=[],
        wants_note=True,
        button="Lift this entry",
        back="/suppressions",
        here="/suppressions",
    )


async def lift(desk: Desk, request: web.Request) -> web.StreamResponse:
    """Lift the entry."""
    form = await desk.form(request)
    key = form.get("key", "")
    note = form.get("note") or None
    entry = await or_refused(desk.actions.lift(desk.visitors.who(request), key, note=note, wait_s=2))
    return _lift_form(desk, request, key, entry) if isinstance(entry, Problem) else see_other(_entries_of(entry))


async def replay(desk: Desk, request: web.Request) -> web.StreamResponse:
    """Replay a dead letter; then the list, which has it again if its fault is not mended."""
    form = await desk.form(request)
    place = int(request.match_info["partition"]), int(request.match_info["offset"])
    await desk.actions.replay(desk.visitors.who(request), *place, new_id=form.get("new_id", "").strip() or None)
    return see_other("/dead-letters")


async def unconfirmed_one(desk: Desk, request: web.Request) -> web.StreamResponse:
    """An unconfirmed touch, and the form that says what became of it."""
    return _resolve_form(desk, request, request.match_info["id"])


def _resolve_form(desk: Desk, request: web.Request, touch_id: str, refused: Problem | None = None) -> web.Response:
    _check_may_act(desk, request)
    return desk.page(
        request,
        "confirm.html",
        f"What became of {touch_id}?",
        refused=refused,
        shown=[("Touch", touch_id)],
        what="This records what was found out at the provider. What was not sent is sent again: the same text to the same "
        f"person, as another touch, {again_id(touch_id)}. Do not send it in another way as well.",
        action=path_of("unconfirmed", touch_id),
        carried={},
        fields=[{"name": "provider_message_id", "label": "The provider's id, if it was sent (may stay empty)"}],
        choices=[
            {"name": "resolution", "value": "sent", "label": "It was sent"},
            {"name": "resolution", "value": "not_sent", "label": "It was not sent: send it again"},
        ],
        wants_note=False,
        button="Record this",
        back="/unconfirmed",
    )


async def resolve(desk: Desk, request: web.Request) -> web.StreamResponse:
    """Record what became of an unconfirmed touch."""
    form, touch_id = await desk.form(request), request.match_info["id"]
    resolved = await or_refused(
        desk.actions.resolve(
            desk.visitors.who(request),
            touch_id,
            resolution=form.get("resolution", ""),
            provider_message_id=form.get("provider_message_id", "").strip() or None,
        )
    )
    return (
        _resolve_form(desk, request, touch_id, resolved) if isinstance(resolved, Problem) else see_other("/unconfirmed")
    )


async def opt_out(desk: Desk, request: web.Request) -> web.StreamResponse:
    """An open opt-out, and the form that names its number or dismisses it."""
    return _opt_out_form(desk, request, request.match_info["id"])


def _opt_out_form(desk: Desk, request: web.Request, name: str, refused: Problem | None = None) -> web.Response:
    _check_may_act(desk, request)
    return desk.page(
        request,
        "confirm.html",
        "Whose opt-out is this?",
        refused=refused,
        shown=[("Opt-out", name)],
        what="With the number, the person is not written to any more. Without one, dismiss it only if it was no opt-out.",
        action=path_of("opt-outs", name),
        carried={},
        fields=[{"name": "address", "label": "The number, with + and country code (empty: dismiss)"}],
        choices=[],
        wants_note=True,
        button="Resolve",
        back="/opt-outs",
    )


async def resolve_opt_out(desk: Desk, request: web.Request) -> web.StreamResponse:
    """Resolve an open opt-out."""
    form, name = await desk.form(request), request.match_info["id"]
    address = form.get("address", "").strip() or None
    resolved = await or_refused(
        desk.actions.resolve_opt_out(
            desk.visitors.who(request), name, note=form.get("note", ""), address=address, is_dismissed=address is None
        )
    )
    return _opt_out_form(desk, request, name, resolved) if isinstance(resolved, Problem) else see_other("/opt-outs")
