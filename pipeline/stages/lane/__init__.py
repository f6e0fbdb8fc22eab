"""The lane stage: one sender at work, from the arrival of a touch to the settlement of its call.

A step settles answers, takes in records, claims calls and asks about unknown outcomes; docs/lifecycle.md draws the life of
a claim.
"""

from __future__ import annotations

from pipeline.stages.lane.lane import Lane
from pipeline.stages.lane.step import Ask, Hold, LaneStep, Outcome

__all__ = ["Ask", "Hold", "Lane", "LaneStep", "Outcome"]
