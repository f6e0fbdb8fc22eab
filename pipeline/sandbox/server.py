"""The server: three providers and the control API on one loopback port."""

from __future__ import annotations

import html
import re
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from aiohttp import web

from pipeline.sandbox.caller import Caller
from pipeline.sandbox.inbound import InboundMessage
from pipeline.sandbox.plans import FORGERIES, OPT_OUT_TYPES, CallbackPlan
from pipeline.sandbox.resend import Resend
from pipeline.sandbox.rules import HOW, LONGEST_MS, PROVIDERS, BadRule, Rules, checked
from pipeline.sandbox.store import Store
from pipeline.sandbox.twilio import Twilio
from pipeline.sandbox.waha import Waha
from pipeline.sandbox.webhooks import Webhooks

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
_WAIT_MS = (lambda value: type(value) is int and 0 <= value <= LONGEST_MS, "whole milliseconds, at most a day")
SETTINGS = {"clock_offset_ms": _MS, "listing_delay_ms": _MS, "retry_most_ms": _WAIT_MS}
_NUMBER = (lambda value: isinstance(value, str) and re.fullmatch(r"\+\d{5,15}", value) is not None, "a number with +")
INBOUND = {
    "provider": (lambda value: value in ("twilio", "waha"), "twilio, waha"),
    "from": _NUMBER,
    "text": (lambda value: isinstance(value, str), "text"),
    "account": _TEXT,
    "to": _TEXT,
    "id": _TEXT,
    "type": (lambda value: value in OPT_OUT_TYPES, ", ".join(OPT_OUT_TYPES)),
    "quotes": _TEXT,
    **HOW,
}
"""A message to us: `from`, `text` and `provider` must be there."""
DESCRIBED = {"lid": "lid", "quotes": "quotes", "type": "opt_out_type", "to": "to"}
"""Its other members, and what they are called in an InboundMessage."""


class Sandbox:
    """The providers, the control API and the page of accepted messages as one application."""

    def __init__(self, webhooks: Webhooks | None = None) -> None:
        self.store = Store()
        self.rules = Rules()
        self.caller = Caller(self.store, self.rules, webhooks or Webhooks())
        if self.caller.is_on:
            self.store.on_accept = self.caller.accepted
        self.twilio = Twilio(self.store, self.rules, self.caller)
        self.app = web.Application(client_max_size=BODY_BYTES, middlewares=[_refuse_bad])
        self.app.add_routes(
            [
                *Waha(self.store, self.rules, self.caller).routes("/waha"),
                *Resend(self.store, self.rules, self.caller).routes("/resend"),
                *self.twilio.routes("/twilio"),
                web.get("/", self._page),
                web.get("/control/counts", self._counts),
                web.get("/control/asks", self._asks),
                web.get("/control/accepted", self._accepted),
                web.get("/control/duplicates", self._duplicates),
                web.get("/control/arrivals", self._arrivals),
                web.get("/control/callbacks", self._callbacks),
                web.post("/control/inbound", self._inbound),
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

    async def _callbacks(self, request: web.Request) -> web.Response:
        """Return the calls that were made, and how many messages still have some to come."""
        provider = _provider(request)
        calls = [asdict(each) for each in self.caller.calls if provider in (None, each.provider)]
        return web.json_response({"calls": calls, "pending": self.caller.pending})

    async def _inbound(self, request: web.Request) -> web.Response:
        """Call back a message to us."""
        told = checked(await _told(request), INBOUND)
        for name in ("provider", "from", "text"):
            if name not in told:
                raise BadRule(f"{name} is missing; allowed: {INBOUND[name][1]}")
        provider, forge = told["provider"], told.get("forge")
        if forge is not None and forge not in FORGERIES[provider]:
            raise BadRule(f"forge is {forge!r}; allowed with {provider}: {', '.join(FORGERIES[provider])}")
        said = InboundMessage(
            provider=provider,
            person=told["from"],
            text=told["text"],
            account=told.get("account", self._account(provider)),
            message_id=told.get("id") or self.caller.inbound_id(provider),
            **{name: told[member] for member, name in DESCRIBED.items() if member in told},
        )
        how = {name: told[name] for name in HOW if name in told and name != "lid"}
        if not self.caller.write(said, CallbackPlan(**how)):
            raise BadRule(f"nothing is called back for {provider}; allowed: start it with --callbacks and --secret")
        return web.json_response({"id": said.message_id})

    def _account(self, provider: str) -> str:
        """Return the account of the latest message, or what the demo has."""
        latest = next((each for each in reversed(self.store.accepted) if each.provider == provider), None)
        if provider == "waha":
            return "default" if latest is None else latest.sender
        return "ACdemo" if latest is None else latest.extra["account"]

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
        """Set `clock_offset_ms`, `listing_delay_ms` and `retry_most_ms`."""
        told = checked(await _told(request), SETTINGS)
        self.store.offset_ms = told.get("clock_offset_ms", self.store.offset_ms)
        self.twilio.listing_delay_ms = told.get("listing_delay_ms", self.twilio.listing_delay_ms)
        self.caller.retry_most_ms = told.get("retry_most_ms", self.caller.retry_most_ms)
        return web.json_response({})

    async def _reset(self, _: web.Request) -> web.Response:
        await self.caller.reset()
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
async def running_sandbox(
    port: int = 0, host: str = "127.0.0.1", webhooks: Webhooks | None = None
) -> AsyncIterator[tuple[Sandbox, str]]:
    """Run a sandbox on a loopback port (0: a free one); yield the sandbox and its URL."""
    sandbox = Sandbox(webhooks)
    runner = web.AppRunner(sandbox.app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    site = web.TCPSite(runner, host, port, backlog=1024)
    await site.start()
    try:
        yield sandbox, f"http://{host}:{runner.addresses[0][1]}"
    finally:
        await sandbox.caller.close()
        await runner.cleanup()
