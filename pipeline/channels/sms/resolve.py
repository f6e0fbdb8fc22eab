"""What became of a send? Twilio keeps no key of ours: the list of messages to that number tells, by text and time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol
from urllib.parse import parse_qs

from pipeline.domain.verdict import Absent, Sent

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from pipeline.domain.work import Claim

SINCE_SLACK_MS = 2_000
"""Twilio's clock against ours, on top of flooring to its seconds."""
TRIAL_PREFIX = "Sent from your Twilio trial account - "
"""A trial account's messages begin so, whatever was asked for."""


class Message(Protocol):
    """What is read of a message of Twilio's list, as its library gives it."""

    sid: str | None
    to: str | None
    from_: str | None
    messaging_service_sid: str | None
    body: str | None
    direction: str | None
    date_created: datetime | None


@dataclass(frozen=True, slots=True)
class Question:
    """What the frozen request said: the configuration may have changed since."""

    account_sid: str
    to: str
    body: str
    from_: str | None
    messaging_service_sid: str | None
    since_ms: int
    """Nothing of this claim is older."""


def question(claim: Claim) -> Question:
    """Return what to ask about `claim`."""
    said = {name: values[0] for name, values in parse_qs(claim.request.body.decode("ascii")).items()}
    since_ms = claim.claimed_ms // 1000 * 1000 - SINCE_SLACK_MS
    account_sid = claim.request.path.split("/")[3]
    return Question(
        account_sid, said["To"], said.get("Body", ""), said.get("From"), said.get("MessagingServiceSid"), since_ms
    )


def first_match(messages: Iterable[Message], asked: Question, known_ids: frozenset[str]) -> Sent | Absent:
    """Return the oldest message that can only be this claim's, or Absent."""
    matches = [each for each in messages if _is_ours(each, asked) and each.sid not in known_ids]
    if not matches:
        return Absent()
    return Sent((min(matches, key=_created_ms).sid,))


def _is_ours(message: Message, asked: Question) -> bool:
    if (message.to, message.direction) != (asked.to, "outbound-api") or _created_ms(message) < asked.since_ms:
        return False
    return message.body in (asked.body, TRIAL_PREFIX + asked.body) and _has_sender(message, asked)


def _has_sender(message: Message, asked: Question) -> bool:
    if asked.messaging_service_sid is not None:
        return message.messaging_service_sid == asked.messaging_service_sid
    return message.from_ == asked.from_


def _created_ms(message: Message) -> float:
    """When it was made; one without a readable time cannot be told to be too old."""
    return float("inf") if message.date_created is None else message.date_created.timestamp() * 1000
