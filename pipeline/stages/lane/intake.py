"""What arrives in the lane: new touches join the queue, repeats are answered, touches of other senders are forwarded."""

from __future__ import annotations

from pipeline.domain.sender_choice import NoSender, find_sender
from pipeline.domain.sender_policy import SenderPolicy
from pipeline.domain.story import Reason, State
from pipeline.domain.value import replace
from pipeline.domain.work import Work
from pipeline.flow import channel_topic
from pipeline.records import UnknownVersion, decode_work, encode_work
from pipeline.stage_io import Output, Record
from pipeline.stages.dead_letters import bytes_of, where
from pipeline.stages.lane import shelf, table
from pipeline.stages.lane.draft import StepDraft
from pipeline.stages.lane.fate import Ended, turned_away
from pipeline.stages.lane.gate import Held, Pass
from pipeline.stages.lane.queue import LOOKED_AT
from pipeline.stages.lane.table import Memory, MemoryTag


def take_in(draft: StepDraft, record: Record) -> None:
    """Take in one record of the channel's topic. Raises UnknownVersion, and what an undecodable record raises."""
    value = bytes_of(record)
    try:
        work = decode_work(value)
    except UnknownVersion as newer:
        raise UnknownVersion(newer.what, where(record)) from None
    memory = table.memory_of(draft.view, work)
    sender = draft.config.sender
    if memory is not None and memory.is_repeat(work):
        _answer_repeat(draft, work, memory)
    elif sender is None or work.sender != sender.name:
        _forward(draft, work)
    else:
        under_way = Memory(MemoryTag.UNDER_WAY, table.origins_of(memory, work), work.returns)
        table.put_memory(draft.view, work, under_way)
        line_up(draft, work, value)


def hand_on_shelf(draft: StepDraft) -> None:
    """Forward what a lane whose sender is gone or disabled has parked: its new lane parks it anew if an order holds it."""
    for taken, (key, value) in enumerate(shelf.rows(draft.view, table.PARKED)):
        if taken >= LOOKED_AT:
            draft.wake_at(draft.now_ms)
            return
        draft.suspects[:] = [key]
        work = table.decode_waiting(value)
        shelf.leave(draft.view, draft.state, key, work)
        _forward(draft, work)


def hand_on_queue(draft: StepDraft) -> None:
    """Forward the queue of a lane whose sender is gone or disabled, in the order of service."""
    cursor = draft.cursor()
    while (waiting := cursor.peek()) is not None:
        cursor.take()
        _forward(draft, waiting.work)
    if cursor.is_cut:
        draft.wake_at(draft.now_ms)


def line_up(draft: StepDraft, work: Work, value: bytes) -> None:
    """Put `work`, which has just come, or is free again, in the queue, or turn it away; a retired lane queues it behind what it hands on."""
    if draft.config.is_retired:
        draft.enqueue(work, value)
        return
    decision = draft.gate(work)
    if isinstance(decision, Pass | Held):
        draft.enqueue(work, value)
    else:
        draft.write(turned_away(work, decision))


def _answer_repeat(draft: StepDraft, work: Work, memory: Memory) -> None:
    """Answer, without sending, a touch that was taken in before: it came under another key, or its topic is read again."""
    draft.step.repeats += 1
    if memory.tag is MemoryTag.ENDED:
        draft.repeat_end(work, memory.event)
        return
    origins = table.origins_of(memory, work)
    if work.origin not in origins:
        table.put_memory(draft.view, work, Memory(MemoryTag.UNDER_WAY, (*origins, work.origin), memory.returns))


def _forward(draft: StepDraft, work: Work) -> None:
    """Send `work` to the lane of its sender: the configuration has changed since the router chose this lane."""
    policy = draft.policy
    addressed = policy.sender_named(work.sender)
    is_enabled = addressed is not None and addressed.is_enabled
    chosen = find_sender(policy, work.sender if work.pinned or is_enabled else None, work.to)
    from_ = work.content.from_
    if isinstance(chosen, NoSender):
        draft.write(Ended(work, State.FAILED, chosen.reason, error=chosen.error))
    elif from_ is not None and from_ not in chosen.addresses:
        error = f"from is {from_!r}, which sender {chosen.name!r}, who has it now, does not have"
        draft.write(Ended(work, State.FAILED, Reason.INVALID, error=error))
    else:
        _send_on(draft, work, chosen)


def _send_on(draft: StepDraft, work: Work, chosen: SenderPolicy) -> None:
    """Produce `work` for the lane of `chosen`: once for each partition that asked for its results.

    This lane remembers it, so that its topic can be read again; one return more, and it takes the touch in as new.
    """
    origins = table.origins_of(table.memory_of(draft.view, work), work)
    table.put_forwarded(draft.view, work, origins, draft.now_ms + draft.config.dedup_for_ms)
    for origin in origins:
        value = encode_work(replace(work, sender=chosen.name, origin=origin, returns=work.returns + 1))
        draft.step.outputs.append(Output(channel_topic(work.channel), chosen.lane, work.touch_id.encode(), value))
