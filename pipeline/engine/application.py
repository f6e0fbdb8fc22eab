"""The faust application of the engine: its settings, its agents, and its loud death."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import threading
import traceback
from itertools import chain
from typing import TYPE_CHECKING, Any, NoReturn, cast

import faust
import faust.streams
from faust.app.base import BootStrategy
from faust.serializers.schemas import Schema

from pipeline.engine.assignor import PartitionAssignor
from pipeline.engine.consumer import Expelled, Transport
from pipeline.engine.log_rate_limit import limit_library_logs
from pipeline.engine.ownership import AgentBinding, Ownership
from pipeline.engine.partition_growth import keep_assigned, warn_of_growth
from pipeline.engine.producer import Fenced
from pipeline.engine.recovery import TableManager
from pipeline.engine.topic_ids import watch_topic_ids
from pipeline.engine.trim import keep_trimming
from pipeline.engine.watchdog import Standstill, Watchdog, watch
from pipeline.masking import masked

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator

    from aiokafka import TopicPartition

    from pipeline.engine.config import EngineConfig

log = logging.getLogger(__name__)

QUEUE_BATCHES = 4
REQUEST_TIMEOUT_S = 30.0
REBALANCE_TIMEOUT_S = 60.0
COMMIT_INTERVAL_S = 1.0
CRASH_FILE = "crash.txt"
"""In the data folder: the traceback of what ended the worker last."""
LINE_CHARACTERS = 500
METADATA_MS = 30_000
"""A topic that the broker asked did not know of yet is asked for again so soon, not in five minutes."""


class BatchSchema(Schema[Any, Any]):
    """Hands batches through undecoded: stages decode, so that nothing unreadable can stop a stream."""

    def compile(self, app: Any, **options: Any) -> Any:
        """Return the decoder."""
        del options

        async def decode(message: Any, *, propagate: bool = False) -> Any:
            del propagate
            return app.create_event(None, message.value, None, message)

        return decode


class Boot(BootStrategy):
    """Faust's services without its producer: what goes out goes through the tables' own."""

    enable_kafka_producer = False


class Application(faust.App):
    """A faust app whose agents lose nothing: every input topic is a binding of its `ownership`."""

    BootStrategy = Boot
    engine_config: EngineConfig
    ownership: Ownership
    prepare: Callable[[], Awaitable[None]] | None = None
    """Runs before anything is consumed: topics, senders, whatever must stand first."""
    wind_up: Callable[[], Awaitable[None]] | None = None
    """Runs when everything has stopped."""
    renounce: Callable[[], object] | None = None
    """Takes a new instance id for the next start: another worker has this one."""
    watchdog: Watchdog
    fetches = 0
    _topics_watched: asyncio.Future[Any] | None = None

    async def start(self) -> None:
        """Start, or end with one line that says why not."""
        try:
            await super().start()
        except Exception as error:  # noqa: BLE001 - faust would write a traceback and leave its threads behind
            self.die(error)

    def _create_directories(self) -> None:
        """The data folder is made where it is locked; faust's own folders in it are not used."""

    async def on_start(self) -> None:
        """Prepare, and set the watchdog."""
        limit_library_logs()
        threading.excepthook = self._thread_ended
        if self.prepare is not None:
            await self.prepare()
        await super().on_start()
        self.add_future(watch(self, self.watchdog))
        self.add_future(keep_trimming(self, self.engine_config.connection))
        self._topics_watched = self.add_future(watch_topic_ids(self))
        self.add_future(warn_of_growth(self))
        self.add_future(keep_assigned(self))

    async def on_shutdown(self) -> None:
        """Wind up."""
        if self.wind_up is not None:
            await self.wind_up()
        await super().on_shutdown()

    def _crash(self, reason: BaseException) -> None:
        """End the process when a service of faust's breaks; faust would stop the others first, for as long as they hang."""
        if not self.should_stop and not isinstance(reason, asyncio.CancelledError):
            self.die(reason)
        super()._crash(reason)

    def expelled(self) -> NoReturn:
        """End the process, whose partitions have been given to another one."""
        consumer: Any = self.consumer
        silent_s = consumer.silent_s()
        if silent_s >= self.conf.broker_session_timeout / 2:
            self._end(Expelled(f"out of touch with the group for {silent_s:.0f} s (frozen, or cut off from Kafka)"))
        if self.renounce is not None:
            self.renounce()
        self._end(
            Expelled(
                "another worker has joined the group with the same instance id: is its data folder a copy of "
                "this one's? This worker takes a new id at its next start"
            )
        )

    def _thread_ended(self, ended: threading.ExceptHookArgs) -> None:
        """End the process when a thread breaks: the consumer's is the only one that lasts."""
        self.die(ended.exc_value or Standstill("a thread has ended"))

    def die(self, error: BaseException) -> NoReturn:
        """End the process at once, with one line that says why; its tables are spent. The traceback goes to `crash.txt`."""
        if isinstance(error, Fenced) and self.consumer is not None:
            self.expelled()
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
        """Yield the names of background tasks that should run and have ended."""
        consumer: Any = self.consumer
        for name, task in chain(consumer.tasks(), self._own_tasks(), self.ownership.tasks()):
            if task is not None and task.done():
                yield name

    def _own_tasks(self) -> Iterator[tuple[str, asyncio.Future[Any] | None]]:
        tables: Any = self.tables
        yield "the take-over of partitions", tables.recovery.running
        yield "the look at topics", self._topics_watched
        for topic, agent in self.agents.items():
            for actor in list(agent._actors):  # noqa: SLF001 - faust names them nowhere else
                yield f"the agent {topic}", actor.actor_task

    def is_covered(self, partition: TopicPartition) -> bool:
        """Whether a worker of the group has `partition`, as this one was told last."""
        return cast("PartitionAssignor", self.assignor).is_covered(partition)

    def rejoin(self) -> None:
        """Ask the group to hand out its partitions anew."""
        consumer: Any = self.consumer
        consumer.rejoin()

    def partitions_of(self, topic: str) -> int:
        """Return how many partitions a subscribed topic has, as the consumer knows; 0 before it knows."""
        consumer: Any = self.consumer
        return int(consumer.partitions_of(topic))

    def thread_answers(self) -> bool:
        """Return whether the consumer's thread has done something since this was last asked."""
        consumer: Any = self.consumer
        return bool(consumer.thread_answers())

    def not_taking_part(self) -> str | None:
        """Return why this worker no longer takes part in its group, or None."""
        return next((f"{name} has ended" for name in self.ended_tasks()), None)


