"""Where the commands work: the Kafka they talk to, and the names in it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaConnectionError, KafkaError
from aiokafka.partitioner import DefaultPartitioner

from pipeline.engine.stop_client import stop_client
from pipeline.kafka.connection import why_unreachable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping


@dataclass(frozen=True, slots=True)
class Cluster:
    """A Kafka as the commands need it."""

    connection: Mapping[str, Any] = field(repr=False)
    """aiokafka's connection arguments (bootstrap_servers, security…)."""
    topic_prefix: str = ""
    partitions: int | None = None
    """Partitions of `touches` that the pipeline reads; nothing is produced to partitions that were added later."""

    def topic_name(self, logical: str) -> str:
        """Return the name in Kafka."""
        return f"{self.topic_prefix}{logical}"

    def partitioner(self) -> Callable[[bytes | None, list[int], list[int]], int]:
        """Return what chooses the partition of a key among those that the pipeline knows, as Kafka's clients do."""
        kafkas = DefaultPartitioner()

        def choose(key: bytes | None, partitions: list[int], available: list[int]) -> int:
            known, usable = (
                sorted(p for p in each if self.partitions is None or p < self.partitions)
                for each in (partitions, available)
            )
            return int(kafkas(key, known, usable))

        return choose

    @property
    def servers(self) -> str:
        """The bootstrap servers, for display."""
        servers = self.connection["bootstrap_servers"]
        return servers if isinstance(servers, str) else ", ".join(servers)


class CommandFailed(Exception):
    """A command cannot do what it was asked; the message is one line that says why."""


class NothingSuch(CommandFailed):
    """What was named is not there."""


class Conflicting(CommandFailed):
    """What was asked does not fit what is there."""


async def reach(cluster: Cluster) -> None:
    """Check that Kafka can be reached. Raises CommandFailed with the reason."""
    if why := await why_unreachable(cluster.connection):
        raise CommandFailed(f"Kafka at {cluster.servers} cannot be reached: {why}")


async def unreached(cluster: Cluster, error: BaseException) -> CommandFailed:
    """Return the failure that an error of the client means: with the reason why no server can be used, if that is the cause."""
    why = await why_unreachable(cluster.connection) if isinstance(error, KafkaConnectionError | OSError) else ""
    return CommandFailed(f"Kafka at {cluster.servers} cannot be reached: {why or error}")


async def partition_counts(cluster: Cluster) -> dict[str, int]:
    """Return the partition count of every topic.

    All topics are asked for: asking for a missing one by name could create it, with the broker's partition count.
    Raises CommandFailed when Kafka cannot be reached.
    """
    await reach(cluster)
    admin = AIOKafkaAdminClient(**cluster.connection)
    try:
        await admin.start()
        names = await admin.list_topics()
        described = await admin.describe_topics(list(names))
    except (KafkaError, OSError) as error:
        raise await unreached(cluster, error) from error
    finally:
        await stop_client(admin.close())
    return {topic["topic"]: len(topic["partitions"]) for topic in described}


def missing(cluster: Cluster, topic: str) -> CommandFailed:
    """Return the failure that `topic` (its name in Kafka) does not exist."""
    return CommandFailed(
        f"topic {topic} does not exist on {cluster.servers}: start a worker once, it creates its topics"
    )


async def partition_count(cluster: Cluster, logical: str) -> int:
    """Return the partition count of a topic. Raises CommandFailed when it is missing or Kafka cannot be reached."""
    topic = cluster.topic_name(logical)
    count = (await partition_counts(cluster)).get(topic)
    if count is None:
        raise missing(cluster, topic)
    return count


async def check_topics(cluster: Cluster, topics: Iterable[str]) -> None:
    """Raise CommandFailed when one of `topics` is missing, or Kafka cannot be reached."""
    counts = await partition_counts(cluster)
    for topic in map(cluster.topic_name, topics):
        if topic not in counts:
            raise missing(cluster, topic)


async def broker_count(cluster: Cluster) -> int:
    """Return how many brokers are alive. Raises CommandFailed when Kafka cannot be reached."""
    await reach(cluster)
    admin = AIOKafkaAdminClient(**cluster.connection)
    try:
        await admin.start()
        return len((await admin.describe_cluster())["brokers"])
    except (KafkaError, OSError) as error:
        raise await unreached(cluster, error) from error
    finally:
        await stop_client(admin.close())
