"""The values around an answer: the facts that its settlement depends on, and the settlement, which the draft writes."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from pipeline.domain.work import Claim, Work
from pipeline.stages.lane.breaker import Breaker
from pipeline.stages.lane.fate import Fate
from pipeline.stages.lane.index import LaneConfig


class Facts(NamedTuple):
    """What a settlement depends on besides the claim and its answer. Instants are epoch milliseconds."""

    config: LaneConfig
    breaker: Breaker
    last_success_ms: int
    last_good_call_ms: int
    now_ms: int
    draw: Callable[[], float]
    """Uniform in [0, 1)."""
    forbids_another_call: Callable[[Claim, Work], bool] = lambda _claim, _work: False
    """Whether an order or an entry forbids to call a touch again whose outcome nobody can find out."""


class Settlement(NamedTuple):
    """What follows from one answer, to be written as a whole."""

    before: Claim
    claim: Claim | None
    """The claim as it stays open; None: it is closed."""
    fates: tuple[Fate, ...]
    breaker: Breaker
    is_sent: bool = False
    is_void: bool = False
    """The provider accepted nothing: the daily cap gets the messages back."""
    is_unbegun: bool = False
    """Nothing was written to the provider: the rate limit gets the call back."""
