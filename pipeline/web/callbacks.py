"""The paths of callbacks: `/callbacks/<provider>/<sender>` and what its channel adds; the order of checks is that of docs/callbacks.md."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final

from aiohttp import web

from pipeline.channels.registry import SPECS
from pipeline.domain.callback import NotAuthentic, NotReadable, ReceivedCallback, callback_segments
from pipeline.web.intake import NotTaken
from pipeline.web.metrics import CallbackResult
from pipeline.web.public import BodyRefused, PublicPage, body_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from pipeline.domain.account import Account
    from pipeline.domain.callback import CallbackPath, CallbackRules
    from pipeline.domain.work import Channel
    from pipeline.web.intake import TakesCallbacks
    from pipeline.web.metrics import WebMetrics

POST_ONLY: Final = frozenset({"POST"})


@dataclass(frozen=True, slots=True)
class _SenderPath:
    """One path of one sender."""

    provider: str
    sender: str
    account: Any = field(repr=False)
    path: CallbackPath


class CallbackRoutes:
    """The paths of every sender that has secrets."""

    def __init__(
        self,
        accounts: Mapping[tuple[Channel, str], Account],
        rules: CallbackRules,
        intake: TakesCallbacks,
        metrics: WebMetrics,
        now_ms: Callable[[], int],
    ) -> None:
        self._rules, self._intake, self._metrics, self._now_ms = rules, intake, metrics, now_ms
        self._pages = {
            callback_segments(provider, name, path.suffix): PublicPage(
                POST_ONLY, partial(self._answer, _SenderPath(provider, name, account, path))
            )
            for (channel, name), account in accounts.items()
            if account.webhook_secrets
            for provider in [SPECS[channel].provider.lower()]
            for path in SPECS[channel].callback_paths
        }

    def find(self, segments: tuple[str, ...]) -> PublicPage | None:
        """Return the page at a path, or None."""
        return self._pages.get(segments)

    async def _answer(self, place: _SenderPath, request: web.Request) -> web.Response:
        """Answer a callback. Raises BodyRefused."""
        try:
            result, response = await self._take(place, request)
        except BodyRefused:
            self._metrics.callback(place.provider, CallbackResult.REFUSED)
            raise
        self._metrics.callback(place.provider, result)
        return response

    async def _take(self, place: _SenderPath, request: web.Request) -> tuple[CallbackResult, web.Response]:
        headers = {name.lower(): value for name, value in reversed(list(request.headers.items()))}  # the first counts
        received = ReceivedCallback(request.raw_path, headers, await body_of(request))
        now_ms = self._now_ms()
        try:
            said = place.path.read(received, place.sender, place.account, self._rules, now_ms)
        except NotAuthentic:
            return CallbackResult.REFUSED, web.Response(status=403)
        except NotReadable:
            return CallbackResult.REFUSED, web.Response(status=400)
        self._metrics.heard_from(place.provider, place.sender, now_ms)
        try:
            if said:
                await self._intake.take(said)
        except NotTaken:
            return CallbackResult.UNAVAILABLE, web.Response(status=503)
        result = CallbackResult.TAKEN if said else CallbackResult.IGNORED
        path = place.path
        return result, web.Response(status=path.status, body=path.body or None, content_type=path.content_type)
