"""The chart of the runs that the benchmark has written, and what the benchmark takes a line to mean."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

import pytest

from bench import plot
from bench.__main__ import parsed
from bench.cost import Cost

if TYPE_CHECKING:
    from pathlib import Path


def run(channel: str, touches: int, worker_us: float, broker_us: float) -> str:
    cost = Cost(
        channel=channel,
        mode="prefilled",
        touches=touches,
        workers=1,
        per_s=900.0,
        worker_us=worker_us,
        broker_us=broker_us,
        provider_us=None,
        mib=140.0,
    )
    return json.dumps(asdict(cost)) + "\n"


def test_two_runs_become_a_line_of_their_channel(tmp_path: Path, monkeypatch, capsys):
    file = tmp_path / "runs"
    file.write_text(run("sms", 20_000, 690.4, 109.5) + run("sms", 1_000, 800.0, 200.0), encoding="utf-8")
    monkeypatch.setattr(sys, "argv", ["bench.plot", str(file)])
    plot.main()
    assert capsys.readouterr().out == (
        "```mermaid\n"
        "xychart-beta\n"
        '  title "CPU of worker and broker, in µs per touch: sms"\n'
        '  x-axis "touches in a run" [1000, 20000]\n'
        '  y-axis "µs" 0 --> 1200\n'
        "  line [1000, 800]\n"
        "```\n"
    )


def test_runs_of_one_number_count_by_their_median_and_a_channel_that_lacks_a_number_is_left_out():
    runs = [run("sms", 1_000, each, 0) for each in (100.0, 900.0, 110.0)] + [run("sms", 2_000, 120.0, 0)]
    drawn = plot.chart("".join([*runs, run("email", 1_000, 50.0, 0)]))
    assert "  line [110, 120]" in drawn
    assert drawn.count("  line ") == 1
    assert "per touch: sms" in drawn


@pytest.mark.parametrize(("line", "entries", "orders"), [("", 0, 0), ("--entries 1000000 --orders 3", 1_000_000, 3)])
def test_entries_and_orders_are_none_unless_the_line_says_how_many(line: str, entries: int, orders: int):
    wanted = parsed(line.split())
    assert (wanted.entries, wanted.orders) == (entries, orders)
