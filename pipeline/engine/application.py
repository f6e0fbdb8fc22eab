"""The faust application of the engine: its settings, its agents, and how it ends on an error."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import threading
import traceback
from itertools import chain
from typing import TYPE_CHECKING, Any, Final, NoReturn, cast

import faust
import faust.streams
from faust.app.base import BootStrategy
from faust.serializers.schemas import Schema

from pipeline.engine.assignor import PartitionAssignor
from pipeline.engine.consumer import Transport
from pipeline.engine.consumer_thread import Expelled
from pipeline.engine.log_rate_limit import limit_library_logs
from pipeline.engine.ownership import AgentBinding, Ownership
from pipeline.engine.partition_growth import keep_assigned, warn_of_growth
from pipeline.engine.producer import Fenced
from pipeline.engine.recovery import TableManager
from pipeline.engine.table_opening import KafkaTables
from pipeline.engine.topic_ids import watch_topic_ids
from pipeline.engine.trim import trim_regularly
from pipeline.engine.view import Keeper, Views
from pipeline.engine.watchdog import Standstill, Watchdog, watch
from pipeline.masking import masked

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping

    from aiokafka import TopicPartition

    from pipeline.engine.config import EngineConfig

log = logging.getLogger(__name__)

QUEUE_MESSAGES = 4
"""Messages that wait for an agent; each holds what one fetch returned of its topic."""
REQUEST_TIMEOUT_S = 30.0
REBALANCE_TIMEOUT_S = 60.0
COMMIT_INTERVAL_S = 1.0
CRASH_FILE = "crash.txt"
"""File in the data folder with the traceback of the error that last ended the worker."""
LINE_CHARACTERS = 500
METADATA_MS = 30_000
"""Metadata refresh: a topic unknown to the first broker is found after 30 s instead of aiokafka's five minutes."""

FAUST_SETTINGS: Final[Mapping[str, Any]] = {
    "processing_guarantee": "at_least_once",
    "consumer_max_fetch_size": 1024 * 1024,
    "consumer_metadata_max_age_ms": METADATA_MS,
    "broker_request_timeout": REQUEST_TIMEOUT_S,
    "broker_rebalance_timeout": REBALANCE_TIMEOUT_S,
    "broker_commit_interval": COMMIT_INTERVAL_S,
    "stream_recovery_delay": 0.0,
    "stream_wait_empty": True,
    "topic_disable_leader": True,
    "topic_allow_declare": False,
    "reply_create_topic": False,
    "web_tables_enabled": False,
}
"""Faust's settings that are the same for every application of the engine."""


class BatchSchema(Schema[Any, Any]):
    """Passes batches on undecoded: agents decode, so that no unreadable record can stop a stream."""

    def compile(self, app: Any, **options: Any) -> Any:
        """Return the decoder."""
        del options

        async def decode(message: Any, *, propagate: bool = False) -> Any:
            del propagate
            return app.create_event(None, message.value, None, message)

        return decode


class Boot(BootStrategy):
    """Faust's services without its producer: outputs are written by the tables' own producers."""

    enable_kafka_producer = False


