"""Gauges that are read where they are kept, at the moment in which somebody looks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector


class LaneGauges(NamedTuple):
    """The gauges of a lane that are asked for at each look."""

    oldest_due_s: float
    """How long ago the touch that has waited longest became due; 0: none waits."""
    last_sent_s: float
    """When a provider last accepted a message, epoch seconds; 0: never."""
    is_open: bool
    """Whether the window is open."""


class LanesCollector(Collector):
    """The gauges of the lanes of this process, each read where it is kept."""

    def __init__(self, looks: Mapping[tuple[str, str], Callable[[], LaneGauges]]) -> None:
        self._looks = looks

    def collect(self) -> Iterable[Metric]:
        """Yield the metrics as they are now."""
        labels = ["channel", "sender"]
        oldest = GaugeMetricFamily(
            "pipeline_oldest_due_seconds",
            "Age of the touch of the lane that has been due for longest; 0 if none waits.",
            labels=labels,
        )
        last = GaugeMetricFamily(
            "pipeline_last_sent_timestamp_seconds",
            "When a provider last accepted a message of the lane; 0: never.",
            labels=labels,
        )
        window = GaugeMetricFamily(
            "pipeline_window_open", "1 while the window of the lane is open, else 0.", labels=labels
        )
        for lane, look in sorted(self._looks.items()):
            seen = look()
            oldest.add_metric(lane, seen.oldest_due_s)
            last.add_metric(lane, seen.last_sent_s)
            window.add_metric(lane, float(seen.is_open))
        return (oldest, last, window)


class LagCollector(Collector):
    """The records that wait unread in the topics of this process."""

    def __init__(self, lag: Callable[[], Mapping[str, int]]) -> None:
        self._lag = lag

    def collect(self) -> Iterable[Metric]:
        """Yield the metric as it is now."""
        gauge = GaugeMetricFamily(
            "pipeline_input_lag_records",
            "Records that wait unread in the partitions of this process.",
            labels=["topic"],
        )
        for topic, count in sorted(self._lag().items()):
            gauge.add_metric([topic], count)
        return (gauge,)


class DeferredCollector(Collector):
    """The touches that the schedulers of this process keep."""

    def __init__(self, counts: Mapping[int, int]) -> None:
        self._counts = counts

    def collect(self) -> Iterable[Metric]:
        """Yield the metric as it is now."""
        return (
            GaugeMetricFamily(
                "pipeline_deferred", "Deferred touches that this process keeps.", value=sum(self._counts.values())
            ),
        )


class EntriesCollector(Collector):
    """The entries by scope and reason, counted where they are kept."""

    def __init__(self, count: Callable[[], Mapping[tuple[str, str], int]]) -> None:
        self._count = count

    def collect(self) -> Iterable[Metric]:
        """Yield the metric as it is now."""
        gauge = GaugeMetricFamily(
            "pipeline_suppressions", "Suppressions that this process knows.", labels=["scope", "reason"]
        )
        for labels, count in sorted(self._count().items()):
            gauge.add_metric(labels, count)
        yield gauge
