"""Metrics have the names and labels the contract gives them."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from pipeline.domain.held_by import HeldBy
from pipeline.domain.story import Reason, State
from pipeline.metrics import LaneGauges, Metrics


def samples(metrics: Metrics) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(metrics.render().decode())
        for sample in family.samples
    }


def of(name: str, **labels: str) -> tuple[str, frozenset[tuple[str, str]]]:
    return name, frozenset(labels.items())


def test_the_metrics_of_the_contract_have_its_names_and_labels():
    metrics = Metrics()
    metrics.told("sms", "failed", "invalid", 2)
    metrics.throttled("sms", "main", 1.5)
    metrics.backlog("sms", "main", 7)
    metrics.called("sms", "main", "sent", 0.2)
    found = samples(metrics)
    assert found[of("pipeline_touches_total", channel="sms", state="failed", reason="invalid")] == 2
    assert found[of("pipeline_throttled_seconds_total", channel="sms", sender="main")] == 1.5
    assert found[of("pipeline_lane_backlog", channel="sms", sender="main")] == 7
    assert found[of("pipeline_calls_total", channel="sms", sender="main", verdict="sent")] == 1
    assert found[of("pipeline_call_seconds_count", channel="sms", sender="main")] == 1
    assert found[of("pipeline_call_seconds_bucket", channel="sms", sender="main", le="0.25")] == 1


def test_events_are_counted_and_no_reason_is_empty():
    metrics = Metrics()
    metrics.told("email", State.ACCEPTED, None, 2)
    metrics.told("email", State.EXPIRED, Reason.EXPIRES_AT)
    found = samples(metrics)
    assert found[of("pipeline_touches_total", channel="email", state="accepted", reason="")] == 2
    assert found[of("pipeline_touches_total", channel="email", state="expired", reason="expires_at")] == 1


def test_a_channel_that_strangers_made_up_is_no_label_of_its_own():
    metrics = Metrics()
    metrics.told("fax-1", "failed", "invalid")
    metrics.told("fax-2", "failed", "invalid")
    assert samples(metrics)[of("pipeline_touches_total", channel="other", state="failed", reason="invalid")] == 2


def test_a_lane_that_went_leaves_no_gauge_behind_and_keeps_its_counters():
    metrics = Metrics()
    metrics.backlog("sms", "main", 7)
    metrics.throttled("sms", "main", 1)
    metrics.forget_lane("sms", "main")
    assert set(samples(metrics)) >= {of("pipeline_throttled_seconds_total", channel="sms", sender="main")}
    assert of("pipeline_lane_backlog", channel="sms", sender="main") not in samples(metrics)


def test_every_other_metric_is_rendered():
    metrics = Metrics()
    metrics.looked_up("sms", "main", "absent")
    metrics.open_claims("sms", "main", 1)
    metrics.held("sms", "main", {HeldBy.OUTAGE, HeldBy.ORDER})
    metrics.parked("sms", "main", 12)
    metrics.suppressed_after_claim(2)
    metrics.control_skipped("touches.control")
    metrics.watch_orders(lambda: 3, lambda: 4.5, lambda: {("phone", "opt_out"): 6})
    metrics.repeats_dropped("sms", 3)
    metrics.dead_lettered("undecodable")
    metrics.unknown_members(4)
    metrics.committed("route", 0.003)
    found = samples(metrics)
    held = {by: found[of("pipeline_lane_held", channel="sms", sender="main", by=by)] for by in HeldBy}
    assert {by for by, value in held.items() if value == 1} == {"outage", "order"}
    assert found[of("pipeline_parked", channel="sms", sender="main")] == 12
    assert found[of("pipeline_suppressed_after_claim_total")] == 2
    assert found[of("pipeline_control_skipped_total", topic="touches.control")] == 1
    assert found[of("pipeline_orders_pending")] == 3
    assert found[of("pipeline_order_pending_seconds")] == 4.5
    assert found[of("pipeline_suppressions", scope="phone", reason="opt_out")] == 6
    assert found[of("pipeline_repeats_dropped_total", channel="sms")] == 3
    assert found[of("pipeline_dead_letters_total", reason="undecodable")] == 1
    assert found[of("pipeline_commit_seconds_count", stage="route")] == 1
    assert not [name for name, _ in found if name.endswith("_created")]


def test_a_lane_is_looked_at_with_each_scrape_until_it_is_forgotten():
    metrics, looks = Metrics(), []

    def look():
        looks.append(1)
        return LaneGauges(oldest_due_s=len(looks), last_sent_s=7.5, is_open=True)

    metrics.watch_lane("sms", "main", look)
    assert not looks
    for seconds in (1, 2):
        found = samples(metrics)
        assert found[of("pipeline_oldest_due_seconds", channel="sms", sender="main")] == seconds
        assert found[of("pipeline_last_sent_timestamp_seconds", channel="sms", sender="main")] == 7.5
        assert found[of("pipeline_window_open", channel="sms", sender="main")] == 1
    metrics.forget_lane("sms", "main")
    assert not [name for name, labels in samples(metrics) if labels]


def test_deferred_touches_are_those_of_the_partitions_that_this_process_has():
    metrics = Metrics()
    assert samples(metrics)[of("pipeline_deferred")] == 0
    metrics.deferred(0, 5)
    metrics.deferred(1, 7)
    metrics.deferred(0, 6)
    assert samples(metrics)[of("pipeline_deferred")] == 13
    metrics.forget_deferred(1)
    assert samples(metrics)[of("pipeline_deferred")] == 6
