"""What the commands are given by the composition root: one value, made when a command runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from pipeline.console.check import Desired
    from pipeline.console.place import Place
    from pipeline.domain.policy import ChannelPolicy
    from pipeline.domain.sender import Sender
    from pipeline.domain.work import Channel


@dataclass(frozen=True, slots=True)
class Desk:
    """Everything a command needs to know of the configuration, and of the world."""

    place: Place
    create_topics: Callable[[], Awaitable[object]]
    """Creates the topics that are missing."""
    read_status: Callable[[bytes | None], Mapping[str, Any]]
    """Decodes a value of touches.status; raises Illegible."""
    read_dead_letter: Callable[[bytes | None], Mapping[str, Any]]
    """Decodes a value of touches.dead-letters; raises Illegible."""
    read_touch: Callable[[bytes | None], Mapping[str, Any]]
    """Decodes a value of touches, for people; raises what damaged bytes lead to."""
    desired: Callable[[], Desired]
    """What `check` looks for; senders are made anew, unopened."""
    policies: Mapping[Channel, ChannelPolicy]
    """The rules of each channel."""
    now_s: Callable[[], float]
    """The clock, epoch seconds."""
    sender_of: Callable[[Channel, str], Sender | None]
    """Makes the client of a configured sender, unopened; None if there is none of this name."""

    def now_ms(self) -> int:
        """Return the clock, epoch milliseconds."""
        return round(self.now_s() * 1000)
