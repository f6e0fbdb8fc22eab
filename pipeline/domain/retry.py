"""Back-off after a refusal: doubling and jitter are separate functions, so that each can be proved."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Retry:
    """Back-off of one channel: the first wait at most `first_ms`, doubled each time, never over `most_ms`."""

    first_ms: int = 2_000
    most_ms: int = 900_000


def backoff_bounds_ms(retry: Retry, refusals: int) -> tuple[int, int]:
    """Return the shortest and longest wait in milliseconds after the `refusals`-th refusal (1 is the first).

    Full jitter (AWS Architecture Blog, "Exponential Backoff And Jitter"): anything from nothing to the doubled value,
    so that touches refused together do not come back together.
    """
    doublings = max(refusals - 1, 0)
    if doublings >= retry.most_ms.bit_length():  # 2**doublings alone is beyond the cap: spare the big number
        return 0, retry.most_ms
    return 0, min(retry.most_ms, retry.first_ms << doublings)


def backoff_ms(retry: Retry, refusals: int, draw: float) -> int:
    """Return the wait in milliseconds after the `refusals`-th refusal; `draw` is uniform in [0, 1)."""
    low, high = backoff_bounds_ms(retry, refusals)
    return min(high, low + int(draw * (high - low + 1)))
