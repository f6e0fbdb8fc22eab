"""The result of a forecast: for each lane and each campaign how much is left, and when it ends. Instants are epoch ms."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from pipeline.domain.story import State
from pipeline.domain.work import Channel


@dataclass(slots=True)
class Ending:
    """How and when the touches that are left end."""

    left: int = 0
    """Touches that have not ended now."""
    deferred: int = 0
    """How many of them are in the scheduler."""
    ends: Counter[State] = field(default_factory=Counter)
    sent_ms: array[int] = field(default_factory=lambda: array("q"))
    """When each message is sent."""
    last_ms: int | None = None
    """Instant of the last end before the forecast's horizon."""
    is_done: bool = True
    """Whether all touches end before the forecast's horizon."""

    @property
    def done_ms(self) -> int | None:
        """The instant at which all touches have ended; None: beyond the horizon, or there are none."""
        return self.last_ms if self.is_done else None

    def end(self, state: State, at_ms: int) -> None:
        """Note that a touch ends."""
        self.ends[state] += 1
        self.last_ms = max(at_ms, self.last_ms or 0)
        if state is State.SENT:
            self.sent_ms.append(at_ms)


@dataclass(slots=True)
class LaneOutlook(Ending):
    """One lane."""

    channel: Channel = Channel.SMS
    lane: int = 0
    sender: str | None = None
    """None: the lane has no sender any more, and hands its queue on."""
    held_ms: Counter[str] = field(default_factory=Counter)
    """Milliseconds for which the lane is held back, by cause."""
    latency_ms: int = 0
    """Duration of a call in the forecast."""
    is_measured: bool = False
    """Whether that is the average of the lane's latest calls; otherwise it is assumed."""
    outage: str | None = None
    """The error for which its breaker is open; calls are assumed to succeed as soon as it is half open."""

    @property
    def waiting(self) -> int:
        """Touches in the lane: queued, claimed, or in its topic."""
        return self.left - self.deferred

    @property
    def held_by(self) -> str | None:
        """The cause that holds the lane back for longest."""
        return max(self.held_ms, key=lambda why: self.held_ms[why], default=None)


@dataclass(slots=True)
class CampaignOutlook(Ending):
    """One campaign, over all channels."""

    name: str = ""
    channels: set[Channel] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Forecast:
    """The forecast of all lanes and campaigns."""

    now_ms: int
    until_ms: int
    """The horizon."""
    lanes: Sequence[LaneOutlook]
    campaigns: Sequence[CampaignOutlook]
    not_accepted: int

    @property
    def left(self) -> int:
        """Touches that have not ended now."""
        return sum(lane.left for lane in self.lanes)


def per_bucket(sent_ms: Sequence[int], start_ms: int, bucket_ms: int, buckets: int) -> list[int]:
    """Return how many instants fall into each of `buckets` buckets of `bucket_ms` from `start_ms` on."""
    counts = [0] * buckets
    for at_ms in sent_ms:
        at = (at_ms - start_ms) // bucket_ms
        if 0 <= at < buckets:
            counts[at] += 1
    return counts
