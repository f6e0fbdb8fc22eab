"""Fetches the committed batches of many partitions, from every broker at once, without making records of them."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from typing import TYPE_CHECKING

from aiokafka.errors import KafkaError, NotLeaderForPartitionError, UnknownTopicOrPartitionError, for_code

from pipeline.engine.batch_decoder import MessageSet, PartitionRecords
from pipeline.engine.coordinator import is_passing
from pipeline.engine.fetch_session import FetchSession, Limits, News

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiokafka import TopicPartition
    from aiokafka.client import AIOKafkaClient

log = logging.getLogger(__name__)

READ_COMMITTED = 1
LIMITS = Limits(
    wait_ms=50, least_bytes=1, most_bytes=8 * 1024 * 1024, partition_bytes=2 * 1024 * 1024, isolation=READ_COMMITTED
)
RETRY_S = 0.1


class CommittedFetch:
    """Fetches over the connections of `client`, which knows the topics."""

    def __init__(self, client: AIOKafkaClient) -> None:
        self._client = client
        self._sessions: dict[int, FetchSession] = defaultdict(FetchSession)

    async def fetch(self, positions: Mapping[TopicPartition, int]) -> dict[TopicPartition, PartitionRecords]:
        """Return what the brokers have behind these offsets; nothing if they cannot answer now.

        Raises KafkaError when trying again cannot help.
        """
        by_node: dict[int, dict[TopicPartition, int]] = defaultdict(dict)
        for tp, offset in positions.items():
            node = self._client.cluster.leader_for_partition(tp)
            if node is not None and node >= 0:
                by_node[node][tp] = offset
        if sum(map(len, by_node.values())) < len(positions):
            await self._retry_soon()
        answers = await asyncio.gather(*(self._ask(node, wanted) for node, wanted in by_node.items()))
        found: dict[TopicPartition, PartitionRecords] = {}
        for news in (each for answer in answers for each in answer):
            if news.error:
                await self._pass_over(news)
            elif len(news.records):
                found[news.tp] = PartitionRecords(
                    news.tp,
                    MessageSet(news.records),
                    news.aborted,
                    positions[news.tp],
                    None,
                    None,
                    check_crcs=True,
                    isolation_level=READ_COMMITTED,
                )
        return found

    async def _ask(self, node: int, wanted: Mapping[TopicPartition, int]) -> list[News]:
        session = self._sessions[node]
        try:
            return session.read(await self._client.send(node, session.request(wanted, LIMITS)))
        except KafkaError as error:
            session.lost()
            if not is_passing(error):
                raise
            log.debug("node %d is asked again: %r", node, error)
            await self._retry_soon()
            return []

    async def _pass_over(self, news: News) -> None:
        error = for_code(news.error)
        if not (error.retriable or error in (NotLeaderForPartitionError, UnknownTopicOrPartitionError)):
            raise error(f"{news.tp.topic}[{news.tp.partition}]")
        await self._retry_soon()

    async def _retry_soon(self) -> None:
        self._client.force_metadata_update()
        await asyncio.sleep(RETRY_S)
