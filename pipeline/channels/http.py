"""The wire to one provider account: httpx over aiohttp, the lease checked at the socket, and what a failure proves.

Nothing here logs: addresses and texts travel in URLs and bodies.
"""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from enum import StrEnum
from functools import cache, cached_property, lru_cache
from typing import TYPE_CHECKING, cast

import aiohttp
import httpx
import orjson
from httpx_aiohttp import AiohttpTransport

from pipeline.domain.sender import LastLook, nothing_forbids
from pipeline.domain.verdict import Paused, Unbegun, Unknown

if TYPE_CHECKING:
    import ssl

    from pipeline.domain.work import Request

Clock = Callable[[], int]
"""Epoch milliseconds, now."""

CONNECT_S = 5.0
"""DNS, TCP and TLS together; within the request's total."""
IDLE_S = 4.0
"""Time for which an idle connection is kept. Node (WAHA) closes it after 5 s, and a call that meets the close has an unknown outcome."""
BODY_LIMIT = 8 * 1024 * 1024
"""Most bytes read of an answer; a page of 1,000 messages has about 2 MiB."""
LONGEST_WAIT_S = 3_600.0
"""Longest `Retry-After` that is followed; with a longer one, one request per hour is made and may be refused."""
ERROR_CHARS = 300
_URL = re.compile(r"(https?://[^\s/?#'\"]+)[^\s'\"]*")


class Progress(StrEnum):
    """How far the body of a request got; this decides what a failure proves."""

    UNASKED = "unasked"
    """The transport did not ask for the body: nothing was sent."""
    WITHHELD = "withheld"
    """The transport asked for the body after the lease, or against an order: nothing was sent."""
    GIVEN = "given"
    """The transport got the body within the lease: it may have been sent."""


class Withheld(Exception):
    """The lease ended, or an order came, before the body was asked for."""


class LeasedBody(httpx.AsyncByteStream):
    """A request body that the transport gets only before `lease_until_ms`, and if `may_begin`, when it asks: once connected."""

    def __init__(self, body: bytes, lease_until_ms: int, now_ms: Clock, may_begin: LastLook = nothing_forbids) -> None:
        self._body = body
        self._may_begin = may_begin
        self._lease_until_ms = lease_until_ms
        self._now_ms = now_ms
        self.progress = Progress.UNASKED

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield the body once; raises Withheld instead when the lease is over or the last look forbids it."""
        if not self._is_leased() or not self._may_begin():
            self.progress = Progress.WITHHELD
            raise Withheld
        self.progress = Progress.GIVEN
        yield self._body

    def _is_leased(self) -> bool:
        return self._now_ms() < self._lease_until_ms


@dataclass(frozen=True)
class HttpAnswer:
    """An HTTP answer, read to its end (or to the part that reaches `BODY_LIMIT`)."""

    status: int
    headers: httpx.Headers = field(default_factory=httpx.Headers)
    body: bytes = field(default=b"", repr=False)

    @property
    def is_accepted(self) -> bool:
        """Whether it is a 2xx."""
        return httpx.codes.is_success(self.status)

    @property
    def is_fault(self) -> bool:
        """Whether it is a 5xx, which leaves open what happened."""
        return self.status >= httpx.codes.INTERNAL_SERVER_ERROR

    @property
    def is_elsewhere(self) -> bool:
        """Whether it says that nothing was done here (a redirect; an odd 1xx): none is followed, the base URL is wrong.

        A 302 or 303 does not say so: it may be what a form answers that has been taken.
        """
        return self.status < httpx.codes.BAD_REQUEST and not self.is_accepted and not self.is_ambiguous

    @property
    def is_ambiguous(self) -> bool:
        """Whether it is a redirect that may come after the deed (RFC 9110, 15.4.3 and 15.4.4)."""
        return self.status in (httpx.codes.FOUND, httpx.codes.SEE_OTHER)

    @property
    def is_object(self) -> bool:
        """Whether the body is a JSON object: a provider's own words, not a proxy's."""
        return isinstance(self.json(), dict)

    def json(self) -> object:
        """Return the body as JSON, or None if it is none."""
        return self._parsed

    @cached_property
    def _parsed(self) -> object:
        try:
            parsed: object = orjson.loads(self.body)
        except orjson.JSONDecodeError:
            return None
        return parsed

    @property
    def members(self) -> Mapping[str, object]:
        """The body's JSON object, or an empty one."""
        parsed = self.json()
        return parsed if isinstance(parsed, dict) else {}

    def member(self, name: str) -> object:
        """Return a member of the body's JSON object, or None."""
        return self.members.get(name)

    def text(self, name: str) -> str:
        """Return a text member of the body's JSON object on one line and cut, or ""."""
        found = self.member(name)
        return " ".join(found.split())[:ERROR_CHARS] if isinstance(found, str) else ""


