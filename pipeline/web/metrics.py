"""Prometheus metrics of one web process."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, disable_created_metrics, generate_latest

if TYPE_CHECKING:
    from pipeline.lookup.queries import LookupCopy

disable_created_metrics()  # type: ignore[no-untyped-call]


class CallbackResult(StrEnum):
    """What became of a callback at a path that is on."""

    TAKEN = "taken"
    IGNORED = "ignored"
    """Authentic, and nothing to tell."""
    REFUSED = "refused"
    """Not authentic, not readable, too large or too slow."""
    UNAVAILABLE = "unavailable"
    """Kafka did not take it in time."""


class WebMetrics:
    """Every metric of one web process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._callbacks = Counter(
            "pipeline_callbacks",
            "Callbacks by result: taken, ignored (nothing to tell), refused, unavailable (Kafka did not take it).",
            ["provider", "result"],
            registry=self.registry,
        )
        self._last_callback = Gauge(
            "pipeline_last_callback_timestamp_seconds",
            "When the last authentic callback of a sender arrived, epoch seconds.",
            ["provider", "sender"],
            registry=self.registry,
        )

        self._requests = Counter(
            "pipeline_requests",
            "Requests by door and status of the answer.",
            ["door", "status"],
            registry=self.registry,
        )

    def watch_copy(self, copy: LookupCopy) -> None:
        """Tell how far the look-up copy is behind, whenever somebody asks."""
        records = Gauge("pipeline_copy_lag_records", "Records not in the look-up copy yet.", registry=self.registry)
        records.set_function(lambda: copy.lag_records)
        seconds = Gauge("pipeline_copy_lag_seconds", "Age of the look-up copy.", registry=self.registry)
        seconds.set_function(lambda: copy.lag_s)

    def request(self, door: str, status: int) -> None:
        """Count a request: `door` is console, api or public."""
        self._requests.labels(door, str(status)).inc()

    def callback(self, provider: str, result: CallbackResult) -> None:
        """Count one callback."""
        self._callbacks.labels(provider, result.value).inc()

    def heard_from(self, provider: str, sender: str, now_ms: int) -> None:
        """Note that an authentic callback arrived."""
        self._last_callback.labels(provider, sender).set(now_ms / 1000)

    def render(self) -> bytes:
        """Return everything in Prometheus' text format."""
        return generate_latest(self.registry)
