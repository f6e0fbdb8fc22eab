"""Creates missing topics, and refuses those that exist with another number of partitions."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaTimeoutError, TopicAlreadyExistsError, for_code

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


KNOWN_WITHIN_S = 60.0
LOOK_AGAIN_S = 0.1


@dataclass(frozen=True, slots=True)
class TopicNeeded:
    """A topic as it must be."""

    name: str
    """Name in Kafka, prefix included."""
    partitions: int
    settings: Mapping[str, str] = field(default_factory=dict)


class TopicsDiffer(Exception):
    """A topic exists with another number of partitions; each line names it and the command that mends it."""


async def ensure_topics(connection: Mapping[str, Any], needed: Iterable[TopicNeeded], replication: int) -> list[str]:
    """Create what is missing, wait until the broker knows every partition's leader, and return what was created.

    Raises TopicsDiffer for a topic with another partition count, KafkaTimeoutError when there are no leaders within
    60 s; settings of existing topics are left alone.
    """
    wanted = {topic.name: topic for topic in needed}
    admin = AIOKafkaAdminClient(**connection)
    await admin.start()
    try:
        # Only what is listed is described: describing a missing topic by name could create it.
        listed = set(wanted) & set(await admin.list_topics())
        described = await admin.describe_topics(sorted(listed)) if listed else []
        existing = {topic["topic"]: len(topic["partitions"]) for topic in described}
        differing = [_mend(wanted[name], count, connection) for name, count in existing.items()
                     if count != wanted[name].partitions]
        if differing:
            raise TopicsDiffer("\n".join(differing))
        missing = [topic for name, topic in wanted.items() if name not in existing]
        await _create(admin, missing, replication)
        await _wait_until_led(admin, set(wanted))
        return [topic.name for topic in missing]
    finally:
        await admin.close()


async def _create(admin: AIOKafkaAdminClient, missing: list[TopicNeeded], replication: int) -> None:
    if not missing:
        return
    answer = await admin.create_topics([
        NewTopic(t.name, t.partitions, replication, topic_configs=dict(t.settings)) for t in missing
    ])
    for name, code, *rest in answer.topic_errors:
        error = for_code(code)
        if code and error is not TopicAlreadyExistsError:  # another worker was quicker
            raise error(f"cannot create topic {name}: {rest[0] if rest else ''}")


async def _wait_until_led(admin: AIOKafkaAdminClient, names: set[str]) -> None:
    """Wait until every partition has a leader, as far as the broker has heard.

    A topic is created before all brokers know of it. A consumer that subscribes in between is told that there is no such
    topic, gets no partition, and asks again five minutes later.
    """
    try:
        async with asyncio.timeout(KNOWN_WITHIN_S):
            while True:
                if await _led(admin, names) == names:
                    return
                await asyncio.sleep(LOOK_AGAIN_S)
    except TimeoutError as error:
        raise KafkaTimeoutError(f"no leader for each partition of {', '.join(sorted(names))}") from error


async def _led(admin: AIOKafkaAdminClient, names: set[str]) -> set[str]:
    """Return which of the topics exist and have a leader for every partition."""
    listed = names & set(await admin.list_topics())
    described = await admin.describe_topics(sorted(listed)) if listed else []
    return {topic["topic"] for topic in described
            if topic["partitions"] and all(each["leader"] >= 0 for each in topic["partitions"])}  # fmt: skip


def _mend(topic: TopicNeeded, found: int, connection: Mapping[str, Any]) -> str:
    server = connection["bootstrap_servers"][0]
    tool = f"kafka-topics.sh --bootstrap-server {server}"
    if found < topic.partitions:
        fix = f"{tool} --alter --topic {topic.name} --partitions {topic.partitions}"
    else:
        fix = f"{tool} --delete --topic {topic.name}   (its records are lost; or configure {found} partitions)"
    return f"topic {topic.name} has {found} partitions, configured are {topic.partitions}; mend it with: {fix}"
