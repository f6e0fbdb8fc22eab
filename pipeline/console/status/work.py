"""Reads `touches.status`: all touches or one, to the present end or as it goes on; and the deliveries of one."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline import flow
from pipeline.console.status.view import ENDS, happened_ms, occurred_ms
from pipeline.kafka.cluster import partition_counts
from pipeline.kafka.topic import TopicSource, read_topic

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pipeline.engine.record_consumer import ReadRecord
    from pipeline.kafka.cluster import Cluster

    Read = Callable[[bytes | None], Mapping[str, Any]]
    """Decodes a Status; raises UndecodableValue."""
    Told = Mapping[str, Any]


@dataclass(slots=True)
class Seen:
    """What was shown."""

    records: int = 0
    ended: bool = False
    """The touch that was asked for has its terminal status."""
    timed_out: bool = False
    latest: Told | None = None
    """The last record."""


async def status(
    cluster: Cluster,
    read: Read,
    *,
    show: Callable[[Told], None],
    complain: Callable[[str], None],
    touch_id: str | None = None,
    is_wanted: Callable[[Told], bool] = lambda _: True,
    follow: bool = False,
    timeout_s: float | None = None,
) -> Seen:
    """Show the records of `touch_id`, or of all touches, as far as they are wanted, and return what was seen.

    Without `follow` it ends at the present end of the topic; with it, at the terminal status of `touch_id`, or after
    `timeout_s`. Raises CommandFailed when Kafka or the topic is away.
    """
    seen = Seen()
    try:
        async with asyncio.timeout(timeout_s):
            async with aclosing(
                read_topic(_source(cluster, read, complain, touch_id, is_wanted), follow=follow)
            ) as story:
                async for told in story:
                    show(told)
                    seen.records += 1
                    seen.latest = told
                    if touch_id is not None and told["state"] in ENDS:
                        seen.ended = True
                        if follow:
                            break
    except TimeoutError:
        seen.timed_out = True
    return seen


async def show_deliveries(
    cluster: Cluster, read: Read, *, show: Callable[[Told], None], complain: Callable[[str], None], touch_id: str
) -> None:
    """Show what is told of `touch_id` after it was sent, to the present end; nothing where callbacks are off.

    Raises CommandFailed when Kafka is away.
    """
    if cluster.topic_name(flow.DELIVERIES) not in await partition_counts(cluster):
        return
    key = touch_id.encode()

    def read_record(record: ReadRecord) -> Told | None:
        return read(record.value) if record.key == key else None

    source = TopicSource(cluster, flow.DELIVERIES, read_record, happened_ms, complain)
    async with aclosing(read_topic(source)) as deliveries:
        async for told in deliveries:
            show(told)


def _source(
    cluster: Cluster,
    read: Read,
    complain: Callable[[str], None],
    touch_id: str | None,
    is_wanted: Callable[[Told], bool],
) -> TopicSource[Told]:
    key = touch_id.encode() if touch_id is not None else None

    def read_record(record: ReadRecord) -> Told | None:
        if key is not None and record.key != key:
            return None
        told = read(record.value)
        return told if is_wanted(told) else None

    return TopicSource(cluster, "touches.status", read_record, occurred_ms, complain)
