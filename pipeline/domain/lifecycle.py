"""The state machines of a claim, of a lane's breaker and of a touch: their states, and which may follow which.

docs/lifecycle.md draws them with what causes each transition; the engine has the one of a partition.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, StrEnum
from typing import Final, TypeVar

from pipeline.domain.story import TERMINAL, State
from pipeline.domain.work import Phase

StateT = TypeVar("StateT", bound=Enum)


class IllegalTransition(Exception):
    """A state machine was to take a transition that its table does not have: a bug."""


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


def is_valid_transition(machine: Mapping[StateT, frozenset[StateT]], before: StateT, after: StateT) -> bool:
    """Return whether `machine` has the transition from `before` to `after`."""
    return after in machine[before]


def check_transition(machine: Mapping[StateT, frozenset[StateT]], before: StateT, after: StateT) -> None:
    """Raise IllegalTransition unless `machine` has the transition from `before` to `after`."""
    if after not in machine[before]:
        raise IllegalTransition(f"{type(before).__name__}: {before.name} to {after.name}")
