"""Topic ids: Kafka gives each topic one when it is created, so a topic deleted and created anew has another.

The *identity* of a topic is a hash of cluster id, topic id and name.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import IncompatibleBrokerVersion, KafkaConnectionError, KafkaError
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import (
    AbstractType,
    Boolean,
    CompactArray,
    CompactString,
    Int16,
    Int32,
    Schema,
    TaggedFields,
)

from pipeline.engine.stop_client import stop_client

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from io import BytesIO

    from pipeline.engine.app_protocol import AppProtocol

log = logging.getLogger(__name__)

LOOK_EVERY_S = 5.0
TIMEOUT_S = 20.0
ID_BYTES = 16
NO_ID = bytes(ID_BYTES)


class _Uuid(AbstractType[bytes]):
    @classmethod
    def encode(cls, value: bytes) -> bytes:
        return value

    @classmethod
    def decode(cls, data: BytesIO) -> bytes:
        return data.read(ID_BYTES)


class _MetadataResponse(Response):
    """Metadata, version 10: the first with topic ids (KIP-516; Kafka 2.8). aiokafka's newest is 5."""

    API_KEY = 3
    API_VERSION = 10
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "brokers",
            CompactArray(
                ("node_id", Int32),
                ("host", CompactString("utf-8")),
                ("port", Int32),
                ("rack", CompactString("utf-8")),
                ("tags", TaggedFields),
            ),
        ),
        ("cluster_id", CompactString("utf-8")),
        ("controller_id", Int32),
        (
            "topics",
            CompactArray(
                ("error_code", Int16),
                ("name", CompactString("utf-8")),
                ("topic_id", _Uuid),
                ("is_internal", Boolean),
                (
                    "partitions",
                    CompactArray(
                        ("error_code", Int16),
                        ("partition", Int32),
                        ("leader", Int32),
                        ("leader_epoch", Int32),
                        ("replicas", CompactArray(Int32)),
                        ("isr", CompactArray(Int32)),
                        ("offline", CompactArray(Int32)),
                        ("tags", TaggedFields),
                    ),
                ),
                ("authorized_operations", Int32),
                ("tags", TaggedFields),
            ),
        ),
        ("cluster_authorized_operations", Int32),
        ("tags", TaggedFields),
    )


class _MetadataStruct(RequestStruct):
    API_KEY = 3
    API_VERSION = 10
    FLEXIBLE_VERSION = True
    RESPONSE_TYPE = _MetadataResponse
    SCHEMA = Schema(
        ("topics", CompactArray(("topic_id", _Uuid), ("name", CompactString("utf-8")), ("tags", TaggedFields))),
        ("allow_auto_topic_creation", Boolean),
        ("include_cluster_authorized_operations", Boolean),
        ("include_topic_authorized_operations", Boolean),
        ("tags", TaggedFields),
    )


class _MetadataRequest(Request[_MetadataStruct]):
    API_KEY = 3

    def __init__(self, topics: list[str]) -> None:
        self._topics = topics

    def build(self, request_struct_class: type[_MetadataStruct]) -> _MetadataStruct:
        return request_struct_class([(NO_ID, name, {}) for name in self._topics], False, False, False, {})  # noqa: FBT003


@dataclass(frozen=True, slots=True)
class TopicIds:
    """The ids of a cluster and of some of its topics."""

    cluster_id: str
    topics: Mapping[str, bytes]
    """Topic id, 16 bytes, by the name of each existing topic."""
    partitions: Mapping[str, int] = field(default_factory=dict)
    """Number of partitions, by the same names."""

    def identity(self, topic: str) -> bytes:
        """Return the identity of `topic` in this cluster, 16 bytes; zeros when Kafka has no topic ids (before 2.8)."""
        topic_id = self.topics.get(topic, NO_ID)
        if topic_id == NO_ID:
            return NO_ID
        return blake2b(self.cluster_id.encode() + b"\0" + topic_id + topic.encode(), digest_size=ID_BYTES).digest()


async def read_topic_ids(client: AIOKafkaClient, topics: Iterable[str]) -> TopicIds:
    """Return the ids of these topics, as one broker knows them. Raises KafkaError."""
    node = client.get_random_node()
    if node is None:
        raise KafkaConnectionError("no broker is known")
    try:
        answer: Any = await client.send(node, _MetadataRequest(sorted(topics)))
    except (IncompatibleBrokerVersion, NotImplementedError):
        return TopicIds("", {})
    found = [row for row in answer.topics if row[0] == 0]
    return TopicIds(answer.cluster_id or "", {row[1]: row[2] for row in found}, {row[1]: len(row[4]) for row in found})


class TopicReplaced(Exception):
    """An opened topic was deleted, and perhaps created anew: its offsets have another meaning now."""


class TopicWatch:
    """Compares opened topics with what Kafka says now, over one connection that is replaced after an error."""

    def __init__(self, connection: Mapping[str, Any]) -> None:
        self._connection = connection
        self._client: AIOKafkaClient | None = None
        self._missing: set[str] = set()

    async def look(self, opened: Mapping[str, bytes]) -> None:
        """Compare the identities of `opened` topics.

        Raises TopicReplaced; a topic counts as deleted when it is missing twice in a row. Raises KafkaError, OSError,
        TimeoutError when Kafka does not answer within TIMEOUT_S.
        """
        try:
            async with asyncio.timeout(TIMEOUT_S):
                found = await read_topic_ids(await self._connected(), opened)
        except (KafkaError, OSError):
            await self.close()
            raise
        if found.topics:
            self._compare(opened, found)

    async def close(self) -> None:
        """Close the connection."""
        client, self._client = self._client, None
        if client is not None:
            await stop_client(client.close())

    async def _connected(self) -> AIOKafkaClient:
        if self._client is None:
            self._client = AIOKafkaClient(**self._connection)
            await self._client.bootstrap()
        return self._client

    def _compare(self, opened: Mapping[str, bytes], found: TopicIds) -> None:
        for topic, identity in opened.items():
            if NO_ID not in (identity, found.identity(topic)) and found.identity(topic) != identity:
                raise TopicReplaced(
                    f"topic {topic} was deleted and created anew while this worker ran; the restart reads it anew"
                )
        gone = {topic for topic, identity in opened.items() if identity != NO_ID and topic not in found.topics}
        if twice := gone & self._missing:
            raise TopicReplaced(f"topic {min(twice)} was deleted while this worker ran; the restart creates it anew")
        self._missing = gone


async def watch_topic_ids(app: AppProtocol) -> None:
    """End the process when an opened topic is deleted or created anew."""
    watch = TopicWatch(app.engine_config.connection)
    try:
        while not app.should_stop:
            await asyncio.sleep(LOOK_EVERY_S)
            try:
                await watch.look(app.opened_topics)
            except TopicReplaced as error:
                app.die(error)
            except (KafkaError, OSError) as error:
                log.debug("topic ids cannot be read: %r", error)
    finally:
        await watch.close()
