"""The state machines of a claim, of a lane's breaker and of a touch: their states, and which may follow which.

docs/lifecycle.md draws them with what causes each transition; `engine/lifecycle.py` has the one of a partition.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from pipeline.domain.story import TERMINAL, State
from pipeline.domain.work import Phase


class BreakerState(StrEnum):
    """Whether a lane may call."""

    CLOSED = "closed"
    """Calls are made as limits and windows allow."""
    OPEN = "open"
    """The provider is away: no call is made until a given instant."""
    HALF_OPEN = "half_open"
    """One call at a time is made, to see whether the provider is back."""


CLAIM: Final[Mapping[Phase, frozenset[Phase]]] = {
    Phase.CALLING: frozenset({Phase.LOOKING_UP, Phase.CLOSED}),
    Phase.LOOKING_UP: frozenset({Phase.LOOKING_UP, Phase.CLOSED}),
    Phase.CLOSED: frozenset(),
}
BREAKER: Final[Mapping[BreakerState, frozenset[BreakerState]]] = {
    BreakerState.CLOSED: frozenset({BreakerState.OPEN}),
    # An answer to a call that began before the outage may still come.
    BreakerState.OPEN: frozenset({BreakerState.OPEN, BreakerState.HALF_OPEN, BreakerState.CLOSED}),
    BreakerState.HALF_OPEN: frozenset({BreakerState.OPEN, BreakerState.CLOSED}),
}
_ONWARD: Final = frozenset({State.DEFERRED, State.RETRYING, *TERMINAL})
TOUCH: Final[Mapping[State, frozenset[State]]] = {
    State.ACCEPTED: _ONWARD,
    State.DEFERRED: _ONWARD,
    State.RETRYING: _ONWARD,
    **dict.fromkeys(TERMINAL, frozenset()),
}
