"""The lane stage: gate → limit → claim → call → verdict → settle, for one sender."""

from __future__ import annotations

from pipeline.stages.lane.lane import Lane
from pipeline.stages.lane.step import Ask, Hold, LaneStep, Outcome

__all__ = ["Ask", "Hold", "Lane", "LaneStep", "Outcome"]
