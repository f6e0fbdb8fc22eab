"""Which of the copy's topics there are, as Kafka says now; and whether the copy is still one of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from aiokafka.client import AIOKafkaClient

from pipeline.engine.stop_client import stop_client
from pipeline.engine.store import reason_to_wipe
from pipeline.engine.topic_ids import NO_ID, read_topic_ids
from pipeline.kafka.cluster import partition_counts

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pipeline.engine.store import StorePosition
    from pipeline.kafka.cluster import Cluster

DAY_S: Final = 86_400.0
"""`delete.retention.ms` of the compacted topics: an older copy may hold what was deleted meanwhile."""


class CopyOutdated(Exception):
    """The topics are not those that are read: they are looked for again. The message says what changed."""


@dataclass(frozen=True, slots=True)
class TopicsFound:
    """The topics that exist, by logical name."""

    identities: Mapping[str, bytes]
    partitions: Mapping[str, int]

    def changed(self, now: TopicsFound) -> str | None:
        """Return what is different `now`; None: nothing. A topic that is missing does not count."""
        for topic, identity in now.identities.items():
            if topic not in self.partitions:
                return f"there is {topic} now"
            if self.identities.get(topic, NO_ID) != identity:
                return f"{topic} was deleted and created anew"
            if self.partitions[topic] != now.partitions[topic]:
                return f"{topic} has {now.partitions[topic]} partitions now"
        return None


class TopicFinder:
    """Looks for topics over one connection."""

    def __init__(self, cluster: Cluster, topics: Iterable[str]) -> None:
        """Look for `topics` (logical names)."""
        self._cluster = cluster
        self._topics = {cluster.topic_name(topic): topic for topic in topics}
        self._client: AIOKafkaClient | None = None

    async def find(self) -> TopicsFound:
        """Return those that exist. Raises KafkaError, OSError, CommandFailed."""
        if self._client is None:
            self._client = AIOKafkaClient(**self._cluster.connection)
            await self._client.bootstrap()
        found = await read_topic_ids(self._client, self._topics)
        counts = found.partitions or await partition_counts(self._cluster)  # Kafka before 2.8 has no ids
        known = {name: topic for name, topic in self._topics.items() if counts.get(name)}
        return TopicsFound(
            {topic: found.identity(name) for name, topic in known.items()},
            {topic: counts[name] for name, topic in known.items()},
        )

    async def close(self) -> None:
        """Close the connection."""
        client, self._client = self._client, None
        if client is not None:
            await stop_client(client.close())


def why_anew(
    known: Mapping[tuple[str, int], StorePosition],
    found: TopicsFound,
    bounds: Mapping[tuple[str, int], tuple[int, int]],
    compacted: Iterable[str],
) -> dict[str, str]:
    """Return the topics of which a copy at these positions is no copy any more, each with the reason.

    `bounds` has the first and the next offset of each partition there is.
    """
    of_keys, reasons = set(compacted), {}
    for (topic, partition), position in known.items():
        if (topic, partition) not in bounds:
            reasons[topic] = "it is gone" if topic not in found.partitions else f"its partition {partition} is gone"
            continue
        oldest_s = DAY_S if topic in of_keys else float("inf")
        why = reason_to_wipe(position, found.identities[topic], bounds[topic, partition], oldest_s)
        if why is not None:
            reasons[topic] = why
    return reasons
