"""What the demo shows, checked one by one: each finding is seen in the statuses, the dead letters or the metrics."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeVar

import httpx
from prometheus_client.parser import text_string_to_metric_families
from rich.table import Table

from pipeline.console.status.view import epoch_ms
from pipeline.lab.demo.tally import CHANNELS, NO_CHANNEL

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any

    from pipeline.lab.demo.tally import Tally

T = TypeVar("T")
NUMBERED = ("whatsapp", "sms")
COLUMNS = ("sent", "deferred", "failed", "expired", "unconfirmed", "suppressed")


@dataclass(frozen=True, slots=True)
class DemoFinding:
    """One thing the demo is to show."""

    what: str
    proof: str
    """Empty: it was not seen."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What the worker's /metrics say, by channel."""

    throttled_s: Mapping[str, float]
    repeats: Mapping[str, float]


def measure(web: str) -> Measured:
    """Read the worker's metrics."""
    throttled: Counter[str] = Counter()
    repeats: Counter[str] = Counter()
    for family in text_string_to_metric_families(httpx.get(f"{web}/metrics").text):
        for sample in family.samples:
            if sample.name == "pipeline_throttled_seconds_total":
                throttled[sample.labels["channel"]] += sample.value  # type: ignore[assignment]
            elif sample.name == "pipeline_repeats_dropped_total":
                repeats[sample.labels["channel"]] += sample.value  # type: ignore[assignment]
    return Measured(throttled, repeats)


def table_of(tally: Tally, measured: Measured, accepted: Mapping[str, int]) -> Table:
    """Return the table per channel."""
    table = Table("channel", *COLUMNS, "dead letters", "repeats dropped", "sandbox accepted")
    states, dead = tally.states(), tally.dead_by_channel()
    for channel in (*CHANNELS, NO_CHANNEL):
        counts = [states[channel, state] for state in COLUMNS]
        repeats = int(measured.repeats.get(channel, 0))
        row = [*counts, dead[channel], repeats, accepted.get(channel, 0)]
        if channel != NO_CHANNEL or any(row):
            table.add_row(channel, *(str(number) for number in row))
    return table


def why_not(tally: Tally) -> str:
    """Return how many touches are in which other state, and why."""
    counts = Counter((told["state"], told["reason"]) for told in tally.last() if told["state"] != "sent")
    return ", ".join(f"{count} {state} ({reason})" for (state, reason), count in sorted(counts.items()))


def findings(tally: Tally, measured: Measured) -> list[DemoFinding]:
    """Return everything the demo is to show, with its proof."""
    states = tally.states()
    sent = [f"{states[channel, 'sent']} by {channel}" for channel in CHANNELS if states[channel, "sent"]]
    throttled = [f"{channel} {seconds:.1f} s" for channel, seconds in measured.throttled_s.items() if seconds > 0]
    repeats = sum(measured.repeats.values())
    return [
        DemoFinding("a send on each channel", ", ".join(sent) if len(sent) == len(CHANNELS) else ""),
        DemoFinding(
            "a failure that is retried", _first(sorted(tally.stories.values(), key=len, reverse=True), _retried)
        ),
        DemoFinding("throttling: time the limits held touches back", ", ".join(throttled)),
        DemoFinding(
            "outside its window: deferred to the next opening", _first(tally.told("deferred", "window"), _deferred)
        ),
        DemoFinding("a repeat is dropped", f"{repeats:.0f} dropped" if repeats else ""),
        DemoFinding("a bad number is refused", _first(tally.told("failed", "invalid"), _refused)),
        DemoFinding("garbage is put aside as dead letters", _first(tally.dead_letters, _undecodable)),
        DemoFinding("the same touch_id with other content is refused", _first(tally.dead_letters, _conflict)),
    ]


def _first(many: Iterable[T], proof: Callable[[T], str]) -> str:
    return next((found for each in many if (found := proof(each))), "")


def _retried(story: list[Mapping[str, Any]]) -> str:
    states = [told["state"] for told in story]
    if "retrying" not in states or states[-1] != "sent":
        return ""
    why = next(told for told in story if told["state"] == "retrying")
    return f"{why['touch_id']}: {' → '.join(states)} ({why['reason']}, {why['error_code']})"


def _deferred(told: Mapping[str, Any]) -> str:
    at = datetime.fromtimestamp(epoch_ms(told["next_attempt_at"]) / 1000, UTC)
    return f"{told['touch_id']}: {told['channel']} again at {at:%Y-%m-%d %H:%M} UTC"


def _refused(told: Mapping[str, Any]) -> str:
    is_number = told["channel"] in NUMBERED and "number" in (told["error"] or "")
    return f"{told['touch_id']}: {told['error']}" if is_number else ""


def _undecodable(letter: Mapping[str, Any]) -> str:
    return f"{letter['value'][:20]!r}: {letter['error']}" if letter["reason"] == "undecodable" else ""


def _conflict(letter: Mapping[str, Any]) -> str:
    return f"{letter['touch_id']}: {letter['error']}" if letter["reason"] == "conflict" else ""
