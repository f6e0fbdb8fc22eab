"""Reads the pending opt-outs of `touches.opt-outs`, and resolves one: its suppression, if any, in the same transaction."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING

from pipeline.domain.audit import Acted
from pipeline.domain.fact import Callback, PendingOptOut, callback_partition
from pipeline.domain.suppression import Suppression, SuppressionReason
from pipeline.domain.work import Channel
from pipeline.flow import CALLBACKS, OPT_OUTS, SUPPRESSIONS
from pipeline.kafka.audit import Auditor
from pipeline.kafka.suppressions import tombstone_headers
from pipeline.kafka.topic import TopicSource, read_topic
from pipeline.kafka.transaction import Outgoing, open_short_writer
from pipeline.records.callbacks import decode_pending, encode_callback
from pipeline.records.control import encode_suppression
from pipeline.records.published import UndecodableValue

if TYPE_CHECKING:
    from collections.abc import Callable

    from pipeline.console.command_context import CommandContext
    from pipeline.domain.audit import Who
    from pipeline.engine.record_consumer import ReadRecord


async def pending_opt_outs_of(context: CommandContext, complain: Callable[[str], None]) -> list[PendingOptOut]:
    """Return the pending opt-outs, oldest first. Raises CommandFailed when Kafka or the topic is away."""
    found: dict[bytes, PendingOptOut] = {}

    def take(record: ReadRecord) -> None:
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
    context: CommandContext, pending: PendingOptOut, address_hash: str | None, who: Who, *, note: str
) -> None:
    """Suppress `address_hash`, or nobody (None), take the opt-out off the list, and record who did it, all at once.

    Raises CommandFailed when Kafka is away; nothing is written then.
    """
    records = resolution(context, pending, address_hash, who, note=note)
    async with open_short_writer(context.cluster, *{each.topic for each in records}) as write:
        await write(records)


def resolution(
    context: CommandContext, pending: PendingOptOut, address_hash: str | None, who: Who, *, note: str
) -> list[Outgoing]:
    """Return the records that resolve an opt-out; callbacks must be on."""
    assert context.callback_partitions is not None
    now_ms = context.now_ms()
    settled = Callback(Channel.WHATSAPP, pending.sender, "", now_ms, lid=pending.lid, settles=pending.id)
    at = callback_partition(settled.place, context.callback_partitions)
    writer, headers = context.stopping_writer(), tombstone_headers({"by": who.name, "note": note})
    outputs = [
        Outgoing(CALLBACKS, settled.place.encode(), encode_callback(settled), partition=at),
        Outgoing(OPT_OUTS, pending.id.encode(), None, headers, partition=0),
        Auditor(writer, who, now_ms).record(Acted.RESOLVE, pending.id, note),
    ]
    if address_hash is None:
        return outputs
    entry = Suppression(
        context.suppression_covers.scope(Channel.WHATSAPP),
        address_hash=address_hash,
        reason=SuppressionReason.OPT_OUT,
        note=note,
        by=who.name,
        at_ms=now_ms,
    )
    value = encode_suppression(writer, entry)
    return [Outgoing(SUPPRESSIONS, entry.key.encode(), value, partition=0), *outputs]
