"""What the lanes say of themselves, and waiting until they obey: `touches.lanes`."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING

from pipeline.flow import LANES
from pipeline.kafka.topic import TopicSource, read_topic
from pipeline.records.lane_report import LaneReport, decode_lane_report

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from pipeline.engine.record_consumer import ReadRecord
    from pipeline.kafka.cluster import Cluster


async def read_lanes(cluster: Cluster, complain: Callable[[str], None]) -> dict[str, LaneReport]:
    """Return each lane's latest report, by `<channel>/<sender>`. Raises CommandFailed when Kafka or the topic is away."""
    async with aclosing(read_topic(_source(cluster, complain))) as reports:
        return {report.key: report async for report in reports}


async def wait_for_lanes(
    cluster: Cluster,
    lanes: Collection[str],
    obeys: Callable[[LaneReport], bool],
    *,
    within_s: float,
    progress: Callable[[int], None],
    complain: Callable[[str], None],
) -> list[str]:
    """Wait until each of `lanes` (`<channel>/<sender>`) has reported that it `obeys`; return those that have not.

    `progress` gets how many have. Raises CommandFailed when Kafka or the topic is away.
    """
    missing = set(lanes)
    if not missing:
        return []
    try:
        async with asyncio.timeout(within_s), aclosing(read_topic(_source(cluster, complain), follow=True)) as reports:
            async for report in reports:
                if report.key in missing and obeys(report):
                    missing.remove(report.key)
                    progress(len(lanes) - len(missing))
                if not missing:
                    break
    except TimeoutError:
        pass
    return sorted(missing)


def _source(cluster: Cluster, complain: Callable[[str], None]) -> TopicSource[LaneReport]:
    def read(record: ReadRecord) -> LaneReport | None:
        return None if record.value is None else decode_lane_report(record.value)

    return TopicSource(cluster, LANES, read, lambda _: 0, complain)
