"""The road as a table: every topic, its writers, its reader, and the table in which touches wait.

    touches ──▶ router ──▶ touches.whatsapp ─┐
                      ├──▶ touches.email    ─┼─▶ lane: gate → limit → claim → call → settle ──▶ touches.results ──▶ dedup ──▶ touches.status
                      └──▶ touches.sms      ─┘        │ closed window, not_before, back-off
                                 ▲                    ▼
                                 └── scheduler ◀── touches.scheduled

An SMS whose window opens at nine waits in the scheduler: its lane finds the window closed and writes it to
`touches.scheduled`; the scheduler keeps it in its table `deferred` until nine, then returns it to its lane. A touch that
only waits for the rate limit or the gap between calls waits in the lane's own table.

What providers tell of a message after it was sent (`touches.callbacks`, written by the web process) meets there the mark
that the dedup writes with its `sent`, and is told once in `touches.deliveries`. Both exist only where a sender has
`webhook_secrets`.

Orders (`touches.control`) and suppressions (`touches.suppressions`) have no agent: each worker keeps a view of both, and
its lanes tell in `touches.lanes` how far they obey. Whoever acts leaves a record in `touches.audit`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from enum import StrEnum

from pipeline.domain.work import Channel

TOUCHES = "touches"
SCHEDULED = "touches.scheduled"
RESULTS = "touches.results"
STATUS = "touches.status"
DEAD_LETTERS = "touches.dead-letters"
UNCONFIRMED = "touches.unconfirmed"
CONTROL = "touches.control"
SUPPRESSIONS = "touches.suppressions"
LANES = "touches.lanes"
CALLBACKS = "touches.callbacks"
DELIVERIES = "touches.deliveries"
AUDIT = "touches.audit"
OPT_OUTS = "touches.opt-outs"

DAY_MS = 86_400_000
STATUS_DAYS = 30
AUDIT_DAYS = 400
OWN_MESSAGE_BYTES = 4 * 1024 * 1024
CLAIM_BYTES = 16 * 1024 * 1024
"""A claim holds its touches and its request; JSON encodes a control character in six bytes."""
TOUCH_MESSAGE_BYTES = 1024 * 1024 + 64 * 1024
"""A touch of 1 MiB with Kafka's overhead."""
TOUCH_BYTES = TOUCH_MESSAGE_BYTES - 2 * 1024
"""Largest value of a touch, decompressed: it still fits into `touches` with the headers of a hop."""
WORK_BYTES = 2 * 1024 * 1024
"""Largest composed touch: its claim holds it and its request, which may be six times as large."""
KEY_BYTES = 64 * 1024
"""Largest key of a dead letter."""


def channel_topic(channel: Channel) -> str:
    """Return the topic of a channel; its partitions are the lanes."""
    return f"touches.{channel.value}"


class PartitionSetting(StrEnum):
    """What sets the partition count of a topic: a key in `[kafka]`, or nothing."""

    PARTITIONS = "partitions"
    LANES = "lanes"
    ONE = "one"
    """One partition, whatever is configured: its records have one order."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """One topic of the road, and the agent that reads it (None: the road ends here)."""

    topic: str
    key: str
    """What its record keys are."""
    value: str
    """What its records are."""
    written_by: str
    _: KW_ONLY
    read_by: str | None = None
    table: str | None = None
    """The reader's fenced table, which holds the touches that wait."""
    partitions: PartitionSetting = PartitionSetting.PARTITIONS
    trims: bool = False
    """Whether its reader deletes applied records: internal topics have no retention time, so none is lost."""
    settings: Mapping[str, str] = field(default_factory=dict)
    for_callbacks: bool = False
    """Whether it exists only where a sender's callbacks are on."""


_KEPT = {"cleanup.policy": "delete", "retention.ms": "-1", "max.message.bytes": str(OWN_MESSAGE_BYTES)}

_COMPACTED = {
    "cleanup.policy": "compact",
    "max.message.bytes": str(CLAIM_BYTES),
    "delete.retention.ms": str(DAY_MS),
    "min.cleanable.dirty.ratio": "0.3",
    "segment.ms": str(DAY_MS),
    # The active segment is never compacted: with Kafka's default, a restore would read 1 GiB of each partition.
    "segment.bytes": str(2 * OWN_MESSAGE_BYTES),
}
_WITH_CLAIMS = {**_COMPACTED, "segment.bytes": str(CLAIM_BYTES)}
"""A segment holds the largest claim."""


def _for(days: int) -> dict[str, str]:
    return {**_KEPT, "retention.ms": str(days * DAY_MS)}


