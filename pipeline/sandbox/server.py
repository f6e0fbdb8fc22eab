"""The server: three providers and the control API on one loopback port."""

from __future__ import annotations

import html
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from aiohttp import web

from pipeline.sandbox.resend import Resend
from pipeline.sandbox.rules import PROVIDERS, BadRule, Rules, checked
from pipeline.sandbox.store import Store
from pipeline.sandbox.twilio import Twilio
from pipeline.sandbox.waha import Waha

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiohttp.typedefs import Handler

BODY_BYTES = 64 * 1024 * 1024
SHOWN = 200
FAR_MS = 10 * 366 * 86_400_000

_TEXT = (lambda value: isinstance(value, str) and value != "", "text")
_MS = (lambda value: type(value) is int and -FAR_MS <= value <= FAR_MS, "whole milliseconds, at most ten years")
SESSION = {
    "session": _TEXT,
    "engine": (lambda value: value in ("NOWEB", "GOWS", "WEBJS", "WPP"), "NOWEB, GOWS, WEBJS, WPP"),
    "status": _TEXT,
}
SETTINGS = {"clock_offset_ms": _MS, "listing_delay_ms": _MS}


class Sandbox:
    """The providers, the control API and the page of accepted messages as one application."""

    def __init__(self) -> None:
        self.store = Store()
        self.rules = Rules()
        self.twilio = Twilio(self.store, self.rules)
        self.app = web.Application(client_max_size=BODY_BYTES, middlewares=[_refuse_bad])
        self.app.add_routes(
            [
                *Waha(self.store, self.rules).routes("/waha"),
                *Resend(self.store, self.rules).routes("/resend"),
                *self.twilio.routes("/twilio"),
                web.get("/", self._page),
                web.get("/control/counts", self._counts),
                web.get("/control/asks", self._asks),
                web.get("/control/accepted", self._accepted),
                web.get("/control/duplicates", self._duplicates),
                web.get("/control/arrivals", self._arrivals),
                web.post("/control/rules", self._add_rule),
                web.delete("/control/rules", self._clear_rules),
                web.post("/control/session", self._set_session),
                web.post("/control/settings", self._set),
                web.post("/control/reset", self._reset),
            ]
        )

    async def _counts(self, _: web.Request) -> web.Response:
        return web.json_response(self.store.counts())

    async def _asks(self, _: web.Request) -> web.Response:
        return web.json_response(self.store.asks)

    async def _accepted(self, request: web.Request) -> web.Response:
        since = request.query.get("since") or "0"
        if not since.isdigit():
            return _bad(f"since is {since!r}; allowed: a whole number from 0")
        return web.json_response(self.store.listed(_provider(request), int(since)))

    async def _duplicates(self, _: web.Request) -> web.Response:
        return web.json_response(self.store.duplicates())

    async def _arrivals(self, request: web.Request) -> web.Response:
        provider = _provider(request)
        return web.json_response([asdict(each) for each in self.store.arrivals if provider in (None, each.provider)])

    async def _add_rule(self, request: web.Request) -> web.Response:
        self.rules.add(await _told(request))
        return web.json_response({})

    async def _clear_rules(self, _: web.Request) -> web.Response:
        self.rules.clear()
        return web.json_response({})

    async def _set_session(self, request: web.Request) -> web.Response:
        """Set a WAHA session's `status` or `engine`; `session` names it."""
        told = checked(await _told(request), SESSION)
        if "session" not in told:
            raise BadRule("session is missing; allowed: its name")
        session = self.store.sessions.setdefault(told.pop("session"), {"status": "WORKING", "engine": "NOWEB"})
        session.update(told)
        return web.json_response(session)

    async def _set(self, request: web.Request) -> web.Response:
        """Set `clock_offset_ms` and `listing_delay_ms`."""
        told = checked(await _told(request), SETTINGS)
        self.store.offset_ms = told.get("clock_offset_ms", self.store.offset_ms)
        self.twilio.listing_delay_ms = told.get("listing_delay_ms", self.twilio.listing_delay_ms)
        return web.json_response({})

    async def _reset(self, _: web.Request) -> web.Response:
        self.store.reset()
        self.rules.clear()
        return web.json_response({})

    async def _page(self, _: web.Request) -> web.Response:
        rows = "".join(
            f"<tr><td>{m.provider}<td>{html.escape(m.to)}<td>{html.escape(m.subject or '')}<td>{html.escape(m.text[:SHOWN])}<td>{m.id}"
            for m in reversed(self.store.accepted[-SHOWN:])
        )
        page = (
            f"<!doctype html><meta charset=utf-8><title>sandbox</title><h1>Accepted: {html.escape(str(self.store.counts()))}</h1>"
            f"<table border=1><tr><th>provider<th>to<th>subject<th>text<th>id{rows}</table>"
        )
        return web.Response(text=page, content_type="text/html")


@web.middleware
async def _refuse_bad(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except BadRule as error:
        return _bad(str(error))


def _bad(error: str) -> web.Response:
    return web.json_response({"error": error}, status=400)


def _provider(request: web.Request) -> str | None:
    """Return the `provider` parameter; None: all providers. Raises BadRule for an unknown one."""
    provider = request.query.get("provider") or None
    if provider not in (None, *PROVIDERS):
        raise BadRule(f"provider is {provider!r}; allowed: {', '.join(PROVIDERS)}")
    return provider


async def _told(request: web.Request) -> Any:
    try:
        return await request.json()
    except ValueError:
        raise BadRule("a JSON object is expected") from None


@asynccontextmanager
async def running_sandbox(port: int = 0, host: str = "127.0.0.1") -> AsyncIterator[tuple[Sandbox, str]]:
    """Run a sandbox on a loopback port (0: a free one); yield the sandbox and its URL."""
    sandbox = Sandbox()
    runner = web.AppRunner(sandbox.app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    site = web.TCPSite(runner, host, port, backlog=1024)
    await site.start()
    try:
        yield sandbox, f"http://{host}:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()
