"""What a worker does before anything is consumed; what it cannot start with ends the process, with a line that says why."""

from __future__ import annotations

import logging
import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NoReturn

from aiokafka.errors import KafkaError

from pipeline import flow
from pipeline.composer import TemplateFiles, described
from pipeline.console.banner import half, introduction, unkeyed
from pipeline.console.command_line import versions
from pipeline.console.web import bind, serve_on
from pipeline.domain.address_hash import key_fingerprint
from pipeline.engine.data_folder import DataFolder, FolderInUse
from pipeline.engine.topics import TopicMismatch, ensure_topics
from pipeline.kafka.cluster import Cluster, CommandFailed
from pipeline.kafka.configured import needed_topics, writer_of
from pipeline.kafka.connection import why_unreachable
from pipeline.kafka.control import settle_fingerprint
from pipeline.log_lines import JsonLines
from pipeline.records.registry import Registry, RegistryAway, RegistryRefuses
from pipeline.secret import without_secrets

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pipeline.domain.sender import Sender
    from pipeline.engine.application import Application
    from pipeline.records.writing import Writer
    from pipeline.settings import Settings

log = logging.getLogger(__name__)

PORTS_TRIED: Final = 100
EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2
PRIVATE: Final = 0o077
"""umask of the worker: its tables hold addresses and texts unencrypted."""


def stop(code: int, *lines: str) -> NoReturn:
    """End the process with `lines` as its last words."""
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Startup:
    """The steps of one worker's start, in their order."""

    settings: Settings
    notices: Sequence[str]
    """Lines about the environment."""
    folder: DataFolder
    connection: Mapping[str, Any]
    registry: Registry | None
    senders: Sequence[Sender]
    asked_port: str | None
    """The web port that somebody asked for; None: faust's default."""

    async def run(self, app: Application) -> Writer:
        """Make everything ready, and open the senders; return what encodes the records of public topics."""
        self._introduce()
        self._look_at_templates()
        app.conf.consumer_group_instance_id = self._claim_folder()
        self._find_web_port(app)
        await self._settle_with_kafka()
        await self._check_privacy_key()
        writer = self._choose_writer()
        for sender in self.senders:
            await sender.open()
        return writer

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
                stop(EXIT_USAGE, f"templates: found {folder}, which is no folder; allowed: the folder of the templates")
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
            stop(EXIT_FAILED, f"data folder {error} is in use by another worker; give each its own with --datadir")
        except OSError as error:
            stop(EXIT_FAILED, f"data folder {self.folder.path} cannot be used: {error}; choose another with --datadir")

    def _find_web_port(self, app: Application) -> None:
        """Use the next free port if faust's default is in use; a configured port must be free."""
        conf: Any = app.conf
        if not conf.web_enabled:
            return
        wanted = conf.web_port
        try:
            listener = bind(conf.web_bind, wanted, tries=1 if self.asked_port else PORTS_TRIED)
        except OSError as error:
            why = f"web port {wanted} of {conf.web_bind} cannot be used: {error.strerror}"
            stop(EXIT_FAILED, f"{why}; choose others with --web-bind and --web-port, or --without-web")
        if listener is None:
            stop(
                EXIT_FAILED,
                f"web port {conf.web_port} of {conf.web_bind} is in use (another worker?); "
                "choose another with --web-port, or --without-web",
            )
        serve_on(app, listener)
        if conf.web_port != wanted:
            log.warning(
                "web port %d is in use: /live, /ready and /metrics are on %d (--web-port chooses)",
                wanted,
                conf.web_port,
            )

    async def _settle_with_kafka(self) -> None:
        """Reach Kafka, and create the topics that are missing."""
        servers = ",".join(self.settings.kafka.bootstrap_servers)
        if why := await why_unreachable(self.connection):
            stop(EXIT_FAILED, f"Kafka at {servers} cannot be used: {why}")
        try:
            created = await ensure_topics(
                self.connection, needed_topics(self.settings), self.settings.kafka.replication_factor
            )
        except TopicMismatch as error:
            stop(EXIT_FAILED, *str(error).splitlines())
        except (KafkaError, OSError) as error:
            stop(EXIT_FAILED, f"Kafka at {servers} cannot be used: {type(error).__name__}: {error}")
        if created:
            log.info("created topics: %s", ", ".join(created))

    async def _check_privacy_key(self) -> None:
        cluster = Cluster(self.connection, self.settings.kafka.topic_prefix)
        try:
            await settle_fingerprint(cluster, key_fingerprint(self.settings.privacy_key), log.warning)
        except CommandFailed as error:
            stop(EXIT_FAILED, str(error))

    def _choose_writer(self) -> Writer:
        try:
            if self.registry is not None:
                self._offer_schema(self.registry)
            return writer_of(self.settings, self.registry, written(self.settings))
        except RegistryAway as error:
            stop(EXIT_FAILED, str(error))

    def _offer_schema(self, registry: Registry) -> None:
        """Register the schema of touches. If the registry refuses because the subject has another schema, that one stays."""
        try:
            registry.register(self.settings.kafka.topic_prefix + flow.TOUCHES, "touch")
        except RegistryRefuses as error:
            log.warning("the schema of touches is not registered: %s", error)


def written(settings: Settings) -> Mapping[str, str]:
    """Return the schema of each public topic that a worker writes."""
    always = {flow.STATUS: "status", flow.DEAD_LETTERS: "dead_letter", flow.SUPPRESSIONS: "suppression"}
    return {**always, flow.DELIVERIES: "delivery"} if settings.callback_senders else always