ROAD: tuple[Stretch, ...] = (
    Stretch(
        TOUCHES,
        "the producer's",
        "Touch",
        "producers",
        read_by="router",
        table="accepted",
        settings={**_KEPT, "max.message.bytes": str(TOUCH_MESSAGE_BYTES), "message.timestamp.type": "LogAppendTime"},
    ),
    *(
        Stretch(
            channel_topic(channel),
            "touch_id",
            "Work",
            "router, scheduler",
            read_by=f"{channel.value} lanes",
            table=f"lanes-{channel.value}",
            partitions=PartitionSetting.LANES,
            trims=True,
            settings=_KEPT,
        )
        for channel in Channel
    ),
    Stretch(
        SCHEDULED, "touch_id", "Scheduled", "lanes", read_by="scheduler", table="deferred", trims=True, settings=_KEPT
    ),
    Stretch(RESULTS, "touch_id", "Event", "router, lanes", read_by="dedup", table="states", trims=True, settings=_KEPT),
    Stretch(STATUS, "touch_id", "Status", "dedup", settings=_for(STATUS_DAYS)),
    Stretch(
        CALLBACKS,
        "what it is about",
        "Callback, SentTouch",
        "web, dedup",
        read_by="deliveries",
        table="deliveries",
        trims=True,
        settings=_KEPT,
        for_callbacks=True,
    ),
    Stretch(DELIVERIES, "touch_id", "Delivery", "deliveries", settings=_for(STATUS_DAYS), for_callbacks=True),
    Stretch(
        OPT_OUTS,
        "the message's id",
        "PendingOptOut",
        "deliveries, opt-outs resolve",
        partitions=PartitionSetting.ONE,
        settings=_COMPACTED,
        for_callbacks=True,
    ),
    Stretch(DEAD_LETTERS, "the producer's", "DeadLetter", "router", settings=_for(90)),
    Stretch(
        UNCONFIRMED,
        "touch_id",
        "Unconfirmed",
        "lanes, unconfirmed resolve",
        settings={**_for(90), "max.message.bytes": str(CLAIM_BYTES)},
    ),
    Stretch(
        CONTROL, "the order's", "Order", "pause, resume, cancel", partitions=PartitionSetting.ONE, settings=_COMPACTED
    ),
    Stretch(
        SUPPRESSIONS,
        "the entry's",
        "Suppression",
        "suppressions, producers, lanes, deliveries",
        partitions=PartitionSetting.ONE,
        settings=_COMPACTED,
    ),
    Stretch(LANES, "channel/sender", "LaneReport", "lanes", partitions=PartitionSetting.ONE, settings=_COMPACTED),
    Stretch(AUDIT, "by", "Audit", "commands that act, web", partitions=PartitionSetting.ONE, settings=_for(AUDIT_DAYS)),
)


def changelog(table: str) -> str:
    """Return the changelog topic of a fenced table."""
    return f"{table}-changelog"


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """The required shape of a topic."""

    name: str
    """Logical name, without the prefix."""
    partitions: int
    settings: Mapping[str, str]
    _: KW_ONLY
    is_public: bool = False
    """Whether producers write to it, and may have created it."""
    may_grow: bool = False
    """Whether partitions may be added: another lane moves no touch, another count of homes would move some."""


def topics(
    *,
    partitions: int,
    lanes: int,
    replication: int,
    dedup_for_ms: int,
    has_grown: bool = False,
    callbacks: bool = False,
) -> list[TopicSpec]:
    """Return every topic the pipeline needs, changelogs included; `callbacks`: those of callbacks, too.

    `has_grown`: `partitions` was raised on purpose.
    """
    counts = {PartitionSetting.PARTITIONS: partitions, PartitionSetting.LANES: lanes, PartitionSetting.ONE: 1}
    safe = {"min.insync.replicas": "2"} if replication >= 3 else {}  # noqa: PLR2004 - contract, topics
    needed = []
    for stretch in ROAD:
        if stretch.for_callbacks and not callbacks:
            continue
        retention = {"retention.ms": str(dedup_for_ms)} if stretch.topic == TOUCHES else {}
        settings = {**stretch.settings, **retention, **safe}
        size, may_grow = counts[stretch.partitions], has_grown or stretch.partitions is not PartitionSetting.PARTITIONS
        needed.append(TopicSpec(stretch.topic, size, settings, is_public=stretch.topic == TOUCHES, may_grow=may_grow))
        if stretch.table is not None:
            compacted = _WITH_CLAIMS if stretch.partitions is PartitionSetting.LANES else _COMPACTED
            needed.append(TopicSpec(changelog(stretch.table), size, {**compacted, **safe}, may_grow=may_grow))
    return needed
