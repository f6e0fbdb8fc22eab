"""`/login`: a token for a cookie."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from pipeline.web.access import COOKIE
from pipeline.web.guard import LOGIN
from pipeline.web.problem import Problem

if TYPE_CHECKING:
    from collections.abc import Callable

    from pipeline.web.access import Access

    Shown = Callable[[web.Request, Problem | None], web.Response]
    """Shows the form, and what was wrong with the token before."""

HOME = "/"
_FORM = """\
<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Log in</title></head>
<body><main><h1>Log in</h1>{wrong}
<form method="post" action="/login"><label for="token">Token</label>
<input id="token" name="token" type="password" autocomplete="current-password" required autofocus>
<button>Log in</button></form></main></body></html>
"""


def bare_form(_: web.Request, wrong: Problem | None) -> web.Response:
    """Return the form without any style."""
    said = "" if wrong is None else f'<p role="alert">{wrong.detail}</p>'
    return web.Response(text=_FORM.format(wrong=said), content_type="text/html")


class Login:
    """The form, and what it posts."""

    def __init__(self, access: Access, shown: Shown = bare_form) -> None:
        self._access, self._shown = access, shown

    def add_to(self, app: web.Application) -> None:
        """Add it to `app`."""
        app.router.add_get(LOGIN, self._form)
        app.router.add_post(LOGIN, self._enter)
        app.router.add_post("/logout", self._leave)

    async def _form(self, request: web.Request) -> web.Response:
        return _to(HOME) if self._access.is_open else self._shown(request, None)

    async def _enter(self, request: web.Request) -> web.Response:
        """Answer 303 to the first page, with the cookie; 401 or 429 for a wrong token."""
        if self._access.is_open:
            return _to(HOME)
        token = (await request.post()).get("token")
        try:
            cookie, lasts_s = self._access.log_in(token.strip() if isinstance(token, str) else "", request.remote or "")
        except Problem as wrong:
            answer = self._shown(request, wrong)
            answer.set_status(wrong.code.status.value)
            return answer
        answer = _to(HOME)
        answer.set_cookie(
            COOKIE, cookie, max_age=lasts_s, path="/", httponly=True, samesite="Strict", secure=self._access.is_secure
        )
        return answer

    async def _leave(self, _: web.Request) -> web.Response:
        answer = _to(LOGIN)
        answer.del_cookie(COOKIE, path="/")
        return answer


def _to(place: str) -> web.Response:
    return web.Response(status=303, headers={"Location": place})
