"""The pace of passes over everything that waits in a partition, for the sake of what is new: in slices, with rests between."""

from __future__ import annotations

from typing import Final

SLICE: Final = 500
"""Rows looked at per step, at most."""
REST_MS: Final = 2
"""Between two slices other partitions have their turn."""
SOONEST_MS: Final = 1_000
LATEST_MS: Final = 30_000
"""From the begin of one pass to that of the next under a stream of orders, at least and at most (unless one takes longer):
a short queue obeys soon, a long one costs no more than two passes a minute."""
SHARE: Final = 20
"""Between the two, as many times what the pass before took."""


def next_pass_ms(began_ms: int, ended_ms: int) -> int:
    """Return when the next pass may begin at the earliest, after one from `began_ms` to `ended_ms`."""
    return began_ms + min(max((ended_ms - began_ms) * SHARE, SOONEST_MS), LATEST_MS)
