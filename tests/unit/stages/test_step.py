"""How long arrivals wait for each other."""

from __future__ import annotations

from pipeline.engine.inbox import INBOX_RECORDS
from pipeline.stages.step import LARGE_STEP, rest_ms


def steps_of_a_second(per_s, most_ms):
    """Return of how many records each step is, if records arrive evenly, a commit takes 5 ms, and a full inbox ends a rest."""
    steps, at_ms, seen = [], 0.0, 0
    while at_ms < 1_000:
        arrived = int(at_ms * per_s / 1_000) - seen
        if not arrived:
            at_ms += 1
            continue
        seen += arrived
        steps.append(arrived)
        at_ms += max(5, min(rest_ms(arrived, most_ms), INBOX_RECORDS * 1_000 / per_s))
    return steps


def test_a_stream_shares_transactions():
    assert len(steps_of_a_second(125, 100)) < 15
    assert len(steps_of_a_second(125, 250)) < 10
    assert len(steps_of_a_second(250, 250)) < 10
    assert len(steps_of_a_second(250, 500)) < 8


def test_what_comes_seldom_waits_for_nobody():
    steps = steps_of_a_second(20, 500)
    assert len(steps) == 19
    assert set(steps) == {1}


def test_a_crowd_is_not_slowed_down():
    assert rest_ms(LARGE_STEP, 500) == 0
    assert sum(steps_of_a_second(20_000, 500)) > 19_000
