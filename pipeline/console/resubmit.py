"""A touch once more, as another touch: its id, and the same words to the same person."""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from msgspec.structs import asdict

from pipeline.domain.rules import is_touch_id

if TYPE_CHECKING:
    from pipeline.domain.work import Work

AGAIN = ":again"
RESENDS = "resends"
"""Member of its metadata: the touch_id it is sent again for."""
_SHOWN = 89
"""With the hash's 32 digits and what stands around them: 128 characters, the most a touch_id has."""


def again_id(touch_id: str) -> str:
    """Return the touch_id of the same touch once more; always the same, so that it is sent once however often it is produced."""
    plain = touch_id + AGAIN
    if is_touch_id(plain):
        return plain
    return f"{touch_id[:_SHOWN]}:{blake2b(touch_id.encode(), digest_size=16).hexdigest()}{AGAIN}"


def touch_again(work: Work) -> dict[str, Any]:
    """Return `work` as a datum of the Touch schema: composed already, so without template; due at once."""
    said = work.content
    return {
        "touch_id": again_id(work.touch_id),
        "campaign_id": work.campaign_id,
        "lead_id": work.lead_id,
        "channel": work.channel.value,
        "to": work.to,
        "subject": said.subject,
        "body": said.body,
        "text": said.text,
        "sender": work.sender if work.pinned else None,
        "time_zone": work.time_zone,
        "expires_at": work.expires_at_ms,
        "attachments": [asdict(each) for each in said.attachments],
        "from": said.from_,
        "reply_to": said.reply_to,
        "headers": said.headers,
        "variables": {},
        "priority": work.priority,
        "purpose": work.purpose.value,
        "metadata": {**work.metadata, RESENDS: work.touch_id},
    }
