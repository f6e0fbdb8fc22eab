"""Prometheus metrics of one worker: agents fill them, `/metrics` shows them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from contextlib import suppress

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4 as CONTENT_TYPE

from pipeline.domain.held_by import HeldBy
from pipeline.domain.work import Channel
from pipeline.gauges import DeferredCollector, EntriesCollector, LagCollector, LaneGauges, LanesCollector

__all__ = ["CONTENT_TYPE", "LaneGauges", "Metrics"]

CHANNELS = frozenset(channel.value for channel in Channel)
OTHER_CHANNEL = "other"
"""Label of an unknown channel: a producer's text must not become a label value."""

CALL_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
COMMIT_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)

# Each `_created` series doubles the page and says nothing that a scraper uses.
disable_created_metrics()  # type: ignore[no-untyped-call]


class Metrics:
    """Every metric of one worker process. All methods are cheap and synchronous; durations are seconds."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._add_metrics_of_stages(self.registry)
        self._add_metrics_of_lanes(self.registry)
        self._add_metrics_of_calls(self.registry)
        self._add_metrics_of_orders(self.registry)
        self._add_metrics_of_deliveries(self.registry)
        self._lanes: dict[tuple[str, str], Callable[[], LaneGauges]] = {}
        self._deferred: dict[int, int] = {}
        self.registry.register(LanesCollector(self._lanes))
        self.registry.register(DeferredCollector(self._deferred))
        ProcessCollector(registry=self.registry)

    def _add_metrics_of_stages(self, registry: CollectorRegistry) -> None:
        self._touches = Counter(
            "pipeline_touches",
            "Status records committed by this process.",
            ["channel", "state", "reason"],
            registry=registry,
        )
        self._repeats = Counter(
            "pipeline_repeats_dropped",
            "Touches dropped because they were accepted before.",
            ["channel"],
            registry=registry,
        )
        self._missed = Counter(
            "pipeline_records_missed",
            "Input records that were deleted before they were read.",
            ["topic"],
            registry=registry,
        )
        self._strays = Counter(
            "pipeline_strays",
            "Touches that arrived on another partition than their home and were forwarded.",
            registry=registry,
        )
        self._dead_letters = Counter(
            "pipeline_dead_letters", "Records written to touches.dead-letters.", ["reason"], registry=registry
        )
        self._unknown_members = Counter(
            "pipeline_unknown_members",
            "Members of JSON touches that are not in the schema, ignored.",
            registry=registry,
        )
        self._commit_seconds = Histogram(
            "pipeline_commit_seconds", "Duration of commits.", ["stage"], buckets=COMMIT_SECONDS, registry=registry
        )

    def _add_metrics_of_lanes(self, registry: CollectorRegistry) -> None:
        self._throttled = Counter(
            "pipeline_throttled_seconds",
            "Seconds a lane had work and waited for its limit, warm-up, daily cap or gap.",
            ["channel", "sender"],
            registry=registry,
        )
        self._backlog = Gauge(
            "pipeline_lane_backlog",
            "Touches waiting in the lane, deferred ones not included.",
            ["channel", "sender"],
            registry=registry,
        )
        self._open_claims = Gauge(
            "pipeline_open_claims", "Claims without a settled outcome.", ["channel", "sender"], registry=registry
        )
        self._held = Gauge(
            "pipeline_lane_held",
            "1 while this holds the lane, else 0: window, limit, daily_cap, gap, outage, order.",
            ["channel", "sender", "by"],
            registry=registry,
        )
        self._parked = Gauge(
            "pipeline_parked", "Touches that orders have parked.", ["channel", "sender"], registry=registry
        )

    def _add_metrics_of_orders(self, registry: CollectorRegistry) -> None:
        self._orders_pending = Gauge(
            "pipeline_orders_pending", "Orders that a lane of this process does not obey yet.", registry=registry
        )
        self._order_pending_seconds = Gauge(
            "pipeline_order_pending_seconds", "Age of the oldest of them, in seconds.", registry=registry
        )
        self._suppressed_after_claim = Counter(
            "pipeline_suppressed_after_claim",
            "Touches whose batch was replayed although an entry forbids them.",
            registry=registry,
        )
        self._control_skipped = Counter(
            "pipeline_control_skipped",
            "Records of touches.control and touches.suppressions that cannot be read.",
            ["topic"],
            registry=registry,
        )

    def _add_metrics_of_calls(self, registry: CollectorRegistry) -> None:
        self._calls = Counter(
            "pipeline_calls", "Calls to providers by verdict.", ["channel", "sender", "verdict"], registry=registry
        )
        self._call_seconds = Histogram(
            "pipeline_call_seconds",
            "Duration of calls to providers.",
            ["channel", "sender"],
            buckets=CALL_SECONDS,
            registry=registry,
        )
        self._lookups = Counter(
            "pipeline_lookups",
            "Look-ups of unknown outcomes by their resolution.",
            ["channel", "sender", "resolution"],
            registry=registry,
        )

    def _add_metrics_of_deliveries(self, registry: CollectorRegistry) -> None:
        self._deliveries = Counter(
            "pipeline_deliveries", "Records of touches.deliveries committed.", ["channel", "kind"], registry=registry
        )
        self._facts_dropped = Counter(
            "pipeline_facts_dropped",
            "Facts not told: repeated, or about no message of ours.",
            ["channel", "why"],
            registry=registry,
        )
        self._silent = Gauge(
            "pipeline_silent_touches",
            "Touches sent silent_after ago or more of which no callback has told anything.",
            ["channel"],
            registry=registry,
        )
        self._pending_opt_outs = Gauge(
            "pipeline_pending_opt_outs", "Opt-outs of WhatsApp accounts whose number is not known.", registry=registry
        )
        self._pending_by_partition: dict[int, int] = {}
        self._silent_by_partition: dict[str, dict[int, int]] = {}

    def delivered(self, channel: str, kind: str, count: int = 1) -> None:
        """Count facts that were told."""
        self._deliveries.labels(channel, kind).inc(count)

    def fact_dropped(self, channel: str, why: str, count: int = 1) -> None:
        """Count facts that were not told."""
        self._facts_dropped.labels(channel, why).inc(count)

    def silent(self, partition: int, channel: str, count: int) -> None:
        """Set how many touches of a partition of `touches.callbacks` are silent."""
        counts = self._silent_by_partition.setdefault(channel, {})
        if counts.get(partition) != count:
            counts[partition] = count
            self._silent.labels(channel).set(sum(counts.values()))

    def pending_opt_outs(self, partition: int, count: int) -> None:
        """Set how many opt-outs of a partition of `touches.callbacks` wait for a number."""
        self._pending_by_partition[partition] = count
        self._pending_opt_outs.set(sum(self._pending_by_partition.values()))

    def forget_silent(self, partition: int) -> None:
        """Leave a partition out that another worker owns now."""
        self.pending_opt_outs(partition, 0)
        for channel, counts in self._silent_by_partition.items():
            counts.pop(partition, None)
            self._silent.labels(channel).set(sum(counts.values()))

    def told(self, channel: str, state: str, reason: str | None, count: int = 1) -> None:
        """Count `count` committed status records."""
        self._touches.labels(_channel(channel), state, reason or "").inc(count)

    def throttled(self, channel: str, sender: str, seconds: float) -> None:
        """Add time in which a lane had work and waited for its limit, warm-up, daily cap or gap."""
        self._throttled.labels(channel, sender).inc(seconds)

    def backlog(self, channel: str, sender: str, waiting: int) -> None:
        """Set how many touches wait in the lane."""
        self._backlog.labels(channel, sender).set(waiting)

    def watch_lane(self, channel: str, sender: str, look: Callable[[], LaneGauges]) -> None:
        """Ask `look` at each look, until the lane is forgotten."""
        self._lanes[channel, sender] = look

    def deferred(self, partition: int, count: int) -> None:
        """Set how many touches a partition of `touches.scheduled` keeps."""
        self._deferred[partition] = count

    def forget_deferred(self, partition: int) -> None:
        """Leave a partition out that another worker owns now."""
        self._deferred.pop(partition, None)

    def watch_inputs(self, lag: Callable[[], Mapping[str, int]]) -> None:
        """Ask at each look how many records wait unread, by topic."""
        self.registry.register(LagCollector(lag))

    def called(self, channel: str, sender: str, verdict: str, seconds: float) -> None:
        """Count one call and how long it took; `verdict` is the verdict's class name in lower case."""
        self._calls.labels(channel, sender, verdict).inc()
        self._call_seconds.labels(channel, sender).observe(seconds)

    def looked_up(self, channel: str, sender: str, resolution: str) -> None:
        """Count one look-up of an unknown outcome."""
        self._lookups.labels(channel, sender, resolution).inc()

    def open_claims(self, channel: str, sender: str, count: int) -> None:
        """Set how many claims are open."""
        self._open_claims.labels(channel, sender).set(count)

    def held(self, channel: str, sender: str, by: Collection[HeldBy]) -> None:
        """Set what holds the lane."""
        for each in HeldBy:
            self._held.labels(channel, sender, each.value).set(1 if each in by else 0)

    def parked(self, channel: str, sender: str, count: int) -> None:
        """Set how many touches orders have parked."""
        self._parked.labels(channel, sender).set(count)

    def suppressed_after_claim(self, count: int) -> None:
        """Count touches whose batch is replayed although an entry forbids them."""
        if count:
            self._suppressed_after_claim.inc(count)

    def control_skipped(self, topic: str) -> None:
        """Count a record of orders or entries that cannot be read."""
        self._control_skipped.labels(topic).inc()

    def watch_orders(
        self,
        pending: Callable[[], int],
        oldest_s: Callable[[], float],
        entries: Callable[[], Mapping[tuple[str, str], int]],
    ) -> None:
        """Ask at each look: how many orders are pending, how old the oldest is, how many entries by (scope, reason)."""
        self._orders_pending.set_function(pending)
        self._order_pending_seconds.set_function(oldest_s)
        self.registry.register(EntriesCollector(entries))

    def repeats_dropped(self, channel: str, count: int = 1) -> None:
        """Count touches dropped as repeats."""
        self._repeats.labels(_channel(channel)).inc(count)

    def missed(self, topic: str, count: int) -> None:
        """Count input records that were deleted before they were read."""
        if count:
            self._missed.labels(topic).inc(count)

    def strays(self, count: int) -> None:
        """Count touches that were forwarded to their home partition."""
        self._strays.inc(count)

    def dead_lettered(self, reason: str, count: int = 1) -> None:
        """Count dead letters."""
        self._dead_letters.labels(reason).inc(count)

    def unknown_members(self, count: int) -> None:
        """Count ignored JSON members."""
        self._unknown_members.inc(count)

    def committed(self, stage: str, seconds: float) -> None:
        """Observe one commit."""
        self._commit_seconds.labels(stage).observe(seconds)

    def forget_lane(self, channel: str, sender: str) -> None:
        """Remove the gauges of a lane that another worker owns now; counters stay."""
        self._lanes.pop((channel, sender), None)
        for gauge in (self._backlog, self._open_claims, self._parked):
            with suppress(KeyError):  # it was never set
                gauge.remove(channel, sender)
        for each in HeldBy:
            with suppress(KeyError):
                self._held.remove(channel, sender, each.value)

    def render(self) -> bytes:
        """Return everything in Prometheus' text format."""
        return generate_latest(self.registry)


def _channel(channel: str) -> str:
    return str(channel) if channel in CHANNELS else OTHER_CHANNEL
