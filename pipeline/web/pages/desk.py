"""What every page has at hand: who tells, who acts, who asks; and how a page is drawn."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import quote, urlencode

from aiohttp import web
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from pipeline.domain.audit import Role, Who
from pipeline.domain.policy import ChannelPolicy
from pipeline.domain.work import Channel
from pipeline.web.access import COOKIE
from pipeline.web.actions import Actions
from pipeline.web.answers import Answers
from pipeline.web.foresight import Foresight
from pipeline.web.pages import times, words
from pipeline.web.problem import Code, Problem

FOLDER: Final = Path(__file__).parent
MENU: Final = (
    ("/campaigns", "Campaigns"),
    ("/lanes", "Lanes"),
    ("/orders", "Orders"),
    ("/suppressions", "Suppressions"),
    ("/unconfirmed", "Unconfirmed"),
    ("/opt-outs", "Opt-outs"),
    ("/dead-letters", "Dead letters"),
    ("/audit", "Audit"),
)
_HEADINGS: Final = {
    Code.NOT_FOUND: "Not found",
    Code.FORBIDDEN: "Refused",
    Code.KAFKA_AWAY: "Kafka does not answer",
    Code.BAD_REQUEST: "This cannot be asked",
    Code.CONFLICT: "This does not fit what there is",
    Code.TOO_MANY: "Too many attempts",
}
_PAGING: Final = "after"
Sends = Callable[[int], list[dict[str, Any]]]
"""Tells of each minute since an instant (epoch ms) how many touches each sender sent: `LookupCopy.sends`."""
Handler = Callable[["Desk", web.Request], Awaitable[web.StreamResponse]]


class Visitors(Protocol):
    """Who asks, and whether a form is one of ours."""

    def who(self, request: web.Request) -> Who:
        """Return who asks. Raises KeyError if the private listener has let nobody in."""
        ...

    def nonce(self, request: web.Request) -> str:
        """Return what a form of this visitor carries."""
        ...

    def is_ours(self, request: web.Request, nonce: str) -> bool:
        """Return whether a form with this nonce was made for this visitor."""
        ...


def path_of(room: str, name: str) -> str:
    """Return the path of one thing; its id is percent-encoded as a whole."""
    return f"/{room}/{quote(name, safe='', errors='replace')}"


@cache
def _environment() -> Environment:
    """Return the templates: compiled once in a process."""
    made = Environment(
        loader=FileSystemLoader(FOLDER / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    made.filters |= {
        "iso": times.iso,
        "instant": times.instant,
        "dated": times.dated,
        "span": times.span,
        "until": words.until,
        "look": words.look_of,
        "spaced": lambda text: str(text).replace("_", " "),
        "quoted": lambda text: quote(str(text), safe="", errors="replace"),
    }
    made.globals |= {"path": path_of, "signs": words.SIGNS, "menu": MENU, "late_ms": times.MINUTE_MS}
    return made


@dataclass(frozen=True, slots=True)
class Desk:
    """The parts of the pages. `now_ms` is the clock."""

    answers: Answers
    actions: Actions
    visitors: Visitors
    now_ms: Callable[[], int]
    policies: Mapping[Channel, ChannelPolicy]
    sends: Sends
    foreseen: Callable[[], Foresight]
    """Returns the latest forecast at once."""
    templates: Environment = field(default_factory=_environment)

    def may_act(self, request: web.Request) -> bool:
        """Return whether the visitor's role allows acts."""
        return self.has_role(request, Role.OPERATOR)

    def has_role(self, request: web.Request, needed: Role) -> bool:
        """Return whether the visitor may do what `needed` may."""
        role = self.visitors.who(request).role
        return role is not None and role.covers(needed)

    async def form(self, request: web.Request) -> dict[str, str]:
        """Return the fields of a form of ours. Raises Problem `forbidden` for another's. Whether the role may act is asked by `Actions`."""
        sent = {name: value for name, value in (await request.post()).items() if isinstance(value, str)}
        if not self.visitors.is_ours(request, sent.pop("nonce", "")):
            raise Problem(Code.FORBIDDEN, "This form is too old, or not of this console. Open it again.")
        return sent

    def page(
        self,
        request: web.Request,
        template: str,
        title: str,
        *,
        status: int = 200,
        refused: Problem | None = None,
        as_of: int | None = None,
        is_signed_in: bool = True,
        **more: Any,
    ) -> web.Response:
        """Draw a page. `as_of` (epoch ms) says how old it is; None: it was read just now. A form tells why it was `refused`."""
        now = self.now_ms()
        who = self.visitors.who(request) if is_signed_in else None
        query = {name: value for name, value in request.query.items() if name != _PAGING}
        values = {
            "title": title,
            "now": now,
            "as_of": now if as_of is None else as_of,
            "who": who,
            "nonce": "" if who is None else self.visitors.nonce(request),
            "may_act": who is not None and self.may_act(request),
            "section": "/" + request.path.split("/")[1],
            "here": request.path_qs,
            "paged": _PAGING in request.query,
            "first_page": _address(request.path, query),
            "page_after": lambda after: _address(request.path, {**query, _PAGING: after}),
            "asked": "",
            "has_session": COOKIE in request.cookies,
            "said": "",
            "is_home": False,
            "wrong": "" if refused is None else refused.detail,
        }
        text = self.templates.get_template(template).render(values | more)
        code = status if refused is None else refused.code.status
        return web.Response(text=text, status=code, content_type="text/html", charset="utf-8")


def _address(path: str, query: Mapping[str, str]) -> str:
    return quote(path, safe="/%:") + ("?" + urlencode(query) if query else "")


def served(desk: Desk, handler: Handler) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """Return the handler with its desk; what is refused becomes a page."""

    async def serve(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(desk, request)
        except Problem as problem:
            return problem_page(desk, request, problem)

    return serve


def problem_page(desk: Desk, request: web.Request, problem: Problem, *, is_signed_in: bool = True) -> web.Response:
    """Draw what was refused, and why."""
    heading = _HEADINGS.get(problem.code, problem.code.status.phrase)
    return desk.page(
        request,
        "problem.html",
        heading,
        status=problem.code.status,
        is_signed_in=is_signed_in,
        heading=heading,
        detail=problem.detail,
        code=problem.code.value,
    )


def see_other(path: str) -> web.Response:
    """Return the answer to a form that was done: the browser gets `path`, and a reload does nothing again."""
    return web.Response(status=HTTPStatus.SEE_OTHER, headers={"Location": path})


async def or_none(asked: Awaitable[dict[str, Any]]) -> dict[str, Any] | None:
    """Return the answer; None where there is none, or it takes longer than a reader waits for what stands beside the matter."""
    try:
        async with asyncio.timeout(_BESIDE_S):
            return await asked
    except (Problem, TimeoutError):
        return None


_BESIDE_S: Final = 2.0


async def or_refused(asked: Awaitable[dict[str, Any]]) -> dict[str, Any] | Problem:
    """Return the answer, or the Problem that its form tells: what was typed cannot be, or does not fit. Raises every other Problem."""
    try:
        return await asked
    except Problem as problem:
        if problem.code in (Code.BAD_REQUEST, Code.CONFLICT):
            return problem
        raise


def login_page(desk: Desk, request: web.Request, problem: Problem | None) -> web.Response:
    """Draw the form for a token, and why the last one was refused."""
    wrong = "" if problem is None else problem.detail
    return desk.page(request, "login.html", "Sign in", is_signed_in=False, wrong=wrong)
