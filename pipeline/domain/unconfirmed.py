"""A touch of which nobody could tell whether it was sent, and what was found out since."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from pipeline.domain.work import Claim, Work


class Found(StrEnum):
    """What was found out about an unconfirmed touch."""

    SENT = "sent"
    NOT_SENT = "not_sent"


@dataclass(frozen=True, slots=True)
class Unconfirmed:
    """One touch that ended `unconfirmed`. Instants are epoch milliseconds."""

    claim: Claim
    """The call of which nobody knows, with this touch alone."""
    occurred_at_ms: int
    error: str | None = None
    found: Found | None = None
    """None: it is still open."""
    found_at_ms: int | None = None
    message_id: str | None = None
    resent_as: str | None = None
    """The touch_id under which it was sent again."""

    @property
    def work(self) -> Work:
        """The touch."""
        return self.claim.works[0]
