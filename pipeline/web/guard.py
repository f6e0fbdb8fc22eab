"""Stands before every handler of the private listener: who may come in, from where, and how a refusal is told."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final
from urllib.parse import SplitResult, urlsplit

import orjson
from aiohttp import web

from pipeline.console.printing import as_base64
from pipeline.domain.audit import Door, Who
from pipeline.kafka.cluster import CommandFailed
from pipeline.masking import masked
from pipeline.records.registry import RegistryAway
from pipeline.settings.web import is_loopback
from pipeline.web.access import COOKIE, Credentials
from pipeline.web.problem import Code, Problem, code_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from pipeline.web.access import Access

    Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
    Told = Callable[[web.Request, Problem], web.StreamResponse]
    """Shows a person what was refused."""

log = logging.getLogger(__name__)

API: Final = "/api/"
LOGIN: Final = "/login"
OPEN: Final = frozenset({"/live", "/ready", LOGIN})
STATIC: Final = "/static/"
"""Styles and script: they say nothing of anybody."""
NO_PAGE: Final = frozenset({"/metrics"})
"""Is read by programs, which are not sent to the login."""
LARGEST_BODY: Final = 64 * 1024
NONCE: Final = "nonce"
"""The field of a form."""
_WHO: Final = web.RequestKey("who", Who)
_READS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_HIDDEN: Final = "null"
"""The Origin of a form of ours: under `Referrer-Policy: no-referrer` browsers hide it (Fetch, "append a request Origin header")
and say in Sec-Fetch-Site, which no script can set, where the form came from."""
_CSP: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS: Final = {
    "Content-Security-Policy": _CSP,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


def who_of(request: web.Request) -> Who:
    """Return who sent a request that the guard has let in."""
    return request[_WHO]


def plainly(_: web.Request, problem: Problem) -> web.StreamResponse:
    """Return a refusal in a line of text."""
    return web.Response(text=f"{problem.detail}\n", status=problem.code.status.value)


class Guard:
    """Lets a request in, or refuses it. Whatever goes wrong behind it is told as a problem."""

    def __init__(
        self, access: Access, *, is_tls: bool, told: Told = plainly, count: Callable[[str, int], None] | None = None
    ) -> None:
        """`is_tls`: the listener has a certificate of its own; `told` shows a person what was refused.

        `count` gets the door and the status of each answer.
        """
        self._access, self._told, self._count = access, told, count
        self._schemes = {"https"} if is_tls else {"http", "https"} if access.is_secure else {"http"}

    def application(self) -> web.Application:
        """Return an application that this guards."""

        @web.middleware
        async def guarded(request: web.Request, handler: Handler) -> web.StreamResponse:
            return await self._answer(request, handler)

        app = web.Application(middlewares=[guarded], client_max_size=LARGEST_BODY)
        app.on_response_prepare.append(self._prepare)
        return app

    async def _prepare(self, request: web.Request, response: web.StreamResponse) -> None:
        response.headers.update(HEADERS)
        response.headers.popall("Server", None)
        if self._count is not None:
            self._count(door_of(request).value, response.status)

    async def _answer(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            await self._admit(request)
            return await handler(request)
        except Problem as problem:
            return self._refusal(request, problem)
        except web.HTTPException as error:
            if error.status < Code.BAD_REQUEST.status:
                return error
            answer = self._refusal(request, Problem(code_of(error.status), _why(error)))
            if "Allow" in error.headers:
                answer.headers["Allow"] = error.headers["Allow"]
            return answer
        except (CommandFailed, RegistryAway) as error:
            return self._refusal(request, Problem(Code.KAFKA_AWAY, masked(str(error))))
        except Exception:
            log.exception("a request to the private listener failed")
            return self._refusal(request, Problem(Code.FAILED, "something went wrong here; the log says what"))

    async def _admit(self, request: web.Request) -> None:
        """Let the request in. Raises Problem."""
        self._check_host(request)
        self._check_origin(request)
        door = door_of(request)
        brought = Credentials(
            request.remote or "", door, request.headers.get("Authorization"), request.cookies.get(COOKIE)
        )
        if is_open(request.path):
            return
        who = self._access.who(brought)
        if who is None:
            raise Problem(Code.UNAUTHORIZED, "a token is needed: Authorization: Bearer TOKEN, or a login")
        request[_WHO] = who
        if request.method not in _READS and door is Door.CONSOLE and brought.authorization is None:
            await self._check_nonce(request, brought.cookie)

    def _check_host(self, request: web.Request) -> None:
        """Where there are no users, a page of elsewhere must not reach us under a name of its own (DNS rebinding)."""
        parts = _split(f"//{request.host}")
        if self._access.is_open and (parts is None or not is_loopback(parts.hostname or "")):
            raise Problem(Code.FORBIDDEN, "without users only this machine may come in, under a name of its own")

    def _check_origin(self, request: web.Request) -> None:
        origin = request.headers.get("Origin")
        if origin is None or request.method in _READS:
            return
        if origin == _HIDDEN and request.headers.get("Sec-Fetch-Site") == "same-origin":
            return
        parts = _split(origin)
        if parts is None or parts.scheme not in self._schemes or parts.netloc.lower() != request.host.lower():
            raise Problem(Code.FORBIDDEN, "the request was made by a page of another site")

    async def _check_nonce(self, request: web.Request, cookie: str | None) -> None:
        said = (await request.post()).get(NONCE)
        if not isinstance(said, str) or not self._access.is_nonce(said, cookie):
            raise Problem(Code.FORBIDDEN, "this form is not of this session: load the page again")

    def _refusal(self, request: web.Request, problem: Problem) -> web.StreamResponse:
        is_unknown = problem.code is Code.UNAUTHORIZED
        if door_of(request) is Door.API or request.path in NO_PAGE:
            answer: web.StreamResponse = as_json(
                problem.as_json(), problem.code.status.value, "application/problem+json"
            )
            if is_unknown:
                answer.headers["WWW-Authenticate"] = "Bearer"
            return answer
        if is_unknown and request.path != LOGIN:
            return web.Response(status=303, headers={"Location": LOGIN})
        return self._told(request, problem)


def _split(url: str) -> SplitResult | None:
    """Return the parts of a URL; None for what cannot be read as one."""
    try:
        return urlsplit(url)
    except ValueError:
        return None


def door_of(request: web.Request) -> Door:
    """Return through which door a request comes."""
    return Door.API if f"{request.path}/".startswith(API) else Door.CONSOLE


def is_open(path: str) -> bool:
    """Return whether a path answers without a credential."""
    return path in OPEN or path.startswith(STATIC)


def as_json(datum: object, status: int = 200, kind: str = "application/json") -> web.Response:
    """Return an answer in JSON."""
    return web.Response(body=orjson.dumps(datum, default=as_base64), status=status, content_type=kind)


def _why(error: web.HTTPException) -> str:
    match error:
        case web.HTTPNotFound():
            return "there is nothing at this path"
        case web.HTTPMethodNotAllowed():
            return f"{error.method} is not one of {', '.join(sorted(error.allowed_methods))}"
        case web.HTTPRequestEntityTooLarge():
            return f"the body is larger than {LARGEST_BODY // 1024} KiB"
        case _:
            return error.reason