class Application(faust.App):
    """A faust app that delivers every input record to its partition's agent, through `ownership`."""

    BootStrategy = Boot
    engine_config: EngineConfig
    ownership: Ownership
    table_opener: KafkaTables
    prepare: Callable[[], Awaitable[None]] | None = None
    """Runs before the first record is consumed: creates topics, opens senders."""
    clean_up: Callable[[], Awaitable[None]] | None = None
    """Runs after every service has stopped."""
    views: Views | None = None
    """What agents know beside their tables."""
    renew_instance_id: Callable[[], object] | None = None
    """Writes a new instance id for the next start, when another worker uses the same one."""
    watchdog: Watchdog
    fetches = 0
    _topic_watch: asyncio.Future[Any] | None = None

    async def start(self) -> None:
        """Start, or end the process with one line that names the error."""
        try:
            await super().start()
        except Exception as error:  # noqa: BLE001 - faust would write a traceback and leave its threads running
            self.die(error)

    def _create_directories(self) -> None:
        """Create nothing: DataFolder creates the data folder, and faust's folders in it are not used."""

    async def on_start(self) -> None:
        """Prepare, then start faust's services and the engine's."""
        limit_library_logs()
        threading.excepthook = self._thread_ended
        if self.prepare is not None:
            await self.prepare()
        if self.views is not None:
            self.add_future(self.views.run())
        await super().on_start()
        self.add_future(watch(self, self.watchdog))
        self.add_future(trim_regularly(self, self.engine_config.connection))
        self._topic_watch = self.add_future(watch_topic_ids(self))
        self.add_future(warn_of_growth(self))
        self.add_future(keep_assigned(self))

    async def on_shutdown(self) -> None:
        """Clean up after all services have stopped."""
        if self.clean_up is not None:
            await self.clean_up()
        await super().on_shutdown()

    async def catch_up(self) -> None:
        """Wait until the views know all that is committed now."""
        if self.views is not None:
            await self.views.catch_up()

    def _crash(self, reason: BaseException) -> None:
        """End the process when a faust service fails; faust would first wait for the others to stop."""
        if not self.should_stop and not isinstance(reason, asyncio.CancelledError):
            self.die(reason)
        super()._crash(reason)

    def die_expelled(self) -> NoReturn:
        """End the process: the group has given its partitions to another worker."""
        consumer: Any = self.consumer
        since_heartbeat_s = consumer.since_heartbeat_s()
        if since_heartbeat_s >= self.conf.broker_session_timeout / 2:
            self._end(
                Expelled(f"out of touch with the group for {since_heartbeat_s:.0f} s (frozen, or cut off from Kafka)")
            )
        if self.renew_instance_id is not None:
            self.renew_instance_id()
        self._end(
            Expelled(
                "another worker has joined the group with the same instance id: is its data folder a copy of "
                "this one's? This worker takes a new id at its next start"
            )
        )

    def _thread_ended(self, ended: threading.ExceptHookArgs) -> None:
        """End the process when a thread ends with an error: the only lasting one is the consumer's."""
        self.die(ended.exc_value or Standstill("a thread has ended"))

    def die(self, error: BaseException) -> NoReturn:
        """End the process at once, with one log line that names the error; write the traceback to `crash.txt`."""
        if isinstance(error, Fenced) and self.consumer is not None:
            self.die_expelled()
        self._end(error)

    def _end(self, error: BaseException) -> NoReturn:
        where = self._keep_traceback(error)
        log.critical("worker ends, to be restarted: %s: %s%s", type(error).__name__, _one_line(error), where)
        for handler in logging.getLogger().handlers:
            handler.flush()
        sys.stderr.flush()
        os._exit(1)

    def _keep_traceback(self, error: BaseException) -> str:
        path = self.engine_config.folder.parent / CRASH_FILE
        try:
            path.write_text(masked("".join(traceback.format_exception(error))), encoding="utf-8")
        except OSError:
            return ""
        return f" (traceback: {path})"

    def ended_tasks(self) -> Iterator[str]:
        """Yield the names of background tasks that must run and have ended."""
        consumer: Any = self.consumer
        for name, task in chain(consumer.tasks(), self._own_tasks(), self.ownership.tasks()):
            if task is not None and task.done():
                yield name

    def _own_tasks(self) -> Iterator[tuple[str, asyncio.Future[Any] | None]]:
        tables: Any = self.tables
        yield "the take-over of partitions", tables.recovery.running
        yield "the watch of topic ids", self._topic_watch
        if self.views is not None:
            yield "the reader of the views", self.views.task
        for topic, agent in self.agents.items():
            for actor in list(agent._actors):  # noqa: SLF001 - faust has no public list
                yield f"the agent {topic}", actor.actor_task

    @property
    def opened_topics(self) -> Mapping[str, bytes]:
        """Identity of each opened topic (see `topic_ids`), by its name in Kafka."""
        return dict(self.table_opener.identities)

    def is_assigned(self, partition: TopicPartition) -> bool:
        """Return whether any worker of the group owns `partition`, by the last assignment received here."""
        return cast("PartitionAssignor", self.assignor).is_assigned(partition)

    def rejoin(self) -> None:
        """Request a rebalance."""
        consumer: Any = self.consumer
        consumer.rejoin()

    def partitions_of(self, topic: str) -> int:
        """Return the partition count of a subscribed topic, by the consumer's metadata; 0 without metadata."""
        consumer: Any = self.consumer
        return int(consumer.partitions_of(topic))

    def is_thread_responsive(self) -> bool:
        """Return whether the consumer's thread has run since the last call."""
        consumer: Any = self.consumer
        return bool(consumer.is_thread_responsive())


def create_application(
    config: EngineConfig,
    bindings: Iterable[AgentBinding],
    now_ms: Callable[[], int],
    *,
    instance_id: str | None,
    session_timeout_s: float,
    keepers: Mapping[str, Keeper] | None = None,
    **settings: Any,
) -> Application:
    """Return the app with one agent per binding; `settings` are further faust settings.

    Its agents step when `keepers`, which keep what topics say (by logical name), know more.

    Raises RuntimeError without faust's compiled streams.
    """
    if getattr(faust.streams, "_CStreamIterator", None) is None:
        raise RuntimeError("faust without its compiled streams loses events; install its glibc wheel")
    app = Application(
        config.application,
        broker=[f"kafka://{server}" for server in config.connection["bootstrap_servers"]],
        TableManager=TableManager,
        PartitionAssignor=PartitionAssignor,
        consumer_group_instance_id=instance_id,
        broker_session_timeout=session_timeout_s,
        broker_heartbeat_interval=min(3.0, session_timeout_s / 4),
        **FAUST_SETTINGS,
        **settings,
    )
    app.transport = Transport(app.conf.broker_consumer, app)
    app.engine_config = config
    app.table_opener = KafkaTables(config)
    app.ownership = Ownership(app.table_opener, bindings, now_ms, app.die, catch_up=app.catch_up)
    if keepers:
        app.views = Views(
            config, keepers, on_move=app.ownership.wake_watching, on_identity=app.table_opener.identities.__setitem__
        )
    app.watchdog = Watchdog(app)
    for topic, agent in app.ownership.agents.items():
        _consume(app, topic, agent)
    return app


def _consume(app: Application, name: str, agent: str) -> None:
    topic = app.topic(name, schema=BatchSchema(), internal=False)
    topic.maxsize = QUEUE_MESSAGES  # faust ignores the argument of app.topic()

    async def deliver(stream: Any) -> None:
        async for event in stream.noack().events():
            try:
                for batch in event.value:
                    app.ownership.deliver(batch)
            except Exception as error:  # noqa: BLE001 - an OffsetGap: continuing would lose records
                app.die(error)
            event.ack()

    app.agent(topic, name=agent)(deliver)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:LINE_CHARACTERS]
