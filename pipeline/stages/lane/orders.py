"""What orders and suppressions mean for one lane at one moment: who may go, who ends, what may be asked again."""

from __future__ import annotations

from pipeline.domain.order import Order
from pipeline.domain.story import State
from pipeline.domain.work import Claim, Phase, Work
from pipeline.stages.control import ControlView, Pause, Stop, cancel_of, lane_hold_of, pause_of, stop_of, suppression_of
from pipeline.stages.lane.fate import Deferred, Ended, Fate, LookedUp, Parked, Requeued, stopped
from pipeline.stages.lane.gate import Held, is_expired
from pipeline.stages.lane.index import LaneConfig

HELD = Held()


class LaneOrders:
    """Orders and suppressions as they stand at `now_ms` for the lane of `config`."""

    def __init__(self, view: ControlView, config: LaneConfig, now_ms: int) -> None:
        self.view = view
        self._now_ms = now_ms
        self._replays = config.replays
        self._has_orders = view.control_offset > 0
        self._is_silent = not self._has_orders and view.suppressions_offset == 0
        self.holds: list[Order] = []
        """The pauses that hold the lane whole, the oldest first."""
        if self._has_orders and config.sender is not None:
            self.holds = lane_hold_of(view, config.policy.channel, config.sender.name, now_ms)

    def about(self, work: Work) -> Stop | Pause | Held | None:
        """Return what keeps `work`, which has not expired, from going; None: nothing does."""
        if self._is_silent:
            return None
        return stop_of(self.view, work) or self._pause_of(work)

    def obeyed(self, fate: Fate) -> Fate:
        """Return what becomes of a touch whose call was answered: none that must not go waits for another."""
        if self._is_silent or isinstance(fate, LookedUp | Deferred | Parked) or is_expired(fate.work, self._now_ms):
            return fate
        if isinstance(fate, Ended) and fate.state in (State.SENT, State.UNCONFIRMED):
            return fate
        if (stop := stop_of(self.view, fate.work)) is not None:
            return stopped(fate.work, stop)
        if isinstance(fate, Requeued) and (pause := pause_of(self.view, fate.work, self._now_ms)) is not None:
            return Parked(fate.work, pause)
        return fate

    def may_begin(self, claim: Claim) -> bool:
        """Return whether the body of the claim's request may be written: the last look.

        A replay of a batch keeps its bytes, so it goes with touches that an entry forbids, but against no order.
        """
        if self._is_silent:
            return True
        if claim.phase is Phase.CALLING:
            return all(self.about(work) is None for work in claim.works)
        return not self.forbids_replay(claim)

    def forbids_replay(self, claim: Claim) -> bool:
        """Return whether an order on one of its touches keeps the same request from being sent again."""
        return self._has_orders and any(
            cancel_of(self.view, work) is not None or self._pause_of(work) is not None for work in claim.works
        )

    def forbids_another_call(self, claim: Claim, work: Work) -> bool:
        """Return whether `work`, whose outcome nobody can find out, must not be called again although it is so configured.

        A batch ends as a whole: a cancel of one touch has kept the provider from being asked about the others.
        """
        if self._is_silent:
            return False
        if self._replays and any(cancel_of(self.view, each) is not None for each in claim.works):
            return True
        return stop_of(self.view, work) is not None

    def suppressed_in(self, claim: Claim) -> int:
        """Return how many touches of `claim` an entry forbids."""
        if self._is_silent:
            return 0
        return sum(suppression_of(self.view, work) is not None for work in claim.works)

    def _pause_of(self, work: Work) -> Pause | Held | None:
        if not self._has_orders:
            return None
        return pause_of(self.view, work, self._now_ms) or (HELD if self.holds else None)
