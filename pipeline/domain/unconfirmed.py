"""A touch that ended `unconfirmed`: the claim to look up, and the result of a later look-up."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pipeline.domain.work import Claim, Work


class Resolved(StrEnum):
    """The result of a later look-up."""

    SENT = "sent"
    NOT_SENT = "not_sent"


@dataclass(frozen=True, slots=True)
class Unconfirmed:
    """A touch that ended `unconfirmed`. Its status does not change again; a later result stands here. Instants are epoch milliseconds."""

    claim: Claim
    """The last claim, with this touch only: the provider can still be asked about it."""
    occurred_at_ms: int
    error: str
    resolution: Resolved | None = None
    """None: not known yet."""
    resolved_at_ms: int | None = None
    provider_message_id: str | None = None
    resent_as: str | None = None
    """The touch_id under which it was produced again."""

    @property
    def work(self) -> Work:
        """The touch."""
        return self.claim.works[0]


def members_of(left: Unconfirmed) -> dict[str, Any]:
    """Return the members under which commands, pages and the API show it; instants as integer milliseconds."""
    work, claim = left.work, left.claim
    return {
        "touch_id": work.touch_id,
        "campaign_id": work.campaign_id,
        "lead_id": work.lead_id,
        "channel": work.channel.value,
        "sender": work.sender,
        "to": work.to,
        "occurred_at": left.occurred_at_ms,
        "error": left.error,
        "error_code": claim.error_code,
        "claimed_at": claim.claimed_ms,
        "resolution": None if left.resolution is None else left.resolution.value,
        "resolved_at": left.resolved_at_ms,
        "provider_message_id": left.provider_message_id,
        "resent_as": left.resent_as,
    }
