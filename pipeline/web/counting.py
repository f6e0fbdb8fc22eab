"""Counts the touches of an order's target that have not ended, where the look-up copy can tell at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from pipeline.console.order.count import matches
from pipeline.console.status.view import ENDS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pipeline.domain.order import Target
    from pipeline.lookup.queries import LookupCopy

MOST_PAGES: Final = 20
"""A person with more touches is counted from the statuses."""
_OF_CAMPAIGN: Final = frozenset({"campaign", "channel"})


def count_in_copy(copy: LookupCopy, target: Target) -> int | None:
    """Return how many touches of `target` have not ended; None: the copy cannot tell at once."""
    if target.touch is not None:
        touch = copy.touch(target.touch)
        return 0 if touch is None else _open(target, [touch])
    if target.lead is not None:
        touches = list(_touches_of(copy, target.lead))
        return None if None in touches else _open(target, [each for each in touches if each is not None])
    if target.campaign is not None and target.named.keys() <= _OF_CAMPAIGN:
        found = copy.campaign(target.campaign)
        return 0 if found is None else _open_states(target, found["states"])
    return None


def _open(target: Target, touches: list[dict[str, Any]]) -> int:
    return sum(each["state"] is not None and each["state"] not in ENDS and matches(target, each) for each in touches)


def _open_states(target: Target, states: list[dict[str, Any]]) -> int:
    return sum(
        each["touches"] for each in states if each["state"] not in ENDS and target.channel in {None, each["channel"]}
    )


def _touches_of(copy: LookupCopy, lead: str) -> Iterator[dict[str, Any] | None]:
    """Yield the touches of a person; None in the end, if there are too many."""
    after = None
    for _ in range(MOST_PAGES):
        rows, after = copy.touches(lead=lead, after=after)
        yield from rows
        if after is None:
            return
    yield None
