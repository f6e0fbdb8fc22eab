"""The web process: its listeners and its intake, from the start to SIGTERM."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from mode.utils.logging import setup_logging

from pipeline.domain.address_hash import key_fingerprint
from pipeline.domain.callback import CallbackRules
from pipeline.kafka.cluster import CommandFailed
from pipeline.log_lines import LogFormat, logging_config
from pipeline.web.access import Access
from pipeline.web.callbacks import CallbackRoutes
from pipeline.web.health import HealthRoutes, KafkaProbe
from pipeline.web.inside import Inside
from pipeline.web.intake import Intake, IntakeNeeds, ended
from pipeline.web.listeners import Certificate, Listener, bound, runner_of
from pipeline.web.metrics import WebMetrics
from pipeline.web.pages.routes import Pages
from pipeline.web.private import Visiting, private_application
from pipeline.web.public import public_application
from pipeline.web.unsubscribe import UnsubscribeRoutes

if TYPE_CHECKING:
    from collections.abc import Callable

    from pipeline.console.command_context import CommandContext
    from pipeline.domain.unsubscribe import UnsubscribeLinks
    from pipeline.settings import Settings
    from pipeline.settings.web import Listen
    from pipeline.web.public import PublicRoutes

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class WebDeps:
    """What the web process needs."""

    settings: Settings
    context: CommandContext
    now_ms: Callable[[], int]
    unsubscribe: UnsubscribeLinks | None = field(repr=False)
    """None: without `privacy.key` there are no links."""

    def listening(
        self, listen: Listen | str | None, public_listen: Listen | str | None, copy_dir: str | None = None
    ) -> WebDeps:
        """Return the same with the listeners that were typed; None: not typed; "": off."""
        keys = self.settings.web
        if listen and not isinstance(listen, str):
            keys = replace(keys, listen=listen)
        if public_listen is not None:
            keys = replace(keys, public_listen=None if isinstance(public_listen, str) else public_listen)
        if copy_dir is not None:
            keys = replace(keys, copy_dir=copy_dir)
        return replace(self, settings=replace(self.settings, web=keys))


def log_to(file: str | None, level: str, form: LogFormat) -> None:
    """Log to `file`, or to standard error, from `level` on, as a worker does."""
    setup_logging(loglevel=level, logfile=file or sys.stderr, logging_config=logging_config(form))


class WebProcess:
    """One web process, put together."""

    def __init__(self, deps: WebDeps) -> None:
        self._deps = deps
        settings, cluster = deps.settings, deps.context.cluster
        self._metrics = WebMetrics()
        is_on = settings.web.public_listen is not None
        needs = IntakeNeeds(
            fingerprint=key_fingerprint(settings.privacy_key),
            partitions=deps.context.callback_partitions if is_on else None,
            make_writer=deps.context.writer if is_on and deps.unsubscribe is not None else None,
        )
        self._takes = needs.partitions is not None or needs.make_writer is not None
        self._intake = Intake(cluster, needs)
        self._probe = KafkaProbe(cluster.connection)
        self._stopping = asyncio.Event()
        self._inside: Inside | None = None
        self.ports: list[int] = []
        """Of the listeners, the private one first, once they accept."""

    async def run(self) -> int:
        """Serve until a signal; return the exit code. Raises CommandFailed when a port cannot be used, or `privacy.key` is another one."""
        certificate = Certificate(self._deps.settings.web)
        self._inside = inside = Inside(self._deps.context, self._deps.settings.web, self._deps.now_ms)
        self._metrics.watch_copy(inside.lookup)
        try:
            await self._serve(certificate, self._listeners(inside))
        finally:
            inside.close()
        return 0

    async def _serve(self, certificate: Certificate, listeners: list[Listener]) -> None:
        assert self._inside is not None
        self._obey_signals(certificate)
        working = [asyncio.create_task(self._inside.run()), asyncio.create_task(self._run_intake())]
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            for each in listeners:
                await each.start(certificate.context)
            self.ports = [each.port for each in listeners]
            await asyncio.wait({*working, stopping}, return_when=asyncio.FIRST_COMPLETED)
            log.info("stopping: what was begun is answered")
        finally:
            await asyncio.gather(*(each.stop() for each in listeners))
            stopping.cancel()
            for task in working:
                await ended(task)
        if not self._stopping.is_set():
            raise CommandFailed("a part of the web process has ended by itself; it must be restarted")

    def _listeners(self, inside: Inside) -> list[Listener]:
        """Return both listeners, bound. Raises CommandFailed."""
        keys, health = self._deps.settings.web, HealthRoutes(self._metrics, self._not_ready)
        access = Access(keys, self._deps.now_ms)
        pages = self._pages(inside, access)
        app = private_application(
            access,
            [health, inside.api, pages],
            is_tls=keys.certificate is not None,
            told=pages.told,
            shown=pages.shown,
            count=self._metrics.request,
        )
        listeners = [Listener("private", bound(keys.listen, "--listen"), runner_of(app))]
        if keys.public_listen is not None:
            app = public_application(self._public_routes(), self._metrics)
            listeners.append(Listener("public", bound(keys.public_listen, "--public-listen"), runner_of(app)))
        return listeners

    def _pages(self, inside: Inside, access: Access) -> Pages:
        return Pages(
            answers=inside.answers,
            actions=inside.actions,
            visitors=Visiting(access),
            now_ms=self._deps.now_ms,
            policies=self._deps.context.policies,
            sends=inside.lookup.sends,
            foreseen=inside.foreseer.latest,
        )

    def _public_routes(self) -> list[PublicRoutes]:
        """Return the paths of callbacks; and those of unsubscribe links, which are good for ever once they were sent."""
        now_ms, links = self._deps.now_ms, self._deps.unsubscribe
        callbacks = CallbackRoutes(
            self._deps.settings.accounts, self._callback_rules(), self._intake, self._metrics, now_ms
        )
        return [callbacks] if links is None else [callbacks, UnsubscribeRoutes(links, self._intake, now_ms)]

    def _callback_rules(self) -> CallbackRules:
        settings = self._deps.settings
        return CallbackRules(
            public_url=settings.web.public_url or "",
            words=settings.opt_out_words,
            covers=settings.suppression_covers,
            remember_for_ms=settings.deliveries.remember_for_ms,
            privacy_key=settings.privacy_key,
        )

    async def _run_intake(self) -> None:
        if self._takes:
            await self._intake.run()
        else:
            await self._stopping.wait()

    async def _not_ready(self) -> str | None:
        lagging = None if self._inside is None else self._inside.not_ready
        return await self._probe() or (self._intake.not_ready if self._takes else None) or lagging

    def _obey_signals(self, certificate: Certificate) -> None:
        loop = asyncio.get_running_loop()
        for each in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(each, self._stopping.set)
        loop.add_signal_handler(signal.SIGHUP, certificate.reload)
