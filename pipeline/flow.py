"""The road as a table: every topic, who writes it, who reads it, and where touches wait on it.

    touches ──▶ router ──▶ touches.whatsapp ─┐
                      ├──▶ touches.email    ─┼─▶ lane: gate → limit → claim → call → settle ──▶ touches.results ──▶ dedup ──▶ touches.status
                      └──▶ touches.sms      ─┘        │ closed window, not_before, back-off
                                 ▲                    ▼
                                 └── scheduler ◀── touches.scheduled

An SMS that must wait for nine o'clock waits in the scheduler: its lane finds the window closed, writes it to
`touches.scheduled`, and the scheduler keeps it in its table `deferred` until nine, then hands it back to its lane. One
that may go but not yet (the limit, a pause) waits in the lane's own table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from pipeline.domain.work import Channel

TOUCHES = "touches"
SCHEDULED = "touches.scheduled"
RESULTS = "touches.results"
STATUS = "touches.status"
DEAD_LETTERS = "touches.dead-letters"
UNCONFIRMED = "touches.unconfirmed"

DAY_MS = 86_400_000
STATUS_DAYS = 30
OWN_MESSAGE_BYTES = 4 * 1024 * 1024
CLAIM_BYTES = 16 * 1024 * 1024
"""A claim carries its touches and its request; JSON makes six bytes of a control character."""
TOUCH_MESSAGE_BYTES = 1024 * 1024 + 64 * 1024
"""Touches of up to 1 MiB, and what Kafka wraps around them."""
TOUCH_BYTES = TOUCH_MESSAGE_BYTES - 2 * 1024
"""A touch's value at most, unpacked: what still fits into `touches` as it is, with the headers of a hop."""
WORK_BYTES = 2 * 1024 * 1024
"""A touch at most once it is composed: its claim carries it, and its request, which may take six times as much."""
KEY_BYTES = 64 * 1024
"""Of a dead letter's key at most."""


def channel_topic(channel: Channel) -> str:
    """Return the topic of a channel; its partitions are the lanes."""
    return f"touches.{channel.value}"


class Split(StrEnum):
    """What decides how many partitions a topic has: the key of the same name in `[kafka]`."""

    PARTITIONS = "partitions"
    LANES = "lanes"


@dataclass(frozen=True, slots=True)
class Stretch:
    """One topic of the road, and the agent that takes it from here (None: it ends here)."""

    topic: str
    key: str
    value: str
    written_by: str
    read_by: str | None
    table: str | None
    """The reader's fenced table; what waits, waits there."""
    split: Split = Split.PARTITIONS
    trims: bool = False
    """Internal: its owner deletes what it has applied, so nothing is lost to a retention time."""
    settings: Mapping[str, str] = field(default_factory=dict)


_KEPT = {"cleanup.policy": "delete", "retention.ms": "-1", "max.message.bytes": str(OWN_MESSAGE_BYTES)}


def _for(days: int) -> dict[str, str]:
    return {**_KEPT, "retention.ms": str(days * DAY_MS)}


ROAD: tuple[Stretch, ...] = (
    Stretch(
        TOUCHES,
        "the producer's",
        "Touch",
        "producers",
        "router",
        "accepted",
        settings={**_KEPT, "max.message.bytes": str(TOUCH_MESSAGE_BYTES), "message.timestamp.type": "LogAppendTime"},
    ),
    *(
        Stretch(
            channel_topic(channel),
            "touch_id",
            "Work",
            "router, scheduler",
            f"{channel.value} lanes",
            f"lanes-{channel.value}",
            Split.LANES,
            trims=True,
            settings=_KEPT,
        )
        for channel in Channel
    ),
    Stretch(SCHEDULED, "touch_id", "Scheduled", "lanes", "scheduler", "deferred", trims=True, settings=_KEPT),
    Stretch(RESULTS, "touch_id", "Event", "router, lanes", "dedup", "states", trims=True, settings=_KEPT),
    Stretch(STATUS, "touch_id", "Status", "dedup", None, None, settings=_for(STATUS_DAYS)),
    Stretch(DEAD_LETTERS, "the producer's", "DeadLetter", "router", None, None, settings=_for(90)),
    Stretch(
        UNCONFIRMED,
        "touch_id",
        "Unconfirmed",
        "lanes, unconfirmed resolve",
        None,
        None,
        settings={**_for(90), "max.message.bytes": str(CLAIM_BYTES)},
    ),
)


def changelog(table: str) -> str:
    """Return the topic that keeps a fenced table."""
    return f"{table}-changelog"


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """A topic as it must exist. Name without the prefix."""

    name: str
    partitions: int
    settings: Mapping[str, str]
    is_public: bool = False
    """Producers write to it, and may have made it."""
    may_grow: bool = False
    """Partitions may be added to it: a lane more moves nothing, another number of homes would."""


def topics(*, partitions: int, lanes: int, replication: int, dedup_for_ms: int) -> list[TopicSpec]:
    """Return every topic the pipeline needs, changelogs included."""
    counts = {Split.PARTITIONS: partitions, Split.LANES: lanes}
    safe = {"min.insync.replicas": "2"} if replication >= 3 else {}  # noqa: PLR2004 - contract, topics
    needed = []
    for stretch in ROAD:
        retention = {"retention.ms": str(dedup_for_ms)} if stretch.topic == TOUCHES else {}
        settings = {**stretch.settings, **retention, **safe}
        size, may_grow = counts[stretch.split], stretch.split is Split.LANES
        needed.append(TopicSpec(stretch.topic, size, settings, stretch.topic == TOUCHES, may_grow))
        if stretch.table is not None:
            needed.append(TopicSpec(changelog(stretch.table), size, {**_COMPACTED, **safe}, may_grow=may_grow))
    return needed


_COMPACTED = {
    "cleanup.policy": "compact",
    "max.message.bytes": str(CLAIM_BYTES),
    "delete.retention.ms": str(DAY_MS),
    "min.cleanable.dirty.ratio": "0.3",
    "segment.ms": str(DAY_MS),
    # The segment being written is never compacted: Kafka's default, 1 GiB of each partition, would be read by a restore.
    "segment.bytes": str(32 * 1024 * 1024),
}
