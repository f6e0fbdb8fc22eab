"""Creates missing topics, and refuses those that exist with another number of partitions."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError, KafkaTimeoutError, TopicAlreadyExistsError, for_code

from pipeline.engine.partition_growth import partition_count_faults
from pipeline.engine.topic_settings import SettingFault, faults, mend, settings_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


log = logging.getLogger(__name__)

KNOWN_WITHIN_S = 60.0
LOOK_AGAIN_S = 0.1


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """A topic as it must be."""

    name: str
    """Name in Kafka, prefix included."""
    partitions: int
    settings: Mapping[str, str] = field(default_factory=dict)
    is_public: bool = False
    """Others may have made it, and write to it."""
    may_grow: bool = False
    """Partitions may be added to it once it has records: nothing in it is found by a hash."""


class TopicMismatch(Exception):
    """A topic exists that is not as it must be; each line names it and the command that mends it."""


async def ensure_topics(connection: Mapping[str, Any], needed: Iterable[TopicSpec], replication: int) -> list[str]:
    """Create what is missing, wait until the broker knows every partition's leader, and return what was created.

    Raises TopicMismatch for a topic with another partition count (one that has grown meanwhile is no reason), or with
    settings that break the promise (public topics are mended); KafkaTimeoutError when there are no leaders within 60 s.
    """
    wanted = {topic.name: topic for topic in needed}
    admin = AIOKafkaAdminClient(**connection)
    await admin.start()
    try:
        # Only what is listed is described: describing a missing topic by name could create it.
        listed = set(wanted) & set(await admin.list_topics())
        described = await admin.describe_topics(sorted(listed)) if listed else []
        existing = {topic["topic"]: len(topic["partitions"]) for topic in described}
        differing = [
            line for stops, line in await partition_count_faults(connection, list(wanted.values()), existing) if stops
        ]
        if differing:
            raise TopicMismatch("\n".join(differing))
        await _look_at_settings(admin, [wanted[name] for name in existing], connection)
        missing = [topic for name, topic in wanted.items() if name not in existing]
        await _create(admin, missing, replication)
        await _wait_until_led(admin, set(wanted))
        return [topic.name for topic in missing]
    finally:
        await admin.close()


async def _look_at_settings(
    admin: AIOKafkaAdminClient, existing: list[TopicSpec], connection: Mapping[str, Any]
) -> None:
    try:
        found = await settings_of(admin, [topic.name for topic in existing])
    except KafkaError as error:
        log.warning("the settings of topics are not looked at: %s", error)
        return
    servers, refused = connection["bootstrap_servers"][0], list[str]()
    for topic in existing:
        wrong = faults(topic, {key: value for key, (value, _) in found[topic.name].items()})
        breaking = [each for each in wrong if each.breaks]
        for each in wrong:
            if not each.breaks:
                log.warning("%s", each.line(servers))
        if breaking and topic.is_public and await _mends(admin, topic, breaking, found[topic.name]):
            continue
        refused += [each.line(servers) for each in breaking]
    if refused:
        raise TopicMismatch("\n".join(refused))


async def topic_faults(connection: Mapping[str, Any], needed: Iterable[TopicSpec]) -> list[tuple[bool, str]]:
    """Return (whether it stops a worker, a line with what mends it) per wrong setting or size of topics that exist.

    Raises KafkaError.
    """
    wanted = {topic.name: topic for topic in needed}
    admin = AIOKafkaAdminClient(**connection)
    await admin.start()
    try:
        listed = sorted(set(wanted) & set(await admin.list_topics()))
        found = await settings_of(admin, listed)
        described = await admin.describe_topics(listed) if listed else []
    finally:
        await admin.close()
    sizes = await partition_count_faults(
        connection, list(wanted.values()), {each["topic"]: len(each["partitions"]) for each in described}
    )
    servers = connection["bootstrap_servers"][0]
    return sizes + [
        (each.breaks, each.line(servers))
        for name, own in found.items()
        for each in faults(wanted[name], {key: value for key, (value, _) in own.items()})
    ]


async def _mends(
    admin: AIOKafkaAdminClient, topic: TopicSpec, wrong: list[SettingFault], found: Mapping[str, tuple[str, bool]]
) -> bool:
    """Mend a public topic; False when the worker may not."""
    try:
        await mend(admin, topic.name, wrong, found)
    except KafkaError as error:
        log.warning("topic %s is not as it must be, and this worker cannot mend it: %s", topic.name, error)
        return False
    for each in wrong:
        log.warning(
            "topic %s had %s=%s; set to %s, without which touches could vanish or not fit",
            topic.name,
            each.key,
            each.found,
            each.needed,
        )
    return True


async def _create(admin: AIOKafkaAdminClient, missing: list[TopicSpec], replication: int) -> None:
    if not missing:
        return
    answer = await admin.create_topics(
        [NewTopic(t.name, t.partitions, replication, topic_configs=dict(t.settings)) for t in missing]
    )
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
    return {
        topic["topic"]
        for topic in described
        if topic["partitions"] and all(each["leader"] >= 0 for each in topic["partitions"])
    }
