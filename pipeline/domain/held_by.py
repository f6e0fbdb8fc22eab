"""What can hold a lane: the words of `pipeline_lane_held`."""

from __future__ import annotations

from enum import StrEnum


class HeldBy(StrEnum):
    """Why a lane makes no call now."""

    WINDOW = "window"
    LIMIT = "limit"
    """The limit or the warm-up."""
    DAILY_CAP = "daily_cap"
    GAP = "gap"
    OUTAGE = "outage"
    ORDER = "order"
