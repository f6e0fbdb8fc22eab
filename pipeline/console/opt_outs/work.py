"""Reads the pending opt-outs of `touches.opt-outs`, and resolves one: its suppression, if any, in the same transaction."""

from __future__ import annotations

import asyncio
import uuid
from contextlib import aclosing
from typing import TYPE_CHECKING

from aiokafka.errors import KafkaError

from pipeline.domain.fact import Callback, PendingOptOut, callback_partition
from pipeline.domain.suppression import Suppression, SuppressionReason
from pipeline.domain.work import Channel
from pipeline.flow import CALLBACKS, OPT_OUTS, SUPPRESSIONS
from pipeline.kafka.cluster import CommandFailed, unreached
from pipeline.kafka.suppressions import tombstone_headers
from pipeline.kafka.topic import TopicSource, read_topic
from pipeline.kafka.transaction import SHORT_S, open_transactional, transaction
from pipeline.records.callbacks import decode_pending, encode_callback
from pipeline.records.control import encode_suppression
from pipeline.records.published import UndecodableValue
from pipeline.stage_io import Output

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiokafka import ConsumerRecord

    from pipeline.console.command_context import CommandContext


async def pending_opt_outs_of(context: CommandContext, complain: Callable[[str], None]) -> list[PendingOptOut]:
    """Return the pending opt-outs, oldest first. Raises CommandFailed when Kafka or the topic is away."""
    found: dict[bytes, PendingOptOut] = {}

    def take(record: ConsumerRecord) -> None:
        key = record.key or b""
        if record.value is None:
            found.pop(key, None)
            return
        try:
            found[key] = decode_pending(record.value)
        except Exception as error:
            raise UndecodableValue(f"no opt-out: {error}") from error

    source: TopicSource[None] = TopicSource(context.cluster, OPT_OUTS, take, lambda _: 0, complain)
    async with aclosing(read_topic(source)) as nothing:
        async for _ in nothing:
            pass
    return sorted(found.values(), key=lambda each: each.at_ms)


async def resolve_opt_out(
    context: CommandContext, pending: PendingOptOut, address_hash: str | None, *, by: str, note: str
) -> None:
    """Suppress `address_hash`, or nobody (None), and take the opt-out off the list, all at once.

    Raises CommandFailed when Kafka is away; nothing is written then.
    """
    outputs = resolution(context, pending, address_hash, by=by, note=note)
    cluster, name = context.cluster, f"pipeline-opt-outs-{uuid.uuid4().hex}"
    try:
        async with (
            open_transactional(cluster, name, timeout_ms=SHORT_S * 1000) as producer,
            transaction(producer, SHORT_S),
        ):
            sent = [
                await producer.send(
                    cluster.topic_name(each.topic),
                    each.value,
                    each.key,
                    partition=each.partition,
                    headers=list(each.headers),
                )
                for each in outputs
            ]
            await asyncio.gather(*sent)
    except TimeoutError as error:
        raise CommandFailed(f"Kafka at {cluster.servers} did not answer in time; it may have been written") from error
    except (KafkaError, OSError) as error:
        raise await unreached(cluster, error) from error


def resolution(
    context: CommandContext, pending: PendingOptOut, address_hash: str | None, *, by: str, note: str
) -> list[Output]:
    """Return the records that resolve an opt-out; callbacks must be on."""
    assert context.callback_partitions is not None
    now_ms = context.now_ms()
    settled = Callback(Channel.WHATSAPP, pending.sender, "", now_ms, lid=pending.lid, settles=pending.id)
    at = callback_partition(settled.place, context.callback_partitions)
    outputs = [
        Output(CALLBACKS, at, settled.place.encode(), encode_callback(settled)),
        Output(OPT_OUTS, 0, pending.id.encode(), None, tombstone_headers({"by": by, "note": note})),
    ]
    if address_hash is None:
        return outputs
    entry = Suppression(
        context.suppression_covers.scope(Channel.WHATSAPP),
        address_hash=address_hash,
        reason=SuppressionReason.OPT_OUT,
        note=note,
        by=by,
        at_ms=now_ms,
    )
    value = encode_suppression(context.writer(), entry)
    return [Output(SUPPRESSIONS, 0, entry.key.encode(), value), *outputs]
