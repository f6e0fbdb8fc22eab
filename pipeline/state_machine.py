"""State machines as tables: for each state, the states that may follow it."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import TypeVar

StateT = TypeVar("StateT", bound=Enum)


class IllegalTransition(Exception):
    """A transition that the table of its state machine does not have: a bug."""


def is_valid_transition(machine: Mapping[StateT, frozenset[StateT]], before: StateT, after: StateT) -> bool:
    """Return whether `machine` has the transition from `before` to `after`."""
    return after in machine[before]


def check_transition(machine: Mapping[StateT, frozenset[StateT]], before: StateT, after: StateT) -> None:
    """Raise IllegalTransition unless `machine` has the transition from `before` to `after`."""
    if after not in machine[before]:
        raise IllegalTransition(f"{type(before).__name__}: {before.name} to {after.name}")
