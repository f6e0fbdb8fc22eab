"""The engine's configuration: its Kafka, its names, its folder."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from aiokafka import TopicPartition


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """One Kafka, one consumer group, one folder."""

    connection: Mapping[str, Any] = field(repr=False)
    """aiokafka's connection arguments (bootstrap_servers, security…)."""
    application: str
    """Consumer group, and prefix of the transactional ids."""
    prefix: str
    """Prefix of every topic name."""
    folder: Path
    """Folder of the local stores."""
    _: KW_ONLY
    delete_retention_s: float = 86_400.0
    """`delete.retention.ms` of the changelogs, in seconds: an older store may hold deleted keys."""
    partitions: Mapping[str, int] = field(default_factory=dict)
    """Configured partition count by topic name in Kafka; partitions added later are not read."""

    def knows(self, tp: TopicPartition) -> bool:
        """Return whether the pipeline reads this partition."""
        count = self.partitions.get(tp.topic)
        return count is None or tp.partition < count

    def topic_name(self, logical: str) -> str:
        """Return the name in Kafka of a logical topic name."""
        return f"{self.prefix}{logical}"
