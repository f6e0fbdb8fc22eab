"""A touch of which nobody could tell whether it was sent: its question, and what was found out afterwards."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from pipeline.domain.work import Claim, Work


class Resolved(StrEnum):
    """What became of it after all."""

    SENT = "sent"
    NOT_SENT = "not_sent"


@dataclass(frozen=True, slots=True)
class Unconfirmed:
    """A touch that ended `unconfirmed`. Its status has ended with it: what is found out later is told here. Instants are epoch milliseconds."""

    claim: Claim
    """The claim it ended under, with its work alone: what its provider can still be asked."""
    occurred_at_ms: int
    error: str
    resolution: Resolved | None = None
    """None while nobody knows."""
    resolved_at_ms: int | None = None
    provider_message_id: str | None = None
    resent_as: str | None = None
    """The touch_id under which it was produced again."""

    @property
    def work(self) -> Work:
        """The touch."""
        return self.claim.works[0]
