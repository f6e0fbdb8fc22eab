"""A touch that ended `unconfirmed`: the claim to look up, and the result of a later look-up."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

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
