"""The composition root: settings → clock, senders, stages, agents, app. The only reader of the environment."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from aiokafka.errors import KafkaError
from aiokafka.helpers import create_ssl_context

from pipeline import flow, log_lines
from pipeline.agents.control import Control, Entries, Orders, SkippedRecords
from pipeline.agents.factory import AgentFactory
from pipeline.composer import TemplateFiles, described
from pipeline.console import commands as _commands  # noqa: F401 - faust finds commands once they are imported
from pipeline.console.banner import half, introduction, unkeyed
from pipeline.console.check.work import Desired
from pipeline.console.command import install
from pipeline.console.command_context import CommandContext
from pipeline.console.command_line import make_ours, versions
from pipeline.console.early_options import typed
from pipeline.console.web import WEB_SETTINGS, add_endpoints, bind, serve_on
from pipeline.domain.address_hash import key_fingerprint
from pipeline.domain.callback import DeliveryRules, callback_path
from pipeline.domain.unsubscribe import UnsubscribeLinks
from pipeline.domain.work import Channel
from pipeline.engine.application import Application, create_application
from pipeline.engine.config import EngineConfig
from pipeline.engine.data_folder import DataFolder, FolderInUse
from pipeline.engine.loop import UvloopPolicy
from pipeline.engine.malloc import return_large_blocks
from pipeline.engine.repartition import GroupHasMembers, add_partitions
from pipeline.engine.required_topic import RequiredTopic
from pipeline.engine.store import RocksStore
from pipeline.engine.topics import TopicMismatch, ensure_topics, topic_faults
from pipeline.kafka.cluster import Cluster, CommandFailed
from pipeline.kafka.connection import Connection, TokenCommand, TokenFile, TokenProvider, why_unreachable
from pipeline.kafka.control import settle_fingerprint
from pipeline.log_lines import JsonLines, logging_config
from pipeline.masking import mask_all
from pipeline.metrics import Metrics
from pipeline.records.published import ValueReader
from pipeline.records.registry import Registry, RegistryAway, RegistryRefuses
from pipeline.records.writing import Confluent, Writer, json_object, single_object
from pipeline.secret import without_secrets
from pipeline.settings import KafkaSettings, Settings, SettingsError, load, unread_variables
from pipeline.stages.forward import Homes
from pipeline.web import command as _web

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Mapping

    from pipeline.domain.sender import Sender
    from pipeline.web.process import WebDeps

log = logging.getLogger(__name__)

APPLICATION = "pipeline"
NOTICE_VARIABLE = "PIPELINE_NOTICE"
"""A line to log at the start of the worker; docker-compose.yml uses it to name what it left out."""
DATA_DIR_VARIABLES = ("F_DATADIR", "FAUST_DATADIR")
PORTS_TRIED = 100
EXIT_FAILED, EXIT_USAGE = 1, 2
PRIVATE = 0o077
"""umask of the worker: its tables hold addresses and texts unencrypted."""


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
        _stop(EXIT_USAGE, *error.lines)
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


def _stop(code: int, *lines: str) -> NoReturn:
    last = logging.lastResort
    for line in lines:
        record = log.makeRecord(log.name, logging.CRITICAL, __file__, 0, without_secrets(line), (), None)
        is_json = last is not None and isinstance(last.formatter, JsonLines)
        said = JsonLines().format(record) if is_json else f"pipeline: error: {without_secrets(line)}"
        print(said, file=sys.__stderr__, flush=True)
        for handler in logging.getLogger().handlers:
            if isinstance(handler, logging.FileHandler):
                handler.handle(record)
    os._exit(code)


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
            settings.kafka.topic_prefix + APPLICATION,
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

    # --- before anything is consumed -------------------------------------------------------------------------

    async def _prepare(self) -> None:
        self._introduce()
        self._look_at_templates()
        self.app.conf.consumer_group_instance_id = self._claim_folder()
        self._find_web_port()
        servers = ",".join(self.settings.kafka.bootstrap_servers)
        if why := await why_unreachable(self.engine_config.connection):
            _stop(EXIT_FAILED, f"Kafka at {servers} cannot be used: {why}")
        try:
            created = await ensure_topics(
                self.engine_config.connection, needed_topics(self.settings), self.settings.kafka.replication_factor
            )
        except TopicMismatch as error:
            _stop(EXIT_FAILED, *str(error).splitlines())
        except (KafkaError, OSError) as error:
            _stop(EXIT_FAILED, f"Kafka at {servers} cannot be used: {type(error).__name__}: {error}")
        if created:
            log.info("created topics: %s", ", ".join(created))
        await self._check_privacy_key()
        self._writer = self._choose_writer()
        for sender in self.senders.values():
            await sender.open()

    async def _check_privacy_key(self) -> None:
        cluster = Cluster(self.engine_config.connection, self.settings.kafka.topic_prefix)
        try:
            await settle_fingerprint(cluster, key_fingerprint(self.settings.privacy_key), log.warning)
        except CommandFailed as error:
            _stop(EXIT_FAILED, str(error))

    def _introduce(self) -> None:
        for line in introduction(self.settings, versions()):
            log.info("%s", line)
        for notice in filter(
            None, (*self.notices, *self.settings.warnings, half(self.settings), unkeyed(self.settings))
        ):
            log.warning("%s", notice)

    def _look_at_templates(self) -> None:
        folder = self.settings.templates
        if not folder.is_dir():
            if self.settings.templates_named:
                _stop(
                    EXIT_USAGE, f"templates: found {folder}, which is no folder; allowed: the folder of the templates"
                )
            log.info("no templates: there is no folder %s, and touches with a template are refused", folder)
            return
        files = TemplateFiles(folder)
        log.info(
            "templates in %s: %s", folder, described(files.found()) or "none, and touches with a template are refused"
        )
        for fault in files.faults():
            log.warning("template %s", fault)

    def _claim_folder(self) -> str:
        os.umask(PRIVATE)
        try:
            return self.folder.claim()
        except FolderInUse as error:
            _stop(EXIT_FAILED, f"data folder {error} is in use by another worker; give each its own with --datadir")
        except OSError as error:
            _stop(EXIT_FAILED, f"data folder {self.folder.path} cannot be used: {error}; choose another with --datadir")

    def _find_web_port(self) -> None:
        """Use the next free port if faust's default is in use; a configured port must be free."""
        conf: Any = self.app.conf
        if not conf.web_enabled:
            return
        asked = typed(sys.argv[1:], "--web-port", "-p") or os.environ.get("WEB_PORT") or os.environ.get("F_WEB_PORT")
        wanted = conf.web_port
        listener = bind(conf.web_bind, wanted, tries=1 if asked else PORTS_TRIED)
        if listener is None:
            _stop(
                EXIT_FAILED,
                f"web port {conf.web_port} of {conf.web_bind} is in use (another worker?); "
                "choose another with --web-port, or --without-web",
            )
        serve_on(self.app, listener)
        if conf.web_port != wanted:
            log.warning(
                "web port %d is in use: /live, /ready and /metrics are on %d (--web-port chooses)",
                wanted,
                conf.web_port,
            )

    async def _clean_up(self) -> None:
        for sender in self.senders.values():
            await sender.close()
        if self._entries is not None:
            self._entries.close()

    def _choose_writer(self) -> Writer:
        try:
            if self.registry is not None:
                self._offer_schema(self.registry)
            return writer_of(self.settings, self.registry, written(self.settings))
        except RegistryAway as error:
            _stop(EXIT_FAILED, str(error))

    def _offer_schema(self, registry: Registry) -> None:
        """Register the schema of touches. If the registry refuses because the subject has another schema, that one stays."""
        try:
            registry.register(self.engine_config.topic_name(flow.TOUCHES), "touch")
        except RegistryRefuses as error:
            log.warning("the schema of touches is not registered: %s", error)


