"""What a lane is configured with, and what it keeps in memory of its table."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import Final, Protocol

from pipeline.domain.limit import PastCall
from pipeline.domain.policy import ChannelPolicy
from pipeline.domain.sender_policy import SenderPolicy
from pipeline.domain.work import Claim, Request, Work
from pipeline.records.lane_report import LaneReport
from pipeline.stage_io import Table
from pipeline.stages.lane import table
from pipeline.stages.lane.opt_outs import AutoSuppression

CLOCK_ALLOWANCE_MS: Final = 2_000
"""How far the clocks of two workers may differ, or one may jump, without a claim being looked up too early."""
REPLAY_HORIZON_MS: Final = 23 * 3_600_000
"""Resend keeps an Idempotency-Key for 24 h (resend.com/docs/dashboard/emails/idempotency-keys)."""


class RequestBuilder(Protocol):
    """Builds the request of a call, byte for byte; the same arguments give the same bytes."""

    def __call__(
        self, works: tuple[Work, ...], claim_id: str, lease_until_ms: int, closes_ms: int | None, /
    ) -> Request:
        """Return the request for `works`."""


@dataclass(frozen=True, slots=True)
class LaneConfig:
    """What does not change while a lane is open."""

    policy: ChannelPolicy
    lane: int
    """Partition of the channel's topic."""
    build: RequestBuilder
    replays: bool = field(kw_only=True)
    """The provider is asked by sending the same request again (Resend): a call like any other."""
    by_text: bool = field(kw_only=True)
    """Look-ups compare address and text (Twilio, WAHA without its own ids): twins must not be open together."""
    dedup_for_ms: int = field(kw_only=True)
    auto_suppression: AutoSuppression | None = field(kw_only=True, default=None)
    """What makes entries of refusals; None: nothing does."""
    sender: SenderPolicy | None = field(init=False)
    """The lane's sender; None if the configuration no longer has one on this lane."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "sender", self.policy.sender_on(self.lane))

    @property
    def is_retired(self) -> bool:
        """Whether the lane makes no new claims and hands its queue on: its sender is gone or disabled."""
        return self.sender is None or not self.sender.is_enabled

    @property
    def resolve_for_ms(self) -> int:
        """How long after its claim an unknown outcome is looked up."""
        return min(self.policy.resolve_for_ms, REPLAY_HORIZON_MS) if self.replays else self.policy.resolve_for_ms

    def call_over_ms(self, lease_until_ms: int) -> int:
        """Return the instant from which a call with this lease can no longer run."""
        return lease_until_ms + self.policy.request_timeout_ms + CLOCK_ALLOWANCE_MS


@dataclass(frozen=True, slots=True)
class Sweep:
    """One pass over the touches that wait: which of them do orders and entries concern that are new?"""

    began_ms: int
    control: int
    """It looks with the orders before this offset of `touches.control` at least; 0: nothing is new."""
    suppressions: int
    queue_from: bytes | None
    """Key of the queue from which on it has not looked yet; None: it is through."""
    shelf_from: bytes | None
    """The same of the parked touches."""


@dataclass(slots=True)
class LaneIndex:
    """What a lane keeps in memory, rebuilt from its table when it opens. Instants are epoch milliseconds."""

    state: table.LaneState = field(default_factory=table.LaneState)
    claims: dict[str, Claim] = field(default_factory=dict)
    """Open claims by id."""
    under_way: set[str] = field(default_factory=set)
    """Ids of the claims whose call or look-up is under way in this process."""
    calls: dict[int, tuple[PastCall, str]] = field(default_factory=dict)
    """(call, claim id) by number: the calls that the limits need."""
    head: bytes = table.WAITING
    """No touch waits below this key: scans start here, not among RocksDB's tombstones."""
    gathering_since_ms: int | None = None
    """Since when the queue waits for more touches to fill a call."""
    stepped_ms: int | None = None
    """The clock at the latest step; None before the first."""
    stepped_monotonic_ms: int | None = None
    """The monotonic clock at the latest step."""
    window_opens_ms: int = 0
    """The earliest opening for the touches deferred because of a closed window."""
    deferred_by_window: int = 0
    """How many they are."""
    decoded: dict[bytes, Work] = field(default_factory=dict)
    """Touches put in the queue in this step, by key."""
    at_large: dict[str, int] = field(default_factory=dict)
    """By claim id: until when a call that another process began may run."""
    told: LaneReport | None = None
    """What `touches.lanes` has of this owner, without its instant; None: nothing yet."""
    obeys_told: tuple[int, ...] | None = None
    """How far it obeys, as told there."""
    told_ms: int = 0
    """When this owner last told it."""
    sweep: Sweep | None = None
    """The pass over the waiting touches that is under way."""
    next_sweep_ms: int = 0
    """When the next pass may begin."""
    unpark_ms: int | None = None
    """When the first parked touch may be free again, as far as time alone can free one; None: time frees none."""
    expiry_from: bytes = table.PARKED_UNTIL
    """No parked touch expires below this key."""

    @classmethod
    def of(cls, committed: Table) -> tuple[LaneIndex, list[tuple[bytes, bytes, Exception]]]:
        """Return the index of a table, and (key, value, error) of the claims that cannot be decoded."""
        claims, broken = table.open_claims(committed)
        state = table.LaneState.unpack(committed.get(table.STATE))
        return cls(state=state, claims=claims, calls=table.last_calls(committed)), broken

    def copied(self) -> LaneIndex:
        """Return a copy to go back to."""
        return replace(
            self,
            state=replace(self.state, served=dict(self.state.served)),
            claims=dict(self.claims),
            under_way=set(self.under_way),
            at_large=dict(self.at_large),
            calls=dict(self.calls),
            decoded=dict(self.decoded),
        )

    def go_back_to(self, kept: LaneIndex) -> None:
        """Take the values of `kept`, which must not be used afterwards."""
        for each in fields(self):
            setattr(self, each.name, getattr(kept, each.name))
