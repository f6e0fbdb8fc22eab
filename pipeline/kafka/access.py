"""May this principal do what a worker does: asked as a member of its group that takes no part in it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.client import AIOKafkaClient, CoordinationType
from aiokafka.errors import (
    GroupAuthorizationFailedError,
    GroupCoordinatorNotAvailableError,
    KafkaError,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailed,
)

from pipeline.engine.stop_client import stop_client

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pipeline.kafka.cluster import Cluster

PATIENCE_S = 15.0
FETCH_MS = 500
AGAIN_S = 0.2


class NotAllowed(Exception):
    """Something a worker does is refused to this principal; the message names the permission."""


async def ask_permissions(cluster: Cluster, application: str, topics: Iterable[str]) -> None:
    """Ask as a worker would, without joining, committing or fencing. Raises NotAllowed; `topics` exist, named as in Kafka."""
    try:
        async with asyncio.timeout(PATIENCE_S):
            await _ask_coordinators(cluster, application)
            if partitions := [TopicPartition(name, 0) for name in topics]:
                await _ask_group(cluster, application, partitions)
    except GroupAuthorizationFailedError:
        raise NotAllowed(f"the group {application} may not be used: grant Read on group {application}") from None
    except TopicAuthorizationFailedError as error:
        raise NotAllowed(f"{_names(error)} may not be read: grant Read on it") from None
    except TransactionalIdAuthorizationFailed:
        raise NotAllowed(
            f"no transactions are allowed: grant Write on the transactional ids that begin with {application}-"
        ) from None
    except TimeoutError:
        raise NotAllowed(f"no group and transaction coordinators within {PATIENCE_S:.0f} s") from None
    except KafkaError as error:
        raise NotAllowed(f"{type(error).__name__}: {error}") from None


async def _ask_coordinators(cluster: Cluster, application: str) -> None:
    client = AIOKafkaClient(**cluster.connection)
    try:
        await client.bootstrap()
        await _look_up(client, CoordinationType.GROUP, application)
        await _look_up(client, CoordinationType.TRANSACTION, f"{application}-check")
    finally:
        await stop_client(client.close())


async def _look_up(client: AIOKafkaClient, kind: CoordinationType, name: str) -> None:
    while True:
        try:
            await client.coordinator_lookup(kind, name)
        except GroupCoordinatorNotAvailableError:
            await asyncio.sleep(AGAIN_S)  # a new cluster makes it while it is asked for it
        else:
            return


async def _ask_group(cluster: Cluster, application: str, partitions: list[TopicPartition]) -> None:
    consumer = AIOKafkaConsumer(
        **cluster.connection,
        group_id=application,
        enable_auto_commit=False,
        isolation_level="read_committed",
        auto_offset_reset="latest",
        fetch_max_wait_ms=100,
    )
    try:
        await consumer.start()
        consumer.assign(partitions)
        await consumer.committed(partitions[0])
        await consumer.seek_to_end()
        await consumer.getmany(timeout_ms=FETCH_MS, max_records=1)
    finally:
        await stop_client(consumer.stop())


def _names(error: TopicAuthorizationFailedError) -> str:
    (found, *_) = error.args or ("a topic",)
    return ", ".join(sorted(map(str, found))) if isinstance(found, set | frozenset | list) else str(found)
