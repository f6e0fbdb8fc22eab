"""The required shape of a topic."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field


@dataclass(frozen=True, slots=True)
class RequiredTopic:
    """The required shape of a topic."""

    name: str
    """Name in Kafka, prefix included."""
    partitions: int
    settings: Mapping[str, str] = field(default_factory=dict)
    _: KW_ONLY
    is_public: bool = False
    """Whether other programs may create it and write to it."""
    may_grow: bool = False
    """Whether partitions may be added once it has records: no record is looked up by the hash of its key."""
