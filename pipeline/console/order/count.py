"""Counts the touches of targets that have not ended, from their statuses."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, Final

from pipeline.console.status.view import ENDS
from pipeline.flow import STATUS
from pipeline.kafka.topic import TopicSource, read_topic

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from pipeline.domain.order import Target
    from pipeline.engine.record_consumer import ReadRecord
    from pipeline.kafka.cluster import Cluster

WITHIN_S: Final = 10.0


async def count_open(
    cluster: Cluster, read: Callable[[bytes | None], Mapping[str, Any]], targets: Sequence[Target]
) -> list[int] | None:
    """Return for each target how many of its touches have not ended; None if they are not counted within 10 s.

    Raises CommandFailed when Kafka or the topic is away.
    """
    counted = [(target, set[str]()) for target in targets]

    def take(record: ReadRecord) -> None:
        told = read(record.value)
        for target, found in counted:
            if not matches(target, told):
                continue
            if told["state"] in ENDS:
                found.discard(told["touch_id"])
            else:
                found.add(told["touch_id"])

    source: TopicSource[None] = TopicSource(cluster, STATUS, take, lambda _: 0, lambda _: None)
    try:
        async with asyncio.timeout(WITHIN_S), aclosing(read_topic(source)) as nothing:
            async for _ in nothing:
                pass
    except TimeoutError:
        return None
    return [len(found) for _, found in counted]


def matches(target: Target, told: Mapping[str, Any]) -> bool:
    """Return whether the target concerns the touch of a status record."""
    return target.matches(
        campaign_id=told["campaign_id"],
        lead_id=told["lead_id"],
        touch_id=told["touch_id"],
        channel=told["channel"],
        sender=told.get("sender") or "",
    )
