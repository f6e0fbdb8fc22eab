"""The private listener's application: behind its guard the login, health and metrics, and what else it is given."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from pipeline.web.access import COOKIE
from pipeline.web.guard import Guard, plainly, who_of
from pipeline.web.login import Login, bare_form

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from aiohttp import web

    from pipeline.domain.audit import Who
    from pipeline.web.access import Access
    from pipeline.web.guard import Told
    from pipeline.web.login import Shown


class Routes(Protocol):
    """Some paths of the private listener."""

    def add_to(self, app: web.Application) -> None:
        """Add them to `app`."""


class Visiting:
    """Who looks at a page, and which form is theirs."""

    def __init__(self, access: Access) -> None:
        self._access = access

    def who(self, request: web.Request) -> Who:
        """Return who asks: the guard has let them in."""
        return who_of(request)

    def nonce(self, request: web.Request) -> str:
        """Return what a form of this visitor carries."""
        return self._access.nonce(request.cookies.get(COOKIE))

    def is_ours(self, request: web.Request, nonce: str) -> bool:
        """Return whether a form with this nonce was made for this visitor."""
        return self._access.is_nonce(nonce, request.cookies.get(COOKIE))


def private_application(
    access: Access,
    routes: Iterable[Routes],
    *,
    is_tls: bool,
    told: Told = plainly,
    shown: Shown = bare_form,
    count: Callable[[str, int], None] | None = None,
) -> web.Application:
    """Return the application; `told` shows a person what was refused, `shown` the form of the login, `count` counts answers."""
    app = Guard(access, is_tls=is_tls, told=told, count=count).application()
    Login(access, shown).add_to(app)
    for each in routes:
        each.add_to(app)
    return app
