"""Fetches records of many partitions: one session with each broker, and a parser that no record can stop."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import defaultdict
from types import FunctionType
from typing import TYPE_CHECKING, Any

from aiokafka import TopicPartition
from aiokafka.consumer import fetcher as stock
from aiokafka.errors import (
    KafkaError,
    NotLeaderForPartitionError,
    OffsetOutOfRangeError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
    for_code,
)

from pipeline.engine.batch_decoder import FetchResult, MessageSet, PartitionRecords
from pipeline.engine.fetch_session import FetchSession, Limits, News

if TYPE_CHECKING:
    from collections.abc import Mapping

log = logging.getLogger(__name__)

NO_ERROR = 0
REST_S = 0.005
"""The next request to a broker follows the last one after this time at the earliest: what arrives meanwhile shares its answer."""
REST_BYTES_PER_S = 256 * 1024
"""After an answer with records it follows later, by the time in which these would arrive at this rate, ..."""
MOST_REST_S = 0.06
"""... up to this, ..."""
CROWD_BYTES = 256 * 1024
"""... and not after so many bytes: they have shared an answer well, and a crowd is not to be slowed down."""


def rest_s(answer_bytes: int) -> float:
    """Return the least time between a request whose answer had `answer_bytes` of records and the next one to its broker.

    Each answer costs about the same for few records and for many, in two threads: those of a stream go together, as in
    the steps (`rest_ms` of `stages/step.py`).
    """
    return REST_S if answer_bytes >= CROWD_BYTES else max(REST_S, min(answer_bytes / REST_BYTES_PER_S, MOST_REST_S))


def rebound(method: Any, **ours: Any) -> Any:
    """Return a method of aiokafka's fetcher that finds `ours` in place of aiokafka's classes of these names."""
    made = FunctionType(
        method.__code__, {**vars(stock), **ours}, method.__name__, method.__defaults__, method.__closure__
    )
    made.__kwdefaults__ = method.__kwdefaults__
    return made


class Fetcher(stock.Fetcher):
    """aiokafka's fetcher with sessions. Assign it to a consumer with `fetcher.__class__ = Fetcher`, then `begin`."""

    _sessions: dict[int, FetchSession]
    _next_at: dict[int, float]
    """`time.monotonic()` before which the next request to each broker does not leave."""
    wanted: frozenset[TopicPartition]
    """Partitions whose records are taken now. What waits of another one does not hold up the next request."""

    fetched_records = rebound(stock.Fetcher.fetched_records, FetchResult=FetchResult)

    def begin(self) -> None:
        """Set up what aiokafka's constructor has not."""
        self._sessions = defaultdict(FetchSession)
        self._next_at = defaultdict(float)
        self.wanted = frozenset()

    def _get_actions_per_node(self, assignment: Any) -> tuple[Any, ...]:
        """Return (requests, resets, timeout, whether metadata is stale, futures of paused partitions), as aiokafka's does.

        A request is (node, positions by partition).
        """
        wanted: dict[int, dict[TopicPartition, int]] = defaultdict(dict)
        resets: dict[int, list[TopicPartition]] = defaultdict(list)
        rests: dict[int, list[float]] = defaultdict(list)
        resumes: list[Any] = []
        is_stale = False
        leader_of, records, in_flight = self._client.cluster.leader_for_partition, self._records, self._in_flight
        for tp in assignment.tps:
            node = leader_of(tp)
            if tp in records:
                if tp in self.wanted and (rest := records[tp].calculate_backoff()):
                    rests[node].append(rest)
            elif node in in_flight:
                continue
            elif node is None or node == -1:
                is_stale = True
            else:
                state = assignment.state_value(tp)
                if not state.has_valid_position:
                    resets[node].append(tp)
                elif state.paused:
                    resumes.append(state.resume_fut)
                else:
                    wanted[node][tp] = state.position
        requests = [(node, rows) for node, rows in wanted.items() if node not in rests and node not in resets]
        timeout = min(map(max, rests.values())) if rests else self._fetcher_timeout
        return requests, resets, timeout, is_stale, resumes

    async def _proc_fetch_request(self, assignment: Any, node_id: int, request: Mapping[TopicPartition, int]) -> bool:
        """Fetch from one broker; return whether there is something to hand out."""
        session = self._sessions[node_id]
        limits = Limits(
            self._fetch_max_wait_ms,
            self._fetch_min_bytes,
            self._fetch_max_bytes,
            self._max_partition_fetch_bytes,
            self._isolation_level,
        )
        try:
            await asyncio.sleep(self._next_at[node_id] - time.monotonic())
            asked_at = time.monotonic()
            self._next_at[node_id] = asked_at + REST_S
            answer = await self._client.send(node_id, session.request(request, limits))
        except KafkaError as error:
            log.error("Failed fetch messages from %s: %s", node_id, error)  # noqa: TRY400 - one line, as aiokafka's
            session.lost()
            await asyncio.sleep(self._retry_backoff)
            return False
        except asyncio.CancelledError:
            session.lost()
            return False
        found = session.read(answer)
        self._next_at[node_id] = asked_at + rest_s(sum(len(news.records) for news in found))
        if not assignment.active:
            return False
        now_ms = int(1000 * time.time())  # noqa: TID251 - for aiokafka's own metrics
        has_news = False
        for news in found:
            has_news |= self._take(assignment, news, request.get(news.tp), now_ms)
        return has_news

    def _take(self, assignment: Any, news: News, asked: int | None, now_ms: int) -> bool:
        """Keep what came for one partition; return whether there is something to hand out."""
        tp = news.tp
        state = assignment.state_value(tp)
        if asked is None or state is None or not state.has_valid_position or state.position != asked:
            return False
        if news.error != NO_ERROR:
            return self._note_error(tp, for_code(news.error), asked)
        state.highwater, state.lso, state.timestamp = news.highwater, news.stable, now_ms
        data = MessageSet(news.records)
        if not data.has_next():
            return False
        records = PartitionRecords(
            tp, data, news.aborted, asked, None, None, check_crcs=True, isolation_level=self._isolation_level
        )
        self._records[tp] = FetchResult(
            tp, assignment=assignment, partition_records=records, backoff=self._prefetch_backoff
        )
        return True

    def _note_error(self, tp: TopicPartition, error: type[KafkaError], asked: int) -> bool:
        if error in (NotLeaderForPartitionError, UnknownTopicOrPartitionError):
            self._client.force_metadata_update()
        elif error is OffsetOutOfRangeError:
            self._set_error(tp, OffsetOutOfRangeError({tp: asked}))
            return True
        elif error is TopicAuthorizationFailedError:
            log.warning("Not authorized to read from topic %s.", tp.topic)
            self._set_error(tp, TopicAuthorizationFailedError(tp.topic))
            return True
        else:
            log.warning("Unexpected error while fetching data: %s", error.__name__)
        return False
