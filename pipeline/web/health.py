"""`/live`, `/ready` and `/metrics` of the web process."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from aiohttp import web

from pipeline.kafka.connection import why_unreachable
from pipeline.metrics import CONTENT_TYPE

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from typing import Any

    from pipeline.web.metrics import WebMetrics

ANSWER_S: Final = 3.0
"""Seconds that Kafka may take to answer a question about readiness."""


class KafkaProbe:
    """Asks whether Kafka answers; who asks meanwhile gets the same answer."""

    def __init__(self, connection: Mapping[str, Any]) -> None:
        self._connection = connection
        self._asking: asyncio.Task[str] | None = None

    async def __call__(self) -> str | None:
        """Return why Kafka does not answer, or None."""
        if self._asking is None or self._asking.done():
            self._asking = asyncio.ensure_future(self._ask())
        return await asyncio.shield(self._asking) or None

    async def _ask(self) -> str:
        try:
            async with asyncio.timeout(ANSWER_S):
                why = await why_unreachable(self._connection)
        except TimeoutError:
            why = f"no answer within {ANSWER_S:.0f} s"
        return f"Kafka cannot be reached: {why}" if why else ""


class HealthRoutes:
    """The three endpoints."""

    def __init__(self, metrics: WebMetrics, not_ready: Callable[[], Awaitable[str | None]]) -> None:
        """Serve `metrics`; `not_ready` says why requests would not be served now, None when all is well."""
        self._metrics, self._not_ready = metrics, not_ready

    def add_to(self, app: web.Application) -> None:
        """Add them to `app`."""
        app.router.add_get("/live", self._live)
        app.router.add_get("/ready", self._ready)
        app.router.add_get("/metrics", self._render)

    async def _live(self, _: web.Request) -> web.Response:
        """Answer 200: the event loop turns."""
        return web.Response(text="live\n")

    async def _ready(self, _: web.Request) -> web.Response:
        """Answer 200 when listeners are bound and Kafka answers, else 503 with the reason."""
        reason = await self._not_ready()
        return (
            web.Response(text="ready\n") if reason is None else web.Response(text=f"not ready: {reason}\n", status=503)
        )

    async def _render(self, _: web.Request) -> web.Response:
        """Answer in Prometheus' text format."""
        return web.Response(body=self._metrics.render(), headers={"Content-Type": CONTENT_TYPE})
