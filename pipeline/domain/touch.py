"""A touch as a producer writes it, and the digest by which two touches are the same."""

from __future__ import annotations

import json
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from hashlib import blake2b
from typing import ClassVar

from msgspec import field

from pipeline.domain.value import Value
from pipeline.domain.work import Attachment, Channel, Purpose


class Touch(Value, frozen=True):
    """One message to one person, every rule kept that needs no configuration. Instants are epoch milliseconds."""

    hidden: ClassVar[frozenset[str]] = frozenset(
        {"to", "subject", "body", "text", "variables", "reply_to", "headers", "metadata"}
    )

    touch_id: str
    campaign_id: str
    lead_id: str
    channel: Channel
    to: str
    subject: str | None = None
    body: str | None = None
    text: str | None = None
    template: str | None = None
    variables: dict[str, str] = field(default_factory=dict)
    sender: str | None = None
    time_zone: str | None = None
    not_before_ms: int | None = None
    expires_at_ms: int | None = None
    attachments: tuple[Attachment, ...] = ()
    from_: str | None = None
    reply_to: str | None = None
    headers: dict[str, str] = field(default_factory=dict)
    priority: int = 5
    metadata: dict[str, str] = field(default_factory=dict)
    created_at_ms: int = 0
    purpose: Purpose = Purpose.MARKETING


@dataclass(frozen=True, slots=True)
class TouchHeader:
    """The fields of an invalid touch that its status record needs, as far as they can be read."""

    touch_id: str | None
    campaign_id: str = ""
    lead_id: str = ""
    channel: str = ""
    metadata: dict[str, str] = dataclass_field(default_factory=dict)


MOST_FAULTS = 10
FAULT_CHARACTERS = 300
ERROR_CHARACTERS = 1_000
"""Longest error text; it must fit into a status record."""


class InvalidTouch(Exception):
    """A touch whose values break rules; the message lists each: the field, what was found, what is allowed."""

    def __init__(self, faults: list[str], header: TouchHeader) -> None:
        super().__init__(_listed(faults))
        self.faults = faults
        self.header = header


def _listed(faults: list[str]) -> str:
    told, left = list[str](), ERROR_CHARACTERS
    for fault in faults[:MOST_FAULTS]:
        line = fault if len(fault) <= FAULT_CHARACTERS else f"{fault[:FAULT_CHARACTERS]}…"
        if len(line) > left:
            break
        told.append(line)
        left -= len(line)
    return "; ".join([*told, *([f"and {len(faults) - len(told)} more"] if len(faults) > len(told) else [])])


def digest(touch: Touch) -> bytes:
    """Return 16 bytes that are equal for two touches exactly when they are the same (`to` normalised)."""
    said = [
        touch.channel.value,
        touch.to,
        touch.subject,
        touch.body,
        touch.text,
        touch.template,
        sorted(touch.variables.items()),
        touch.sender,
        touch.from_,
        touch.reply_to,
        sorted(touch.headers.items()),
        [
            (a.filename, a.content_type, None if a.content is None else blake2b(a.content).hexdigest(), a.url)
            for a in touch.attachments
        ],
    ]
    return blake2b(json.dumps(said).encode(), digest_size=16).digest()
