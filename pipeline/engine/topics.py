"""Creates missing topics, and refuses existing ones with other partition counts or settings than required."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError, KafkaTimeoutError, TopicAlreadyExistsError, for_code

from pipeline.engine.partition_growth import partition_count_faults
from pipeline.engine.required_topic import RequiredTopic
from pipeline.engine.stop_client import stop_client
from pipeline.engine.topic_settings import SettingFault, correct, faults, settings_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


log = logging.getLogger(__name__)

LEADERS_WITHIN_S = 60.0
POLL_S = 0.1


class TopicMismatch(Exception):
    """Existing topics differ from their specs; each line names one and the command that corrects it."""


async def ensure_topics(connection: Mapping[str, Any], needed: Iterable[RequiredTopic], replication: int) -> list[str]:
    """Create missing topics, wait until every partition has a leader, and return the names of the created ones.

    Raises TopicMismatch for a topic with another partition count (unless partitions were added later), or with settings
    that could lose touches (those of public topics are corrected); KafkaTimeoutError without leaders within 60 s.
    """
    wanted = {topic.name: topic for topic in needed}
    admin = AIOKafkaAdminClient(**connection)
    await admin.start()
    try:
        # Only listed topics are described: describing a missing topic by name could create it.
        listed = set(wanted) & set(await admin.list_topics())
        described = await admin.describe_topics(sorted(listed)) if listed else []
        existing = {topic["topic"]: len(topic["partitions"]) for topic in described}
        differing = [
            line for stops, line in await partition_count_faults(connection, list(wanted.values()), existing) if stops
        ]
        if differing:
            raise TopicMismatch("\n".join(differing))
        await _check_settings(admin, [wanted[name] for name in existing], connection)
        missing = [topic for name, topic in wanted.items() if name not in existing]
        await _create(admin, missing, replication)
        await _wait_for_leaders(admin, set(wanted))
        return [topic.name for topic in missing]
    finally:
        await stop_client(admin.close())


async def _check_settings(
    admin: AIOKafkaAdminClient, existing: list[RequiredTopic], connection: Mapping[str, Any]
) -> None:
    try:
        found = await settings_of(admin, [topic.name for topic in existing])
    except KafkaError as error:
        log.warning("the settings of topics cannot be checked: %s", error)
        return
    servers, refused = connection["bootstrap_servers"][0], list[str]()
    for topic in existing:
        wrong = faults(topic, {key: value for key, (value, _) in found[topic.name].items()})
        breaking = [each for each in wrong if each.breaks]
        for each in wrong:
            if not each.breaks:
                log.warning("%s", each.line(servers))
        if breaking and topic.is_public and await _is_corrected(admin, topic, breaking, found[topic.name]):
            continue
        refused += [each.line(servers) for each in breaking]
    if refused:
        raise TopicMismatch("\n".join(refused))


async def topic_faults(connection: Mapping[str, Any], needed: Iterable[RequiredTopic]) -> list[tuple[bool, str]]:
    """Return (whether it stops a worker, a line with the command that corrects it) per difference of existing topics.

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
        await stop_client(admin.close())
    sizes = await partition_count_faults(
        connection, list(wanted.values()), {each["topic"]: len(each["partitions"]) for each in described}
    )
    servers = connection["bootstrap_servers"][0]
    return sizes + [
        (each.breaks, each.line(servers))
        for name, own in found.items()
        for each in faults(wanted[name], {key: value for key, (value, _) in own.items()})
    ]


async def _is_corrected(
    admin: AIOKafkaAdminClient, topic: RequiredTopic, wrong: list[SettingFault], found: Mapping[str, tuple[str, bool]]
) -> bool:
    """Correct the settings of a public topic; return False when the worker lacks the permission."""
    try:
        await correct(admin, topic.name, wrong, found)
    except KafkaError as error:
        log.warning(
            "topic %s has other settings than required, and this worker cannot correct them: %s", topic.name, error
        )
        return False
    for each in wrong:
        log.warning(
            "topic %s had %s=%s; set to %s, because touches could be lost or refused otherwise",
            topic.name,
            each.key,
            each.found,
            each.needed,
        )
    return True


async def _create(admin: AIOKafkaAdminClient, missing: list[RequiredTopic], replication: int) -> None:
    if not missing:
        return
    answer = await admin.create_topics(
        [NewTopic(t.name, t.partitions, replication, topic_configs=dict(t.settings)) for t in missing]
    )
    for name, code, *rest in answer.topic_errors:
        error = for_code(code)
        if code and error is not TopicAlreadyExistsError:  # another worker created it
            raise error(f"cannot create topic {name}: {rest[0] if rest else ''}")


async def _wait_for_leaders(admin: AIOKafkaAdminClient, names: set[str]) -> None:
    """Wait until the broker knows a leader of every partition. Raises KafkaTimeoutError.

    A topic is created before all brokers know it. A consumer that subscribes in between gets the answer that there is no
    such topic, owns no partition, and asks again five minutes later.
    """
    try:
        async with asyncio.timeout(LEADERS_WITHIN_S):
            while True:
                if await _with_leaders(admin, names) == names:
                    return
                await asyncio.sleep(POLL_S)
    except TimeoutError as error:
        raise KafkaTimeoutError(f"no leader for each partition of {', '.join(sorted(names))}") from error


async def _with_leaders(admin: AIOKafkaAdminClient, names: set[str]) -> set[str]:
    """Return those of `names` that exist and have a leader for every partition."""
    listed = names & set(await admin.list_topics())
    described = await admin.describe_topics(sorted(listed)) if listed else []
    return {
        topic["topic"]
        for topic in described
        if topic["partitions"] and all(each["leader"] >= 0 for each in topic["partitions"])
    }