def create_application(
    config: EngineConfig,
    bindings: Iterable[AgentBinding],
    now_ms: Callable[[], int],
    *,
    instance_id: str | None,
    session_timeout_s: float,
    **settings: Any,
) -> Application:
    """Return the app with one agent per binding; `settings` are further faust settings."""
    if getattr(faust.streams, "_CStreamIterator", None) is None:
        raise RuntimeError("faust without its compiled streams loses events; install its glibc wheel")
    servers = config.connection["bootstrap_servers"]
    app = Application(
        config.application,
        broker=[f"kafka://{server}" for server in servers],
        TableManager=TableManager,
        PartitionAssignor=PartitionAssignor,
        processing_guarantee="at_least_once",
        consumer_group_instance_id=instance_id,
        consumer_max_fetch_size=1024 * 1024,
        consumer_metadata_max_age_ms=METADATA_MS,
        broker_session_timeout=session_timeout_s,
        broker_heartbeat_interval=min(3.0, session_timeout_s / 4),
        broker_request_timeout=REQUEST_TIMEOUT_S,
        broker_rebalance_timeout=REBALANCE_TIMEOUT_S,
        broker_commit_interval=COMMIT_INTERVAL_S,
        stream_recovery_delay=0.0,
        stream_wait_empty=True,
        topic_disable_leader=True,
        topic_allow_declare=False,
        reply_create_topic=False,
        web_tables_enabled=False,
        **settings,
    )
    app.transport = Transport(app.conf.broker_consumer, app)
    app.engine_config = config
    app.ownership = Ownership(config, bindings, now_ms, app.die)
    app.watchdog = Watchdog(app)
    for topic, agent in app.ownership.agents.items():
        _consume(app, topic, agent)
    return app


def _consume(app: Application, name: str, agent: str) -> None:
    topic = app.topic(name, schema=BatchSchema(), internal=False)
    topic.maxsize = QUEUE_BATCHES  # the argument of app.topic() is dropped by faust, and the bound with it

    async def deliver(stream: Any) -> None:
        async for event in stream.noack().events():
            try:
                app.ownership.deliver(event.value)
            except Exception as error:  # noqa: BLE001 - a hole: going on would lose records
                app.die(error)
            event.ack()

    app.agent(topic, name=agent)(deliver)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:LINE_CHARACTERS]