def written(settings: Settings) -> Mapping[str, str]:
    """Return the schema of each public topic that a worker writes."""
    always = {flow.STATUS: "status", flow.DEAD_LETTERS: "dead_letter", flow.SUPPRESSIONS: "suppression"}
    return {**always, flow.DELIVERIES: "delivery"} if settings.callback_senders else always


def writer_of(settings: Settings, registry: Registry | None, schemas: Mapping[str, str]) -> Writer:
    """Return what encodes the records of public topics (topic: schema) as configured. Raises RegistryAway."""
    if settings.kafka.status_format == "json":
        return json_object
    if registry is None:
        return single_object
    prefix = settings.kafka.topic_prefix
    return Confluent({name: registry.register(prefix + topic, name) for topic, name in schemas.items()})


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
    connection, prefix = connection_of(settings), settings.kafka.topic_prefix
    topics = needed_topics(settings)
    url = settings.kafka.schema_registry_url
    registry = None if url is None else Registry(url)

    def sender_of(channel: Channel, name: str) -> Sender | None:
        return None if settings.channels[channel].sender_named(name) is None else make_sender(settings, channel, name)

    return CommandContext(
        cluster=Cluster(connection, prefix, settings.kafka.partitions),
        create_topics=lambda: ensure_topics(connection, topics, settings.kafka.replication_factor),
        add_partitions=None if settings.kafka.partitions_before is None else partial(_add_partitions, settings, topics),
        read_status=ValueReader("status", registry),
        read_delivery=ValueReader("delivery", registry),
        read_dead_letter=ValueReader("dead_letter", registry),
        read_touch=ValueReader("touch", registry),
        desired=partial(_desired, settings, connection, topics),
        policies=settings.channels,
        read_suppression=ValueReader("suppression", registry),
        read_audit=ValueReader("audit", registry),
        writer=partial(writer_of, settings, registry, {flow.SUPPRESSIONS: "suppression", flow.AUDIT: "audit"}),
        privacy_key=settings.privacy_key,
        suppression_covers=settings.suppression_covers,
        callback_partitions=callback_partitions(settings),
        dedup_for_ms=settings.dedup_for_ms,
        now_s=time.time,
        sender_of=sender_of,
    )


