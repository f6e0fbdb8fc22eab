"""Touches that ended unconfirmed: which there are, what their provider says now, and what became of them after all."""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from aiokafka.errors import InvalidProducerEpoch, KafkaError, MessageSizeTooLargeError, ProducerFenced

from pipeline.console.resubmit import again_id, touch_again
from pipeline.console.status.view import occurred_ms, time_of
from pipeline.console.status.work import status
from pipeline.console.unconfirmed.view import told
from pipeline.domain.audit import Acted
from pipeline.domain.unconfirmed import Resolved, Unconfirmed
from pipeline.domain.verdict import Absent, AskLater, Sent
from pipeline.flow import AUDIT, CLAIM_BYTES, DAY_MS, STATUS_DAYS, TOUCHES, UNCONFIRMED
from pipeline.kafka.audit import Auditor
from pipeline.kafka.cluster import CommandFailed, Conflicting, NothingSuch, check_topics, unreached
from pipeline.kafka.topic import TopicSource, read_topic
from pipeline.kafka.transaction import Outgoing, open_transactional, send, transaction
from pipeline.records import UnknownVersion, decode_unconfirmed, encode_unconfirmed
from pipeline.records.published import UndecodableValue
from pipeline.records.single_object import encode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import Any

    from pipeline.console.command_context import CommandContext
    from pipeline.domain.audit import Who
    from pipeline.domain.sender import Sender
    from pipeline.engine.record_consumer import ReadRecord
    from pipeline.kafka.cluster import Cluster

CLOCKS_MS = 60_000
"""How far the clocks of those who wrote claims and statuses may differ."""


@dataclass(frozen=True, slots=True)
class OperatorAnswer:
    """What was found out about a touch."""

    resolution: Resolved
    message_id: str | None = None
    overrules: bool = False
    """It counts, whatever was recorded before."""


async def unconfirmed(cluster: Cluster, complain: Callable[[str], None]) -> dict[str, Unconfirmed]:
    """Return the touches that ended unconfirmed, by touch_id, oldest first, each as it was told last.

    `complain` gets one line per record that cannot be decoded. Raises CommandFailed when Kafka cannot be reached or the topic is missing.
    """
    latest: dict[str, Unconfirmed] = {}
    source = TopicSource(cluster, UNCONFIRMED, _read, lambda left: left.occurred_at_ms, complain)
    async with aclosing(read_topic(source)) as records:
        async for left in records:
            latest[left.work.touch_id] = left
    return latest


def _read(record: ReadRecord) -> Unconfirmed:
    try:
        return decode_unconfirmed(record.value or b"")
    except (UnknownVersion, ValueError, EOFError, IndexError, KeyError, TypeError) as error:
        raise UndecodableValue(f"no unconfirmed touch: {error}") from error


def named(found: Mapping[str, Unconfirmed], touch_id: str) -> Unconfirmed:
    """Return the touch called `touch_id`. Raises CommandFailed."""
    if touch_id not in found:
        raise NothingSuch(f"{touch_id} has not ended unconfirmed; see: faust -A pipeline status {touch_id}")
    return found[touch_id]


def resolved(left: Unconfirmed, answer: OperatorAnswer, now_ms: int) -> Unconfirmed | None:
    """Return `left` as `answer` says it is, None when that is recorded already. Raises CommandFailed when another answer is."""
    is_same = left.resolution is answer.resolution
    if is_same and answer.message_id in {None, left.provider_message_id}:
        return None
    is_news = left.resolution is None or (is_same and left.provider_message_id is None)
    if not is_news and not answer.overrules:
        raise Conflicting(f"{told(left)} since {time_of(left.resolved_at_ms)}; --force records it otherwise")
    resent_as = again_id(left.work.touch_id) if answer.resolution is Resolved.NOT_SENT else left.resent_as
    return replace(
        left,
        resolution=answer.resolution,
        resolved_at_ms=now_ms,
        provider_message_id=answer.message_id,
        resent_as=resent_as,
    )


# --- recording ---------------------------------------------------------------------------------------------------


