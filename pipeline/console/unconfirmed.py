"""Reads `touches.unconfirmed`, and writes into it what was found out; makes a touch anew of one that was not sent."""

from __future__ import annotations

import base64
from contextlib import aclosing
from dataclasses import replace
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, NamedTuple, assert_never

import orjson

from pipeline.console.delivery import Delivery, Lost, open_producer
from pipeline.console.place import Failed
from pipeline.console.reading import Illegible
from pipeline.console.topic import Source, read_topic
from pipeline.domain.rules import is_touch_id
from pipeline.domain.unconfirmed import Found
from pipeline.domain.verdict import Absent, Sent
from pipeline.domain.work import Channel
from pipeline.flow import STATUS, TOUCHES, UNCONFIRMED
from pipeline.records import decode_unconfirmed, encode_unconfirmed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from aiokafka import ConsumerRecord

    from pipeline.console.place import Place
    from pipeline.domain.sender import Sender
    from pipeline.domain.unconfirmed import Unconfirmed
    from pipeline.domain.work import Attachment, Work

    Complain = Callable[[str], None]
    ReadStatus = Callable[[bytes | None], Mapping[str, Any]]

AGAIN = ":again"
RESENDS = "resends"
"""In the metadata of a touch that is sent again: the touch_id it had before."""
BY_SENDING = (
    "Resend can only be asked by sending the batch again, which could send it: look for it in its dashboard "
    "(resend.com/emails), then say --sent or --not-sent"
)


class Case(NamedTuple):
    """An unconfirmed touch, and the partition in which its records stand."""

    said: Unconfirmed
    partition: int


async def read_cases(place: Place, complain: Complain) -> dict[str, Case]:
    """Return what is known of every unconfirmed touch, by touch_id, in order of time. Raises Failed."""
    def read_record(record: ConsumerRecord) -> Case:
        try:
            return Case(decode_unconfirmed(record.value or b""), record.partition)
        except (ValueError, EOFError, IndexError, TypeError, KeyError) as error:
            raise Illegible(f"no Unconfirmed: {error}") from error

    found: dict[str, Case] = {}
    source = Source(place, UNCONFIRMED, read_record, lambda case: case.said.occurred_at_ms, complain)
    async with aclosing(read_topic(source)) as cases:
        async for case in cases:
            found[case.said.work.touch_id] = case
    return found


async def read_ids(place: Place, read: ReadStatus, sender: str, progress: Callable[[int], None]) -> frozenset[str]:
    """Return the message ids of everything that `sender` is told to have sent: none of them is an open touch's. Raises Failed."""
    def read_record(record: ConsumerRecord) -> Mapping[str, Any] | None:
        told = read(record.value)
        return told if told["state"] == "sent" and told["sender"] == sender else None

    ids = set()
    async with aclosing(read_topic(Source(place, STATUS, read_record, lambda _: 0, lambda _: None))) as statuses:
        async for told in statuses:
            ids.add(told["provider_message_id"])
            progress(len(ids))
    return frozenset(each for each in ids if each is not None)


async def ask(sender: Sender, case: Case, known_ids: frozenset[str]) -> Found | str | None:
    """Ask the provider: the message's id (or that it was sent), that it was not, or raise Failed when it cannot tell now."""
    if sender.replays:
        raise Failed(BY_SENDING)
    await sender.open()
    try:
        answer = await sender.ask(case.said.claim, known_ids)
    finally:
        await sender.close()
    match answer:
        case Sent():
            return answer.message_ids[0] or Found.SENT
        case Absent():
            return Found.NOT_SENT
        case _:
            raise Failed(f"the provider cannot tell now: {getattr(answer, 'error', type(answer).__name__)}")


async def record(place: Place, case: Case) -> None:
    """Write down what was found out. Raises Failed."""
    work = case.said.work
    await _produce(place, UNCONFIRMED, work.touch_id, encode_unconfirmed(case.said), case.partition)


async def send_again(place: Place, work: Work) -> str:
    """Produce the touch of `work` as another touch and return its id; doing it twice sends it once. Raises Failed."""
    touch_id = again_id(work.touch_id)
    await _produce(place, TOUCHES, touch_id, orjson.dumps(touch_again(work, touch_id)), None)
    return touch_id


async def _produce(place: Place, topic: str, touch_id: str, value: bytes, partition: int | None) -> None:
    def refuse(label: str, why: str) -> None:
        raise Failed(f"{label}: {why}")

    async with open_producer(place) as producer:
        delivery = Delivery(producer, place.topic_name(topic), refuse)
        try:
            await delivery.send(touch_id, key=touch_id.encode(), value=value, partition=partition)
            await delivery.settle(keep=0)
        except Lost as error:
            raise Failed(str(error)) from error


def again_id(touch_id: str) -> str:
    """Return the id under which a touch is sent again: always the same."""
    again = touch_id + AGAIN
    return again if is_touch_id(again) else blake2b(touch_id.encode(), digest_size=16).hexdigest() + AGAIN


def touch_again(work: Work, touch_id: str) -> dict[str, Any]:
    """Return the touch, as JSON, that says what `work` said. Its content is composed: no template is rendered again."""
    said = work.content
    touch: dict[str, Any] = {
        "touch_id": touch_id, "campaign_id": work.campaign_id, "lead_id": work.lead_id, "channel": work.channel.value,
        "to": work.to, "body": said.body, "priority": work.priority, "time_zone": work.time_zone,
        "expires_at": work.expires_at_ms, "metadata": {**work.metadata, RESENDS: work.touch_id},
        "sender": work.sender if work.pinned else None,
    }  # fmt: skip
    if work.channel is Channel.EMAIL:
        touch |= {
            "subject": said.subject, "text": said.text, "from": said.from_, "reply_to": said.reply_to,
            "headers": said.headers or None, "attachments": [_attachment(each) for each in said.attachments] or None,
        }  # fmt: skip
    return {name: value for name, value in touch.items() if value is not None}


def _attachment(each: Attachment) -> dict[str, Any]:
    content = None if each.content is None else base64.b64encode(each.content).decode()
    said = {"filename": each.filename, "content_type": each.content_type, "content": content, "url": each.url}
    return {name: value for name, value in said.items() if value is not None}


def resolved(case: Case, found: Found, now_ms: int, *, message_id: str | None = None, resent_as: str | None = None) -> Case:
    """Return `case` with what was found out."""
    said = replace(case.said, found=found, found_at_ms=now_ms, message_id=message_id, resent_as=resent_as)
    return case._replace(said=said)


def outcome_text(said: Unconfirmed) -> str:
    """Return what is known of it, for people."""
    match said.found:
        case None:
            return "open"
        case Found.SENT:
            return "sent" if said.message_id is None else f"sent id={said.message_id}"
        case Found.NOT_SENT:
            return f"not_sent resent_as={said.resent_as}"
        case _:
            assert_never(said.found)