class Unreached(Exception):
    """A look-up got no answer; the message gives the reason."""


class Wire:
    """One account's pooled connections. Opened once, inside the running loop; closed at the end."""

    def __init__(
        self,
        base_url: str,
        headers: Mapping[str, str],
        *,
        request_timeout_ms: int,
        now_ms: Clock,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._base_url = base_url.rstrip("/")
        self._origin = _origin(httpx.URL(self._base_url))
        self._headers = {"Accept": "application/json", "Accept-Encoding": "identity", **headers}
        self._total_s = request_timeout_ms / 1000
        self._now_ms = now_ms
        self._transport = transport

    async def open(self) -> None:
        """Create the connection pool; opens no connection."""
        if self._transport is None:
            session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=IDLE_S, ssl=_tls()),
                cookie_jar=aiohttp.DummyCookieJar(),
            )
            self._transport = AiohttpTransport(client=session, verify=_tls())

    async def close(self) -> None:
        """Close all connections."""
        transport, self._transport = self._transport, None
        if transport is not None:
            await transport.aclose()

    async def post(
        self,
        request: Request,
        lease_until_ms: int,
        headers: Mapping[str, str] | None = None,
        *,
        may_begin: LastLook = nothing_forbids,
    ) -> HttpAnswer | Paused | Unbegun | Unknown:
        """Send `request` if its body can be written strictly before `lease_until_ms`, and if `may_begin` says so then.

        Anything but an answer is the verdict on what became of it: Unbegun (it was not to be written) and Paused (no
        connection) prove that nothing was sent; Unknown says that it may have been.
        """
        body = LeasedBody(request.body, lease_until_ms, self._now_ms, may_begin)
        if self._now_ms() >= lease_until_ms:
            return Unbegun()
        said = {"Content-Type": request.content_type, "Content-Length": str(len(request.body)), **(headers or {})}
        try:
            answer = await self._exchange("POST", _url(self._base_url + request.path), said, body)
        except Exception as error:  # noqa: BLE001  whatever broke: how far the body got decides what it means
            return _verdict_without_answer(body.progress, _reason(error))
        return Unbegun() if body.progress is Progress.WITHHELD else answer

    async def get(
        self,
        url: str,
        params: Mapping[str, str | int] | None = None,
        headers: Mapping[str, str] | None = None,
        within_s: float | None = None,
    ) -> HttpAnswer:
        """Return the answer to a question, at most `within_s` from now. Raises Unreached.

        `url` is absolute or relative to the base. It may come out of an answer: nothing is asked elsewhere than at the
        base's scheme, host and port, for the credentials would go there.
        """
        try:
            full = self._at_home(url)
            if params:
                full = full.copy_merge_params(dict(params))
            async with asyncio.timeout(within_s):
                return await self._exchange("GET", full, headers or {}, None)
        except Unreached:
            raise
        except Exception as error:
            raise Unreached(_reason(error)) from error

    def _at_home(self, url: str) -> httpx.URL:
        full = httpx.URL(url if "://" in url else self._base_url + url)
        if _origin(full) != self._origin:
            raise Unreached("the answer points to another host")
        return full

    async def _exchange(
        self, method: str, url: httpx.URL, headers: Mapping[str, str], body: LeasedBody | None
    ) -> HttpAnswer:
        if self._transport is None:
            raise RuntimeError("not open")
        connect_s = min(CONNECT_S, self._total_s)
        timeout = {"connect": connect_s, "pool": connect_s, "read": self._total_s, "write": self._total_s}
        request = httpx.Request(
            method, url, headers={**self._headers, **headers}, stream=body, extensions={"timeout": timeout}
        )
        if body is None:
            request.read()
        async with asyncio.timeout(self._total_s):
            # The transport itself, not `httpx.AsyncClient`: half its CPU time, no log line with the URL in it, no
            # redirect followed, no proxy of the environment slipped in between.
            response = await self._transport.handle_async_request(request)
            try:
                return HttpAnswer(response.status_code, response.headers, await _read(response))
            finally:
                await response.aclose()


