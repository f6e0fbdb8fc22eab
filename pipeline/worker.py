"""The composition root: settings → clock, senders, stages, agents, app. The only reader of the environment."""

from __future__ import annotations

import asyncio
import os
import random
import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import flow, log_lines
from pipeline.agents.control import Control, Entries, Orders, SkippedRecords
from pipeline.agents.factory import AgentFactory
from pipeline.console import commands as _commands  # noqa: F401 - faust finds commands once they are imported
from pipeline.console.command import install
from pipeline.console.command_context import CommandContext
from pipeline.console.command_line import make_ours
from pipeline.console.context_factory import create_context
from pipeline.console.early_options import typed
from pipeline.console.web import WEB_SETTINGS, add_endpoints
from pipeline.domain.callback import DeliveryRules
from pipeline.domain.unsubscribe import UnsubscribeLinks
from pipeline.domain.work import Channel
from pipeline.engine.application import Application, create_application
from pipeline.engine.config import EngineConfig
from pipeline.engine.data_folder import DataFolder
from pipeline.engine.garbage import collect_seldom
from pipeline.engine.loop import UvloopPolicy
from pipeline.engine.malloc import return_large_blocks
from pipeline.engine.store import RocksStore
from pipeline.kafka.configured import connection_of, group_of, needed_topics
from pipeline.log_lines import logging_config
from pipeline.masking import mask_all
from pipeline.metrics import Metrics
from pipeline.records.published import ValueReader
from pipeline.records.registry import Registry
from pipeline.records.writing import Writer, single_object
from pipeline.settings import Settings, SettingsError, load, unread_variables
from pipeline.stages.forward import Homes
from pipeline.startup import EXIT_USAGE, Startup, stop
from pipeline.web import command as _web

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from pipeline.domain.sender import Sender
    from pipeline.web.process import WebDeps

NOTICE_VARIABLE = "PIPELINE_NOTICE"
"""A line to log at the start of the worker; docker-compose.yml uses it to name what it left out."""
DATA_DIR_VARIABLES = ("F_DATADIR", "FAUST_DATADIR")
WEB_PORT_VARIABLES = ("WEB_PORT", "F_WEB_PORT")


def now_ms() -> int:
    """Return the clock, epoch milliseconds."""
    return time.time_ns() // 1_000_000


def monotonic_ms() -> int:
    """Return a monotonic clock that goes on while the machine sleeps, in milliseconds from any origin."""
    return time.clock_gettime_ns(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)) // 1_000_000


def create_app() -> Application:
    """Return the app that the environment configures. A wrong configuration ends the process, one line per fault."""
    mask_all()
    try:
        settings = load(os.environ, Path.cwd())
    except SettingsError as error:
        stop(EXIT_USAGE, *error.lines)
    log_lines.use(settings.log_format)
    return_large_blocks()
    asyncio.set_event_loop_policy(UvloopPolicy())  # a tenth less CPU per SMS (make bench)
    return Worker(settings, _folder(settings), _notices()).app


def _notices() -> list[str]:
    """Return the lines about the environment for the start of the log."""
    return [*filter(None, [os.environ.get(NOTICE_VARIABLE)]), *unread_variables(os.environ)]


def _folder(settings: Settings) -> Path:
    """Return the data folder. Faust imports the app before it has parsed `--datadir`, so it is read here."""
    said = [typed(sys.argv[1:], "--datadir", "-D"), *(os.environ.get(name) for name in DATA_DIR_VARIABLES)]
    return Path(next((each for each in said if each), settings.data_dir))


def _asked_port() -> str | None:
    """Return the web port that somebody asked for."""
    said = [typed(sys.argv[1:], "--web-port", "-p"), *(os.environ.get(name) for name in WEB_PORT_VARIABLES)]
    return next(filter(None, said), None)


