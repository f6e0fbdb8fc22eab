"""The public listener's application: finds the page of a path as it was received, and reads bodies within bounds."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol
from urllib.parse import unquote

from aiohttp import ClientError, web

if TYPE_CHECKING:
    from pipeline.web.metrics import WebMetrics

log = logging.getLogger(__name__)

LARGEST_BODY: Final = 256 * 1024
BODY_S: Final = 10.0
"""Seconds in which a body must be whole."""


class BodyRefused(Exception):
    """A body that is too large, too slow, or breaks off."""

    def __init__(self, status: int) -> None:
        super().__init__(str(status))
        self.status = status


@dataclass(frozen=True, slots=True)
class PublicPage:
    """What is at a path."""

    methods: frozenset[str]
    answer: Callable[[web.Request], Awaitable[web.Response]]


class PublicRoutes(Protocol):
    """Some paths of the public listener."""

    def find(self, segments: tuple[str, ...]) -> PublicPage | None:
        """Return the page at a path, or None; `segments` are what stands between its slashes, percent-decoded."""


def public_application(routes: Sequence[PublicRoutes], metrics: WebMetrics) -> web.Application:
    """Return the application of the public listener. What nothing is found for is 404."""

    async def dispatch(request: web.Request) -> web.StreamResponse:
        segments = segments_of(request.raw_path)
        page = next((found for each in routes if (found := each.find(segments)) is not None), None)
        if page is None:
            return _closing(web.Response(status=404))
        if request.method not in page.methods:
            return _closing(web.Response(status=405, headers={"Allow": ", ".join(sorted(page.methods))}))
        try:
            return await page.answer(request)
        except BodyRefused as refused:
            return _closing(web.Response(status=refused.status))
        except Exception:
            log.exception("a request to the public listener failed")
            return _closing(web.Response(status=500))

    async def counted(_: web.Request, response: web.StreamResponse) -> None:
        metrics.request("public", response.status)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", dispatch)
    app.on_response_prepare.append(_without_software)
    app.on_response_prepare.append(counted)
    return app


def segments_of(target: str) -> tuple[str, ...]:
    """Return what stands between the slashes of a request's path, percent-decoded; the query is left out."""
    path = target.partition("?")[0]
    return tuple(unquote(each) for each in path.removeprefix("/").split("/"))


async def body_of(request: web.Request) -> bytes:
    """Return the body as received. Raises BodyRefused."""
    if (request.content_length or 0) > LARGEST_BODY:
        raise BodyRefused(413)
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_S):
            async for chunk in request.content.iter_any():
                body += chunk
                if len(body) > LARGEST_BODY:
                    raise BodyRefused(413)
    except TimeoutError:
        raise BodyRefused(408) from None
    except (ClientError, ConnectionError, web.RequestPayloadError):
        raise BodyRefused(400) from None
    return bytes(body)


def _closing(response: web.Response) -> web.Response:
    """Close the connection behind it: a body that nobody reads may follow."""
    response.force_close()
    return response


async def _without_software(_: web.Request, response: web.StreamResponse) -> None:
    """Do not tell the world which versions run here."""
    response.headers.popall("Server", None)
