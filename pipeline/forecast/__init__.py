"""When will the backlog be done? Runs the lanes' own stage ahead of time. Pure: no I/O, no clock."""

from __future__ import annotations

from pipeline.forecast.backlog import Backlog, LaneRows
from pipeline.forecast.outlook import CampaignOutlook, Forecast, LaneOutlook, per_bucket
from pipeline.forecast.rehearsal import AT_MOST_MS, Rehearsal, forecast

__all__ = [
    "AT_MOST_MS",
    "Backlog",
    "CampaignOutlook",
    "Forecast",
    "LaneOutlook",
    "LaneRows",
    "Rehearsal",
    "forecast",
    "per_bucket",
]
