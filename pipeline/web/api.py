"""The API: every request below `/api/v1`. It reads what was asked, and lets `Answers` tell and `Actions` do."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from pipeline.domain.audit import Acted
from pipeline.domain.order import ALL
from pipeline.flow import CONTROL, SUPPRESSIONS
from pipeline.web.bodies import (
    OptOutBody,
    OrderBody,
    Query,
    ReplayBody,
    ResolveBody,
    SuppressionBody,
    TargetBody,
    read_body,
    seconds_of,
)
from pipeline.web.guard import as_json, who_of
from pipeline.web.openapi import document
from pipeline.web.problem import Code, Problem

if TYPE_CHECKING:
    from pipeline.web.actions import Actions
    from pipeline.web.answers import Answers

ROOT: Final = "/api/v1"
PAGED: Final = ("limit", "after")
_DIGITS: Final = 18
Told = Mapping[str, Any]


class Api:
    """The handlers. What they raise is told by the guard."""

    def __init__(self, answers: Answers, actions: Actions) -> None:
        self._answers, self._actions = answers, actions
        self._document = document()

    def add_to(self, app: web.Application) -> None:
        """Add the requests to `app`."""
        tells: dict[str, Callable[[web.Request], Awaitable[Told]]] = {
            "/openapi.json": self._openapi,
            "/touches/{id}": self._touch,
            "/touches": self._touches,
            "/campaigns": self._campaigns,
            "/campaigns/{id}": self._campaign,
            "/lanes": self._lanes,
            "/orders": self._orders,
            "/suppressions": self._suppressions,
            "/dead-letters": self._dead_letters,
            "/unconfirmed": self._unconfirmed,
            "/opt-outs": self._opt_outs,
            "/audit": self._audit,
        }
        for path, tell in tells.items():
            app.router.add_get(ROOT + path, _answered(tell))
        app.router.add_post(f"{ROOT}/orders", self._order)
        app.router.add_post(f"{ROOT}/suppressions", self._suppress)
        app.router.add_delete(ROOT + "/suppressions/{key}", self._lift)
        app.router.add_post(ROOT + "/dead-letters/{partition}/{offset}/replay", self._replay)
        app.router.add_post(ROOT + "/unconfirmed/{id}/resolve", self._resolve)
        app.router.add_post(ROOT + "/opt-outs/{id}/resolve", self._resolve_opt_out)

    # --- what is told --------------------------------------------------------------------------------------------

    async def _openapi(self, request: web.Request) -> Told:
        Query(request, ())
        return self._document

    async def _touch(self, request: web.Request) -> Told:
        Query(request, ())
        return await self._answers.touch(request.match_info["id"])

    async def _touches(self, request: web.Request) -> Told:
        query = Query(request, ("lead", "campaign", "address", "message", "state", *PAGED))
        return await self._answers.touches(
            lead=query.text("lead"),
            campaign=query.text("campaign"),
            address=query.text("address"),
            message=query.text("message"),
            state=query.text("state"),
            **query.page(),
        )

    async def _campaigns(self, request: web.Request) -> Told:
        return await self._answers.campaigns(**Query(request, PAGED).page())

    async def _campaign(self, request: web.Request) -> Told:
        Query(request, ())
        return await self._answers.campaign(request.match_info["id"])

    async def _lanes(self, request: web.Request) -> Told:
        return await self._answers.lanes(**Query(request, PAGED).page())

    async def _orders(self, request: web.Request) -> Told:
        query = Query(request, ("state", *PAGED))
        return await self._answers.orders(state=query.text("state"), **query.page())

    async def _suppressions(self, request: web.Request) -> Told:
        query = Query(request, ("address", "hash", "lead", *PAGED))
        return await self._answers.suppressions(
            address=query.text("address"), hashed=query.text("hash"), lead=query.text("lead"), **query.page()
        )

    async def _dead_letters(self, request: web.Request) -> Told:
        query = Query(request, ("reason", "unmask", *PAGED))
        unmasked_for = who_of(request) if query.flag("unmask") else None
        return await self._answers.dead_letters(reason=query.text("reason"), unmasked_for=unmasked_for, **query.page())

    async def _unconfirmed(self, request: web.Request) -> Told:
        query = Query(request, ("all", "unmask", *PAGED))
        unmasked_for, is_all = who_of(request) if query.flag("unmask") else None, query.flag("all")
        return await self._answers.unconfirmed(unmasked_for=unmasked_for, is_all=is_all, **query.page())

    async def _opt_outs(self, request: web.Request) -> Told:
        return await self._answers.opt_outs(**Query(request, PAGED).page())

    async def _audit(self, request: web.Request) -> Told:
        await self._answers.may_audit(who_of(request))
        return await self._answers.audit(**Query(request, PAGED).page())

    # --- what is done --------------------------------------------------------------------------------------------

    async def _order(self, request: web.Request) -> web.Response:
        who = who_of(request)
        async with self._actions.asking(who, Acted.PAUSE, CONTROL):
            Query(request, ())
            body = await read_body(request, OrderBody)
            wait_s = seconds_of(body.wait)
        given = await self._actions.order(
            who,
            action=body.action,
            target=body.target.named() if isinstance(body.target, TargetBody) else ALL,
            note=body.note,
            until=body.until,
            wait_s=wait_s,
            is_dry=body.dry_run,
        )
        return as_json(given, 200 if given["in_force"] or body.dry_run else 202)

    async def _suppress(self, request: web.Request) -> web.Response:
        who = who_of(request)
        async with self._actions.asking(who, Acted.SUPPRESS, SUPPRESSIONS):
            Query(request, ())
            body = await read_body(request, SuppressionBody)
            wait_s = seconds_of(body.wait)
        given = await self._actions.suppress(who, body.entry(), wait_s=wait_s)
        return as_json(given, 200 if given["in_force"] else 202)

    async def _lift(self, request: web.Request) -> web.Response:
        who, key = who_of(request), request.match_info["key"]
        async with self._actions.asking(who, Acted.LIFT, key):
            query = Query(request, ("note", "wait"))
            wait_s = seconds_of(_number(query.text("wait")))
        given = await self._actions.lift(who, key, note=query.text("note"), wait_s=wait_s)
        return as_json(given, 200 if given["in_force"] else 202)

    async def _replay(self, request: web.Request) -> web.Response:
        who, said = who_of(request), request.match_info
        async with self._actions.asking(who, Acted.REPLAY, f"{said['partition']}/{said['offset']}"):
            Query(request, ())
            body = await read_body(request, ReplayBody)
            place = _digits(said["partition"]), _digits(said["offset"])
        return as_json(await self._actions.replay(who, *place, new_id=body.new_id))

    async def _resolve(self, request: web.Request) -> web.Response:
        who, touch_id = who_of(request), request.match_info["id"]
        async with self._actions.asking(who, Acted.RESOLVE, touch_id):
            Query(request, ())
            body = await read_body(request, ResolveBody)
        return as_json(
            await self._actions.resolve(
                who, touch_id, resolution=body.resolution, provider_message_id=body.provider_message_id
            )
        )

    async def _resolve_opt_out(self, request: web.Request) -> web.Response:
        who, opt_out_id = who_of(request), request.match_info["id"]
        async with self._actions.asking(who, Acted.RESOLVE, opt_out_id):
            Query(request, ())
            body = await read_body(request, OptOutBody)
        return as_json(
            await self._actions.resolve_opt_out(
                who, opt_out_id, note=body.note, address=body.address, is_dismissed=body.dismiss
            )
        )


def _answered(tell: Callable[[web.Request], Awaitable[Told]]) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def answer(request: web.Request) -> web.Response:
        return as_json(await tell(request))

    return answer


def _number(wait: str | None) -> float | str:
    """Return the `wait` of a query: seconds, or a duration."""
    try:
        return 0 if wait is None else float(wait)
    except ValueError:
        return wait or ""


def _digits(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= _DIGITS):
        raise Problem(Code.NOT_FOUND, "there is no dead letter at this place")
    return int(text)
