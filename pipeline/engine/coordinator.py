"""The broker that coordinates the transactions of one id: found, asked, and found again when it has moved."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from aiokafka.client import ConnectionGroup, CoordinationType
from aiokafka.errors import (
    CoordinatorNotAvailableError,
    KafkaError,
    NodeNotReadyError,
    RequestTimedOutError,
    StaleMetadata,
    TransactionalIdAuthorizationFailed,
    for_code,
)

if TYPE_CHECKING:
    from aiokafka.client import AIOKafkaClient

    from pipeline.engine.wire import Reader, WireRequest

log = logging.getLogger(__name__)

RETRY_S = 0.1
LOADING, AWAY, MOVED, CONCURRENT = 14, 15, 16, 51
PASSING = frozenset({LOADING, AWAY, MOVED, CONCURRENT})
"""Errors of a coordinator that pass."""


class Coordinator:
    """The coordinator of one transactional id."""

    def __init__(self, transactional_id: str, client: AIOKafkaClient) -> None:
        self._id = transactional_id
        self._client = client
        self._node: int | None = None

    async def ask(self, request: WireRequest) -> Reader:
        """Return the answer to `request`, however long it takes. Raises KafkaError when asking again cannot help."""
        while True:
            node = await self._find() if self._node is None else self._node
            try:
                answer: Reader = await self._client.send(node, request, group=ConnectionGroup.COORDINATION)
            except KafkaError as error:
                if not is_passing(error):
                    raise
                log.warning("%s: the coordinator is asked again: %r", self._id, error)
                self._node = None
                await asyncio.sleep(RETRY_S)
            else:
                return answer

    async def wait(self, code: int) -> None:
        """Wait before a request that had this error is repeated. Raises the error if it does not pass."""
        if code not in PASSING:
            raise for_code(code)(self._id)
        if code in (AWAY, MOVED):
            self._node = None
        await asyncio.sleep(RETRY_S)

    async def _find(self) -> int:
        while True:
            try:
                node: int = await self._client.coordinator_lookup(CoordinationType.TRANSACTION, self._id)
            except TransactionalIdAuthorizationFailed as error:
                raise TransactionalIdAuthorizationFailed(self._id) from error
            except KafkaError as error:
                if not (isinstance(error, CoordinatorNotAvailableError) or is_passing(error)):
                    raise
                await self._client.force_metadata_update()
            else:
                if await self._client.ready(node, group=ConnectionGroup.COORDINATION):
                    self._node = node
                    return node
            await asyncio.sleep(RETRY_S)


def is_passing(error: KafkaError) -> bool:
    """Return whether a request that had this error instead of an answer may be sent again."""
    return bool(error.retriable) or isinstance(error, NodeNotReadyError | RequestTimedOutError | StaleMetadata)
