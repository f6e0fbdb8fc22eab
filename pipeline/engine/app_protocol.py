"""The part of the application that the engine's services may use."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from aiokafka import TopicPartition

    from pipeline.engine.config import EngineConfig
    from pipeline.engine.ownership import Ownership


class AppProtocol(Protocol):
    """The application, as the engine's services see it."""

    engine_config: EngineConfig
    ownership: Ownership
    rebalancing: bool
    consumer_generation_id: int
    fetches: int
    """Number of fetches so far."""

    @property
    def opened_topics(self) -> Mapping[str, bytes]:
        """Identity of each opened topic (see `topic_ids`), by its name in Kafka."""

    @property
    def should_stop(self) -> bool:
        """Whether the application is stopping."""

    def die(self, error: BaseException) -> NoReturn:
        """End the process at once, with one log line that names the error."""

    def die_expelled(self) -> NoReturn:
        """End the process: the group has given its partitions to another worker."""

    def is_assigned(self, partition: TopicPartition) -> bool:
        """Return whether any worker of the group owns `partition`, by the last assignment received here."""

    def rejoin(self) -> None:
        """Request a rebalance."""

    def on_rebalance_end(self) -> None:
        """Mark the rebalance as complete."""

    def ended_tasks(self) -> Iterator[str]:
        """Yield the names of background tasks that must run and have ended."""

    def partitions_of(self, topic: str) -> int:
        """Return the partition count of a subscribed topic, by the consumer's metadata; 0 without metadata."""

    def is_thread_responsive(self) -> bool:
        """Return whether the consumer's thread has run since the last call."""
