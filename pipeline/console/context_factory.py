"""Makes the context of a command from the configuration."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

from aiokafka.errors import KafkaError

from pipeline import flow
from pipeline.console.check.work import Desired
from pipeline.console.command_context import CommandContext
from pipeline.domain.callback import callback_path
from pipeline.domain.sender import Sender
from pipeline.domain.work import Channel
from pipeline.engine.repartition import GroupHasMembers, add_partitions
from pipeline.engine.topics import ensure_topics, topic_faults
from pipeline.kafka.cluster import Cluster, CommandFailed
from pipeline.kafka.configured import connection_of, group_of, needed_topics, writer_of
from pipeline.kafka.connection import why_unreachable
from pipeline.records.published import ValueReader
from pipeline.records.registry import Registry

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from pipeline.engine.required_topic import RequiredTopic
    from pipeline.kafka.connection import Connection
    from pipeline.settings import Settings

MakeSender: TypeAlias = Callable[[Channel, str], Sender]


def create_context(settings: Settings, make_sender: MakeSender, now_s: Callable[[], float]) -> CommandContext:
    """Return the context of a command. `make_sender` makes the client of one configured sender, not opened yet."""
    connection, prefix = connection_of(settings), settings.kafka.topic_prefix
    topics = needed_topics(settings)
    url = settings.kafka.schema_registry_url
    registry = None if url is None else Registry(url)

    def sender_of(channel: Channel, name: str) -> Sender | None:
        return None if settings.channels[channel].sender_named(name) is None else make_sender(channel, name)

    return CommandContext(
        cluster=Cluster(connection, prefix, settings.kafka.partitions),
        create_topics=lambda: ensure_topics(connection, topics, settings.kafka.replication_factor),
        add_partitions=None if settings.kafka.partitions_before is None else partial(_add_partitions, settings, topics),
        read_status=ValueReader("status", registry),
        read_delivery=ValueReader("delivery", registry),
        read_dead_letter=ValueReader("dead_letter", registry),
        read_touch=ValueReader("touch", registry),
        desired=partial(_desired, settings, make_sender, connection, topics),
        policies=settings.channels,
        read_suppression=ValueReader("suppression", registry),
        read_audit=ValueReader("audit", registry),
        writer=partial(writer_of, settings, registry, {flow.SUPPRESSIONS: "suppression", flow.AUDIT: "audit"}),
        privacy_key=settings.privacy_key,
        suppression_covers=settings.suppression_covers,
        callback_partitions=callback_partitions(settings),
        dedup_for_ms=settings.dedup_for_ms,
        now_s=now_s,
        sender_of=sender_of,
    )


def callback_partitions(settings: Settings) -> int | None:
    """Return the partitions of `touches.callbacks` that count: once some were added, as many as before. None: callbacks are off."""
    kafka = settings.kafka
    return (kafka.partitions_before or kafka.partitions) if settings.callback_senders else None


async def _add_partitions(settings: Settings, topics: list[RequiredTopic]) -> AsyncIterator[str]:
    """Add the partitions that are configured. Raises CommandFailed."""
    connection, before = connection_of(settings), settings.kafka.partitions_before
    assert before is not None
    if why := await why_unreachable(connection):
        raise CommandFailed(f"Kafka at {','.join(settings.kafka.bootstrap_servers)} cannot be reached: {why}")
    group = group_of(settings)
    earlier = needed_topics(replace(settings, kafka=replace(settings.kafka, partitions=before)))
    sizes = {each.name: each.partitions for each in earlier}
    grown = [each for each in topics if each.partitions != sizes[each.name]]
    try:
        async for line in add_partitions(connection, group, grown, before):
            yield line
    except (GroupHasMembers, KafkaError) as error:
        raise CommandFailed(str(error)) from error


def _desired(
    settings: Settings, make_sender: MakeSender, connection: Connection, topics: list[RequiredTopic]
) -> Desired:
    """Return what `check` compares with; the senders are new and not opened."""
    senders = [
        (f"{channel.value} {each.name}", make_sender(channel, each.name))
        for channel, policy in settings.channels.items()
        for each in policy.senders
    ]
    return Desired(
        {topic.name: topic.partitions for topic in topics},
        settings.kafka.replication_factor,
        senders,
        [channel.value for channel, policy in settings.channels.items() if not policy.senders],
        settings.kafka.schema_registry_url,
        settings.source,
        [each.base_url for each in settings.accounts.values()],
        group_of(settings),
        partial(topic_faults, connection, topics),
        [
            (f"{channel.value} {name}", make_sender(channel, name), callback_url(settings, channel, name))
            for channel, name in sorted(settings.callback_senders)
            if settings.channels[channel].sender_named(name) is not None
        ],
        settings.templates,
        templates_named=settings.templates_named,
    )


def callback_url(settings: Settings, channel: Channel, name: str) -> str | None:
    """Return where a sender's provider is to call back; None without `web.public_url`."""
    if settings.web.public_url is None:
        return None
    provider = settings.channels[channel].spec.provider.lower()
    return settings.web.public_url + callback_path(provider, name)