class Worker:
    """One worker process, put together."""

    def __init__(self, settings: Settings, folder: Path, notices: Iterable[str] = ()) -> None:
        self.settings = settings
        self.notices = tuple(notices)
        self.metrics = Metrics()
        self.folder = DataFolder(folder)
        self.registry = (
            None if settings.kafka.schema_registry_url is None else Registry(settings.kafka.schema_registry_url)
        )
        self.senders = {
            (channel, each.name): make_sender(settings, channel, each.name)
            for channel, policy in settings.channels.items()
            for each in policy.senders
        }
        self._writer: Writer = single_object
        self._entries: RocksStore | None = None
        self.control = self._make_control(folder)
        self.engine_config = EngineConfig(
            connection_of(settings),
            group_of(settings),
            settings.kafka.topic_prefix,
            folder / "tables",
            partitions={topic.name: topic.partitions for topic in needed_topics(settings)},
        )
        self.app = self._create()

    def _make_control(self, folder: Path) -> Control:
        """Return the view of orders and suppressions, which is empty until the worker reads them."""
        skipped = SkippedRecords(self.metrics.control_skipped, now_ms)

        def open_entries() -> RocksStore:
            self._entries = RocksStore(folder / "tables" / flow.SUPPRESSIONS)
            return self._entries

        control = Control(
            Orders(skipped, now_ms, self.settings.dedup_for_ms),
            self._make_entries(open_entries, skipped),
            self.settings.privacy_key,
            now_ms,
        )
        forces = control.forces
        self.metrics.watch_orders(lambda: len(forces.pending()), forces.oldest_s, lambda: control.entries.counts)
        return control

    def _make_entries(self, open_store: Callable[[], RocksStore], skipped: SkippedRecords) -> Entries:
        read = ValueReader("suppression", self.registry, fetches=False)
        if self.registry is None:
            return Entries(open_store, read, skipped)
        return Entries(open_store, read, skipped, self.registry.fetch)

    def _create(self) -> Application:
        app = create_application(
            self.engine_config,
            self._agent_factory().bindings(),
            now_ms,
            instance_id=None,
            session_timeout_s=self.settings.kafka.session_timeout_ms / 1000,
            keepers=self.control.keepers,
            datadir=str(self.folder.path),
            logging_config=logging_config(self.settings.log_format),
            **WEB_SETTINGS,
        )
        app.prepare = self._prepare
        app.clean_up = self._clean_up
        app.renew_instance_id = self.folder.renew
        self.metrics.watch_inputs(partial(_input_lag, app))
        add_endpoints(app, self.metrics, partial(_not_ready, app), app.watchdog.ended_task)
        make_ours()
        install(partial(make_context, self.settings))
        _web.install_web(partial(make_web_deps, self.settings))
        return app

    def _agent_factory(self) -> AgentFactory:
        settings = self.settings
        return AgentFactory(
            channels=settings.channels,
            senders=self.senders,
            metrics=self.metrics,
            dedup_for_ms=settings.dedup_for_ms,
            templates=settings.templates,
            prefix=settings.kafka.topic_prefix,
            registry=self.registry,
            writer=lambda: self._writer,
            now_ms=now_ms,
            monotonic_ms=monotonic_ms,
            draw=random.random,
            homes=Homes(settings.kafka.partitions, settings.kafka.partitions_before),
            privacy_key=settings.privacy_key,
            control=self.control,
            suppression_covers=settings.suppression_covers,
            deliveries=delivery_rules(settings),
            unsubscribe=unsubscribe_links(settings) if settings.unsubscribe.enabled else None,
        )

    async def _prepare(self) -> None:
        startup = Startup(
            settings=self.settings,
            notices=self.notices,
            folder=self.folder,
            connection=self.engine_config.connection,
            registry=self.registry,
            senders=list(self.senders.values()),
            asked_port=_asked_port(),
        )
        self._writer = await startup.run(self.app)
        collect_seldom()

    async def _clean_up(self) -> None:
        for sender in self.senders.values():
            await sender.close()
        if self._entries is not None:
            self._entries.close()


def delivery_rules(settings: Settings) -> DeliveryRules | None:
    """Return the rules of the stage of deliveries; None while no sender's callbacks are on."""
    keys = settings.deliveries
    if not settings.callback_senders:
        return None
    return DeliveryRules(
        senders=settings.callback_senders,
        early_for_ms=keys.early_for_ms,
        remember_for_ms=keys.remember_for_ms,
        silent_after_ms=keys.silent_after_ms,
    )


def unsubscribe_links(settings: Settings) -> UnsubscribeLinks | None:
    """Return what makes and reads the links; None without `privacy.key`."""
    return UnsubscribeLinks(settings.web.public_url or "", settings.privacy_key) if settings.privacy_key else None


def _not_ready(app: Application) -> str | None:
    if app.views is not None and not app.views.is_read:
        return "orders and suppressions are being read"
    return None if app.ownership.is_ready else "partitions are being taken over"


def _input_lag(app: Application) -> Mapping[str, int]:
    consumer: Any = app.consumer
    return {} if consumer is None else app.ownership.lag(consumer.end_of)


def make_sender(settings: Settings, channel: Channel, name: str) -> Sender:
    """Return the client of one configured sender, not opened yet."""
    policy = settings.channels[channel]
    own = policy.sender_named(name)
    assert own is not None
    account = settings.accounts[channel, name]
    return policy.spec.make_sender(account, own, request_timeout_ms=policy.request_timeout_ms, now_ms=now_ms)


def make_context(settings: Settings) -> CommandContext:
    """Return the context of a command."""
    return create_context(settings, partial(make_sender, settings), time.time)


def make_web_deps(settings: Settings) -> WebDeps:
    """Return what the web process needs."""
    from pipeline.web.process import WebDeps as Deps  # noqa: PLC0415 - a worker never loads it

    links = unsubscribe_links(settings)
    return Deps(settings=settings, context=make_context(settings), now_ms=now_ms, unsubscribe=links)
