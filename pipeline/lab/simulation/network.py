"""The way to the providers and back: the real sandbox behind simulated connections that fail, delay, and lose answers."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

import httpx
from aiohttp import web

from pipeline.lab.simulation.world import Process
from pipeline.sandbox.resend import Resend
from pipeline.sandbox.store import Store
from pipeline.sandbox.twilio import Twilio
from pipeline.sandbox.waha import Waha

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable, Mapping

    from pipeline.lab.simulation.world import World
    from pipeline.sandbox.rules import Rules

    Handler = Callable[[Any], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Fate:
    """What becomes of one request. Durations are seconds."""

    connect_s: float = 0.001
    there_s: float = 0.001
    back_s: float = 0.001
    is_refused: bool = False
    """No connection."""
    is_lost: bool = False
    """Never arrives."""
    reset_s: float | None = None
    """Seconds after the request was written at which the connection breaks; None: it does not."""
    is_silent: bool = False
    """No answer comes back, and no word of it: the caller waits until its timeout."""


class Providers:
    """The three sandbox providers in a process that never fails; what they do wrong is what `rules` draw."""

    def __init__(self, world: World, rules: Rules, skew_ms: int, draw_fate: Callable[[str], Fate]) -> None:
        dice = world.dice
        self.store = Store(lambda: world.now_ms + skew_ms, lambda: f"{dice.getrandbits(128):032x}")
        self.twilio = Twilio(self.store, rules)
        self.draw_fate = draw_fate
        self.world = world
        self.latest_ms = 0
        """How long after its caller had seen its connection break a request arrived, at most."""
        self.on_written: Callable[[], Callable[[], None]] = lambda: _nothing
        """Called when the body of a request that sends is written; what it returns, when that arrives."""
        self.on_connect: Callable[[Process], None] = lambda _: None
        """Called before a process connects to send."""
        self._process = Process(world, "providers")
        routes = [
            *Waha(self.store, rules).routes("/waha"),
            *Resend(self.store, rules).routes("/resend"),
            *self.twilio.routes("/twilio"),
        ]
        self._routes = [(route.method, _pattern(route.path), route.handler) for route in routes]

    def serve(self, request: _Request, method: str, path: str, answer: Callable[[web.Response | None], None]) -> None:
        """Handle a request that arrived; `answer` gets None when the provider hung up."""
        self._process.post(lambda: self._process.create_task(self._serve(request, method, path, answer)))

    async def _serve(
        self, request: _Request, method: str, path: str, answer: Callable[[web.Response | None], None]
    ) -> None:
        for verb, pattern, handler in self._routes:
            found = pattern.fullmatch(path)
            if verb == method and found is not None:
                request.match_info = found.groupdict()
                response = await handler(request)  # type: ignore[arg-type]
                answer(None if request.transport.is_aborted else response)  # type: ignore[arg-type]
                return
        answer(web.json_response({"message": f"Cannot {method} {path}"}, status=404))


def _pattern(path: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>[^/]+?)", re.escape(path)))


class _Transport:
    """The server's side of a connection, as far as the sandbox uses it."""

    def __init__(self) -> None:
        self.is_aborted = False

    def abort(self) -> None:
        self.is_aborted = True


class _Request:
    """A request as the sandbox reads it: the part of `aiohttp.web.Request` that its handlers use."""

    def __init__(self, url: httpx.URL, headers: httpx.Headers, body: bytes) -> None:
        self.path = url.path
        self.query: Mapping[str, str] = dict(url.params)
        self.headers = headers
        self.match_info: Mapping[str, str] = {}
        self.transport = _Transport()
        self._body = body

    async def read(self) -> bytes:
        return self._body

    async def post(self) -> Mapping[str, str]:
        return dict(parse_qsl(self._body.decode(), keep_blank_values=True))


class SimulatedTransport(httpx.AsyncBaseTransport):
    """One process's way to the providers."""

    def __init__(self, providers: Providers, process: Process) -> None:
        self._providers = providers
        self._process = process
        self._world = providers.world

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request as its fate will have it. Raises httpx.TransportError."""
        fate = self._providers.draw_fate(request.method)
        if request.method == "POST":
            self._providers.on_connect(self._process)
        await _sleep(self._process, fate.connect_s)
        if fate.is_refused:
            raise httpx.ConnectError("refused")
        assert isinstance(request.stream, httpx.AsyncByteStream)
        body = b"".join([part async for part in request.stream])
        arrived = self._providers.on_written() if request.method == "POST" else _nothing
        answer: asyncio.Future[web.Response | None] = self._process.create_future()
        if self._world.story is not None:
            self._world.tell(f"{self._process.name}: {request.method} {request.url.path} is written", body[:300])
        if not fate.is_lost:
            self._world.later(fate.there_s, self._arrive, request, body, fate, answer, arrived)
        if fate.reset_s is not None:
            self._world.later(fate.reset_s, self._process.post, _settle, answer, None)
        response = await answer
        if response is None:
            raise httpx.ReadError("connection reset")
        return httpx.Response(response.status, headers=list(response.headers.items()), content=_body(response))

    def _arrive(
        self,
        request: httpx.Request,
        body: bytes,
        fate: Fate,
        answer: asyncio.Future[web.Response | None],
        on_arrival: Callable[[], None],
    ) -> None:
        on_arrival()
        if fate.reset_s is not None:
            self._providers.latest_ms = max(self._providers.latest_ms, round((fate.there_s - fate.reset_s) * 1000) + 1)

        def come_back(response: web.Response | None) -> None:
            if self._world.story is not None:
                self._world.tell(
                    f"provider: {request.method} {request.url.path} ends",
                    "hung up" if response is None else f"{response.status} {_body(response)[:200]!r}",
                )
            if not fate.is_silent:
                self._world.later(fate.back_s, self._process.post, _settle, answer, response)

        self._providers.serve(_Request(request.url, request.headers, body), request.method, request.url.path, come_back)


def _nothing() -> None:
    pass


def _body(response: web.Response) -> bytes:
    return response.body if isinstance(response.body, bytes) else b""


def _settle(answer: asyncio.Future[Any], result: object) -> None:
    if not answer.done():
        answer.set_result(result)


async def _sleep(process: Process, delay_s: float) -> None:
    woken = process.create_future()
    process.call_later(delay_s, _settle, woken, None)
    await woken