def make_web_deps(settings: Settings) -> WebDeps:
    """Return what the web process needs."""
    from pipeline.web.process import WebDeps as Deps  # noqa: PLC0415 - a worker never loads it

    links = unsubscribe_links(settings)
    return Deps(settings=settings, context=make_context(settings), now_ms=now_ms, unsubscribe=links)


def callback_partitions(settings: Settings) -> int | None:
    """Return the partitions of `touches.callbacks` that count: once some were added, as many as before. None: callbacks are off."""
    kafka = settings.kafka
    return (kafka.partitions_before or kafka.partitions) if settings.callback_senders else None


async def _add_partitions(settings: Settings, topics: list[RequiredTopic]) -> AsyncIterator[str]:
    """Add the partitions that are configured. Raises CommandFailed."""
    connection, before = connection_of(settings), settings.kafka.partitions_before
    assert before is not None
    if why := await why_unreachable(connection):
        raise CommandFailed(f"Kafka at {','.join(settings.kafka.bootstrap_servers)} cannot be reached: {why}")
    group = settings.kafka.topic_prefix + APPLICATION
    earlier = needed_topics(replace(settings, kafka=replace(settings.kafka, partitions=before)))
    sizes = {each.name: each.partitions for each in earlier}
    grown = [each for each in topics if each.partitions != sizes[each.name]]
    try:
        async for line in add_partitions(connection, group, grown, before):
            yield line
    except (GroupHasMembers, KafkaError) as error:
        raise CommandFailed(str(error)) from error


def _desired(settings: Settings, connection: Connection, topics: list[RequiredTopic]) -> Desired:
    """Return what `check` compares with; the senders are new and not opened."""
    senders = [
        (f"{channel.value} {each.name}", make_sender(settings, channel, each.name))
        for channel, policy in settings.channels.items()
        for each in policy.senders
    ]
    return Desired(
        {topic.name: topic.partitions for topic in topics},
        settings.kafka.replication_factor,
        senders,
        [channel.value for channel, policy in settings.channels.items() if not policy.senders],
        settings.kafka.schema_registry_url,
        settings.source,
        [each.base_url for each in settings.accounts.values()],
        settings.kafka.topic_prefix + APPLICATION,
        partial(topic_faults, connection, topics),
        [
            (f"{channel.value} {name}", make_sender(settings, channel, name), callback_url(settings, channel, name))
            for channel, name in sorted(settings.callback_senders)
            if settings.channels[channel].sender_named(name) is not None
        ],
        settings.templates,
        templates_named=settings.templates_named,
    )


def callback_url(settings: Settings, channel: Channel, name: str) -> str | None:
    """Return where a sender's provider is to call back; None without `web.public_url`."""
    if settings.web.public_url is None:
        return None
    provider = settings.channels[channel].spec.provider.lower()
    return settings.web.public_url + callback_path(provider, name)


def connection_of(settings: Settings) -> Connection:
    """Return the connection arguments of every Kafka client."""
    kafka = settings.kafka
    return Connection(
        bootstrap_servers=list(kafka.bootstrap_servers),
        security_protocol=kafka.security_protocol,
        **_tls(kafka),
        **_login(kafka),
    )


def _tls(kafka: KafkaSettings) -> dict[str, Any]:
    if "SSL" not in kafka.security_protocol:
        return {}
    password = kafka.ssl_key_password
    return {
        "ssl_context": create_ssl_context(
            cafile=kafka.ssl_cafile,
            certfile=kafka.ssl_certfile,
            keyfile=kafka.ssl_keyfile,
            password=None if password is None else password.reveal(),
        )
    }


def _login(kafka: KafkaSettings) -> dict[str, Any]:
    how = {"sasl_mechanism": kafka.sasl_mechanism}
    if kafka.sasl_mechanism is None:
        return {}
    if kafka.sasl_token_file is not None:
        return {**how, "sasl_oauth_token_provider": TokenProvider(TokenFile(Path(kafka.sasl_token_file)))}
    if kafka.sasl_token_command is not None:
        return {**how, "sasl_oauth_token_provider": TokenProvider(TokenCommand(kafka.sasl_token_command))}
    assert kafka.sasl_password is not None
    return {**how, "sasl_plain_username": kafka.sasl_username, "sasl_plain_password": kafka.sasl_password.reveal()}


def needed_topics(settings: Settings) -> list[RequiredTopic]:
    """Return every topic the configuration needs, by its name in Kafka."""
    kafka = settings.kafka
    specs = flow.topics(
        partitions=kafka.partitions,
        lanes=kafka.lanes,
        replication=kafka.replication_factor,
        dedup_for_ms=settings.dedup_for_ms,
        has_grown=kafka.partitions_before is not None,
        callbacks=bool(settings.callback_senders),
    )
    return [
        RequiredTopic(
            kafka.topic_prefix + spec.name,
            spec.partitions,
            spec.settings,
            is_public=spec.is_public,
            may_grow=spec.may_grow,
        )
        for spec in specs
    ]
