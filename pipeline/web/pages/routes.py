"""The pages' paths. The private listener lets nobody in without credential, except to `/login` and what it needs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from aiohttp import web

from pipeline.web.pages import entering, lists, looking, ordering, overview
from pipeline.web.pages.desk import FOLDER, Desk, Handler, Sends, Visitors, login_page, problem_page, served

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from pipeline.domain.policy import ChannelPolicy
    from pipeline.domain.work import Channel
    from pipeline.web.actions import Actions
    from pipeline.web.answers import Answers
    from pipeline.web.foresight import Foresight
    from pipeline.web.problem import Problem

_GET: Final[dict[str, Handler]] = {
    "/": looking.home,
    "/touches": looking.touches,
    "/touches/{id}": looking.touch,
    "/campaigns": overview.campaigns,
    "/campaigns/{id}": overview.campaign,
    "/lanes": overview.lanes,
    "/orders": lists.orders,
    "/orders/one": lists.order,
    "/orders/new": ordering.new_order,
    "/suppressions": lists.suppressions,
    "/suppressions/new": entering.new_suppression,
    "/suppressions/lift": entering.new_lift,
    "/dead-letters": lists.dead_letters,
    r"/dead-letters/{partition:\d{1,9}}/{offset:\d{1,18}}": lists.dead_letter,
    "/unconfirmed": lists.unconfirmed,
    "/unconfirmed/{id}": entering.unconfirmed_one,
    "/opt-outs": lists.opt_outs,
    "/opt-outs/{id}": entering.opt_out,
    "/audit": lists.audit,
}
_POST: Final[dict[str, Handler]] = {
    "/orders/new": ordering.give_order,
    "/suppressions/new": entering.suppress,
    "/suppressions/lift": entering.lift,
    r"/dead-letters/{partition:\d{1,9}}/{offset:\d{1,18}}": entering.replay,
    "/unconfirmed/{id}": entering.resolve,
    "/opt-outs/{id}": entering.resolve_opt_out,
}
_STATIC: Final = {"console.css": "text/css", "console.js": "text/javascript", "icon.svg": "image/svg+xml"}


class Pages:
    """The pages, what they need, and how a person is told of a refusal."""

    def __init__(
        self,
        *,
        answers: Answers,
        actions: Actions,
        visitors: Visitors,
        now_ms: Callable[[], int],
        policies: Mapping[Channel, ChannelPolicy],
        sends: Sends,
        foreseen: Callable[[], Foresight],
    ) -> None:
        self._desk = Desk(answers, actions, visitors, now_ms, policies, sends, foreseen)

    def add_to(self, app: web.Application) -> None:
        """Add the pages to the private listener's application."""
        for path, handler in _GET.items():
            app.router.add_get(path, served(self._desk, handler))
        for path, handler in _POST.items():
            app.router.add_post(path, served(self._desk, handler))
        for name, kind in _STATIC.items():
            app.router.add_get(f"/static/{name}", _file(name, kind))

    def told(self, request: web.Request, problem: Problem) -> web.Response:
        """Show what was refused; also to somebody who was not let in."""
        return problem_page(self._desk, request, problem, is_signed_in=self._is_in(request))

    def _is_in(self, request: web.Request) -> bool:
        try:
            self._desk.visitors.who(request)
        except KeyError:
            return False
        return True

    def shown(self, request: web.Request, problem: Problem | None) -> web.Response:
        """Show the form of the login, and why the last token was refused."""
        return login_page(self._desk, request, problem)


def _file(name: str, kind: str) -> Callable[[web.Request], Awaitable[web.Response]]:
    body = (FOLDER / "static" / name).read_bytes()

    async def serve(_request: web.Request) -> web.Response:
        return web.Response(body=body, content_type=kind, charset="utf-8")

    return serve
