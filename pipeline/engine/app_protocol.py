"""What the engine's parts may ask of the application they live in."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aiokafka import TopicPartition

    from pipeline.engine.config import EngineConfig
    from pipeline.engine.ownership import Ownership


class AppProtocol(Protocol):
    """The application, as its parts see it."""

    engine_config: EngineConfig
    ownership: Ownership
    rebalancing: bool
    consumer_generation_id: int
    fetches: int
    """How often records were asked for."""

    @property
    def should_stop(self) -> bool:
        """Whether the application is stopping."""

    def die(self, error: BaseException) -> NoReturn:
        """End the process at once, loudly."""

    def expelled(self) -> NoReturn:
        """End the process, whose partitions have been given to another one."""

    def is_covered(self, partition: TopicPartition) -> bool:
        """Whether a worker of the group has `partition`, as this one was told last."""

    def rejoin(self) -> None:
        """Ask the group to hand out its partitions anew."""

    def on_rebalance_end(self) -> None:
        """Note that records flow again."""

    def ended_tasks(self) -> Iterator[str]:
        """Yield the names of background tasks that should run and have ended."""

    def partitions_of(self, topic: str) -> int:
        """Return how many partitions a subscribed topic has, as the consumer knows; 0 before it knows."""

    def thread_answers(self) -> bool:
        """Return whether the consumer's thread has done something since this was last asked."""
