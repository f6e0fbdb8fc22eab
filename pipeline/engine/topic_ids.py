"""Who a topic is: the id Kafka gave it when it was created, which one of the same name created anew does not have."""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager
from dataclasses import dataclass
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

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Mapping
    from io import BytesIO

    from pipeline.engine.app_protocol import AppProtocol

log = logging.getLogger(__name__)

LOOK_EVERY_S = 5.0
PATIENCE_S = 20.0
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
    """Metadata, version 10: the first that names topic ids (KIP-516; Kafka 2.8). aiokafka stops at 5."""

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
    """Who a cluster and some of its topics are."""

    cluster_id: str
    topics: Mapping[str, bytes]
    """Topic id, 16 bytes, by name; those that exist."""

    def of(self, topic: str) -> bytes:
        """Return 16 bytes that stand for this topic of this cluster; zeros when Kafka does not say (before 2.8)."""
        topic_id = self.topics.get(topic, NO_ID)
        if topic_id == NO_ID:
            return NO_ID
        return blake2b(self.cluster_id.encode() + b"\0" + topic_id + topic.encode(), digest_size=ID_BYTES).digest()


class TopicIdReader:
    """Asks Kafka who its topics are."""

    def __init__(self, client: AIOKafkaClient) -> None:
        self._client = client

    async def identities(self, topics: Iterable[str]) -> TopicIds:
        """Return who these topics are. Raises KafkaError."""
        node = self._client.get_random_node()
        if node is None:
            raise KafkaConnectionError("no broker to ask")
        try:
            answer: Any = await self._client.send(node, _MetadataRequest(sorted(topics)))
        except (IncompatibleBrokerVersion, NotImplementedError):
            return TopicIds("", {})
        return TopicIds(answer.cluster_id or "", {row[1]: row[2] for row in answer.topics if row[0] == 0})


@asynccontextmanager
async def topic_id_reader(connection: Mapping[str, Any]) -> AsyncIterator[TopicIdReader]:
    """Connect, and ask as often as wanted."""
    client = AIOKafkaClient(**connection)
    await client.bootstrap()
    try:
        yield TopicIdReader(client)
    finally:
        await client.close()


class TopicReplaced(Exception):
    """A topic is not the one that was opened: it was deleted, and maybe created anew."""


async def watch_topic_ids(app: AppProtocol) -> None:
    """End the process when a topic it has opened is deleted or created anew: offsets mean something else then."""
    missing: set[str] = set()
    while not app.should_stop:
        await asyncio.sleep(LOOK_EVERY_S)
        try:
            async with asyncio.timeout(PATIENCE_S), topic_id_reader(app.engine_config.connection) as kafka:
                opened = dict(app.engine_config.identities)
                found = await kafka.identities(opened)
        except (KafkaError, OSError) as error:
            log.debug("topics are not looked at: %r", error)
            continue
        if not found.topics:
            continue
        for topic, identity in opened.items():
            if NO_ID not in (identity, found.of(topic)) and found.of(topic) != identity:
                app.die(
                    TopicReplaced(
                        f"topic {topic} was deleted and created anew while this worker ran; the restart reads it anew"
                    )
                )
        gone = {topic for topic, identity in opened.items() if identity != NO_ID and topic not in found.topics}
        if gone & missing:
            app.die(
                TopicReplaced(
                    f"topic {min(gone & missing)} was deleted while this worker ran; the restart creates it anew"
                )
            )
        missing = gone