@lru_cache(maxsize=256)
def _url(text: str) -> httpx.URL:
    """Return a URL that messages are sent to, parsed once: an account has one or two."""
    return httpx.URL(text)


def _origin(url: httpx.URL) -> tuple[str, str, int | None, bytes]:
    """Return scheme, host and port (None: the scheme's own), and user info, which an answer could slip in."""
    return url.scheme, url.host, url.port, url.userinfo


@cache
def _tls() -> ssl.SSLContext:
    """Certificates are verified against certifi's list, or OpenSSL's SSL_CERT_FILE; made once, it takes 20 ms."""
    return httpx.create_ssl_context()


async def _read(response: httpx.Response) -> bytes:
    parts, size = [], 0
    async for part in cast("httpx.AsyncByteStream", response.stream):
        parts.append(part)
        size += len(part)
        if size >= BODY_LIMIT:
            break
    return b"".join(parts)


def _verdict_without_answer(progress: Progress, reason: str) -> Paused | Unbegun | Unknown:
    match progress:
        case Progress.WITHHELD:
            return Unbegun()
        case Progress.UNASKED:
            return Paused("connection", f"no connection: {reason}")
        case Progress.GIVEN:
            return Unknown("no_answer", f"no answer: {reason}")


def _reason(error: BaseException) -> str:
    # httpx-aiohttp calls every lost connection a ConnectTimeout; aiohttp's own exception says what it was.
    if isinstance(error, httpx.TransportError) and error.__cause__ is not None:
        error = error.__cause__
    if isinstance(error, TimeoutError):
        return "timed out"
    # aiohttp's exceptions name the URL that was asked, in which the recipient stands.
    said = _URL.sub(r"\1", " ".join(str(error).split()))
    return f"{type(error).__name__}: {said}"[:ERROR_CHARS] if said else type(error).__name__


def retry_after_s(headers: httpx.Headers, now_ms: int, *names: str) -> float | None:
    """Return the wait that the first readable of `Retry-After` and `names` asks for: 0..3600 s, or None.

    Seconds or an HTTP date (RFC 9110, 10.2.3); `ratelimit-reset` is in seconds (draft-ietf-httpapi-ratelimit-headers).
    """
    for name in ("retry-after", *names):
        wait_s = _wait_s(headers.get(name, ""), now_ms)
        if wait_s is not None:
            return min(wait_s, LONGEST_WAIT_S)
    return None


def _wait_s(said: str, now_ms: int) -> float | None:
    try:
        wait_s = float(said)
    except ValueError:
        try:
            wait_s = parsedate_to_datetime(said).timestamp() - now_ms / 1000
        except (ValueError, OverflowError):
            return None
    return max(wait_s, 0.0) if math.isfinite(wait_s) else None