async def record(
    context: CommandContext, touch_id: str, answer: OperatorAnswer, who: Who, complain: Callable[[str], None]
) -> tuple[Unconfirmed, bool]:
    """Record `answer` and who gave it, and produce the touch again if it was not sent: all or nothing.

    Returns it as recorded, and whether that is new. Raises CommandFailed when another answer is recorded, or Kafka
    refuses.
    """
    cluster, now_ms = context.cluster, context.now_ms()
    await check_topics(cluster, [UNCONFIRMED, AUDIT])
    auditor = Auditor(context.writer(), who, now_ms)
    try:
        # It fences every other one of this kind: what is read now is what will be written upon.
        async with open_transactional(cluster, "pipeline-unconfirmed", largest=CLAIM_BYTES) as producer:
            left = named(await unconfirmed(cluster, complain), touch_id)
            new = resolved(left, answer, now_ms)
            if new is None:
                return left, False
            async with transaction(producer):
                for each in [*_records(new), auditor.record(Acted.RESOLVE, touch_id)]:
                    await (await send(producer, cluster, each))
            return new, True
    except (ProducerFenced, InvalidProducerEpoch):
        raise Conflicting("another `unconfirmed resolve` is running; nothing was recorded: try again") from None
    except MessageSizeTooLargeError:
        raise Conflicting(
            f"{touch_id} is too large to be produced again as it was composed, nothing was recorded: "
            "produce it from its source under another touch_id, and record it with --sent"
        ) from None
    except (KafkaError, OSError, TimeoutError) as error:
        raise await unreached(cluster, error) from error


def _records(left: Unconfirmed) -> Iterator[Outgoing]:
    """Yield what was found out, and the touch once more if it was not sent."""
    yield Outgoing(UNCONFIRMED, left.work.touch_id.encode(), encode_unconfirmed(left), partition=left.work.origin)
    if left.resolution is Resolved.NOT_SENT and left.resent_as is not None:
        yield Outgoing(TOUCHES, left.resent_as.encode(), encode("touch", touch_again(left.work)))


# --- asking ------------------------------------------------------------------------------------------------------


async def ask(
    context: CommandContext,
    found: Mapping[str, Unconfirmed],
    left: Unconfirmed,
    complain: Callable[[str], None],
    progress: Callable[[int], None] = lambda _: None,
) -> Sent | None:
    """Ask the provider of `left` what became of it: the message it has, or None if it has none. Sends nothing.

    `progress` gets the number of statuses read. Raises CommandFailed when the provider cannot tell.
    """
    sender = _asked(context, left)
    known = _ids_told_later(found, left) | await _ids_sent(context, left, complain, progress)
    await sender.open()
    try:
        answer = await sender.ask(left.claim, known)
    finally:
        await sender.close()
    match answer:
        case Sent():
            return answer
        case Absent():
            return None
        case AskLater():
            raise CommandFailed(f"the provider cannot tell now: {answer.error}; try again later")
        case _:
            raise CommandFailed(f"the provider cannot tell: {answer}")


def _asked(context: CommandContext, left: Unconfirmed) -> Sender:
    """Return the sender to ask. Raises CommandFailed when none can be asked."""
    work, claim = left.work, left.claim
    sender = context.sender_of(work.channel, work.sender)
    if sender is None:
        raise CommandFailed(f"{work.channel} has no sender {work.sender!r} any more, whose account could be asked")
    if sender.replays:
        raise CommandFailed(
            "Resend can only be asked by sending the same request again, which may send: look for it at "
            f"https://resend.com/emails (to {work.to}, from {time_of(claim.claimed_ms)} on), then resolve with --sent or --not-sent"
        )
    if not claim.request.handle and context.now_ms() - claim.claimed_ms > STATUS_DAYS * DAY_MS:
        raise CommandFailed(
            f"it is older than {STATUS_DAYS} days: the statuses that tell which message is whose are gone; "
            "look into the provider's console, then resolve with --sent or --not-sent"
        )
    return sender


def _ids_told_later(found: Mapping[str, Unconfirmed], left: Unconfirmed) -> frozenset[str]:
    others = (each for each in found.values() if each.work.touch_id != left.work.touch_id)
    return frozenset(each.provider_message_id for each in others if each.provider_message_id is not None)


async def _ids_sent(
    context: CommandContext, left: Unconfirmed, complain: Callable[[str], None], progress: Callable[[int], None]
) -> frozenset[str]:
    """Return the message ids of all touches that were sent since. A status has no address: more than needed is right, ids are unique."""
    since_ms = left.claim.claimed_ms - CLOCKS_MS
    count, ids = 0, set()

    def see(said: Mapping[str, Any]) -> None:
        nonlocal count
        count += 1
        progress(count)
        if said["state"] == "sent" and said["channel"] == left.work.channel and occurred_ms(said) >= since_ms:
            ids.add(said["provider_message_id"])

    await status(context.cluster, context.read_status, show=see, complain=complain)
    return frozenset(ids - {None})
