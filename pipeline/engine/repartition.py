"""Adds partitions to the topics of a pipeline that has run, while none of its workers runs.

Workers of the earlier number must not come back: they would know other homes of touches. A row in the last partition of each
changelog stops them (see `partition_growth.assess`): state is kept in a partition that they do not know.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions
from aiokafka.errors import for_code

from pipeline.engine.stop_client import stop_client
from pipeline.engine.table import INPUT_POSITION

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from pipeline.engine.required_topic import RequiredTopic

DEAD = "Dead"
"""State of a group that does not exist."""


class GroupHasMembers(Exception):
    """Workers run; the message says how many."""


async def add_partitions(
    connection: Mapping[str, Any], group: str, needed: Sequence[RequiredTopic], before: int
) -> AsyncIterator[str]:
    """Raise the partitions of each topic of `needed` that has `before` of them; yield a line for each.

    Raises GroupHasMembers before anything is changed, KafkaError.
    """
    admin = AIOKafkaAdminClient(**connection)
    await admin.start()
    try:
        await _check_idle(admin, group)
        wanted = {topic.name: topic.partitions for topic in needed}
        listed = sorted(set(wanted) & set(await admin.list_topics()))
        found = (
            {each["topic"]: len(each["partitions"]) for each in await admin.describe_topics(listed)} if listed else {}
        )
        grown = {name: wanted[name] for name, count in found.items() if count == before < wanted[name]}
        if grown:
            _check(await admin.create_partitions({name: NewPartitions(count) for name, count in grown.items()}))
        await _mark(connection, {name: count for name, count in wanted.items() if name in found and count > before})
        await _check_idle(admin, group)
    finally:
        await stop_client(admin.close())
    for name in listed:
        if name in grown:
            yield f"{name}: {found[name]} partitions, now {grown[name]}"
        else:
            yield f"{name}: {found[name]} partitions"


async def _check_idle(admin: AIOKafkaAdminClient, group: str) -> None:
    (answer,) = await admin.describe_consumer_groups([group])
    for _, _, state, _, _, members, *_ in answer.groups:
        if members and state != DEAD:
            raise GroupHasMembers(
                f"{len(members)} workers of the group {group} run: stop them all (a worker that was killed counts until "
                "kafka.session_timeout is over)"
            )


def _check(answer: Any) -> None:
    for name, code, message in answer.topic_errors:
        if code:
            raise for_code(code)(f"cannot add partitions to {name}: {message or ''}")


async def _mark(connection: Mapping[str, Any], changelogs: Mapping[str, int]) -> None:
    """Write the position before any input into the last partition of each changelog."""
    producer = AIOKafkaProducer(**connection, acks="all")
    await producer.start()
    try:
        for name, count in changelogs.items():
            if name.endswith("-changelog"):
                await producer.send_and_wait(name, key=INPUT_POSITION, value=bytes(8), partition=count - 1)
    finally:
        await stop_client(producer.stop())
