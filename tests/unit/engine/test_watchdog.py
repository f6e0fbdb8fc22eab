"""What the watchdog takes for a standstill, and what it waits for."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from pipeline.engine.producer import TRANSACTION_TIMEOUT_S
from pipeline.engine.watchdog import COMMIT_LIMIT_S, REBALANCE_LIMIT_S, SILENT_LOOKS, TASK_LOOKS, Watchdog

NOW = 1_000.0


def application(**more):
    alone = SimpleNamespace(topic="touches", number=3, committing_since=None)
    return SimpleNamespace(
        **{
            "rebalancing": False,
            "ownership": SimpleNamespace(partitions=lambda: {0: alone}, is_ready=True),
            "partition": alone,
            "ended_tasks": lambda: (),
            "is_thread_responsive": lambda: True,
            "fetches": 0,
            **more,
        }
    )


def looks(app, times, *, every_s=1.0, fetching=True):
    """Look `times` in a row, and return the first cause and the number of the look."""
    watchdog = Watchdog(app)
    for look in range(times):
        app.fetches += fetching
        if (cause := watchdog.look(NOW + look * every_s)) is not None:
            return cause, look
    return None, times


def test_a_commit_that_outlasts_the_brokers_patience_ends_the_worker():
    app = application()
    app.partition.committing_since = NOW
    assert looks(app, 200) == ("a commit of touches[3] takes 90 s", COMMIT_LIMIT_S + 1)
    assert COMMIT_LIMIT_S > TRANSACTION_TIMEOUT_S, "by then the broker has aborted it: it cannot be committed after all"


@pytest.mark.parametrize("seconds", [0, 1, TRANSACTION_TIMEOUT_S, COMMIT_LIMIT_S])
def test_a_commit_that_takes_its_time_ends_nobody(seconds):
    app = application()
    app.partition.committing_since = NOW - seconds
    assert looks(app, 1) == (None, 1)


def test_a_rebalance_that_never_ends_ends_the_worker_and_the_next_one_has_its_own_time():
    app = application(rebalancing=True)
    assert looks(app, 300) == ("rebalancing for 180 s", REBALANCE_LIMIT_S + 1)
    watchdog = Watchdog(app)
    for since in range(0, 1_000, 100):
        app.rebalancing, app.fetches = True, app.fetches + 1
        assert watchdog.look(NOW + since) is None
        app.rebalancing, app.fetches = False, app.fetches + 1
        assert watchdog.look(NOW + since + 50) is None


def test_an_ended_task_ends_the_worker_once_it_is_certain():
    assert looks(application(ended_tasks=lambda: ("the heartbeat",)), 50) == ("the heartbeat has ended", TASK_LOOKS - 1)


def test_an_ended_task_shows_at_once_before_it_ends_the_worker():
    watchdog = Watchdog(application(ended_tasks=lambda: ("the heartbeat", "the fetcher")))
    assert watchdog.look(NOW) is None
    assert watchdog.ended_task() == "the heartbeat has ended"
    assert Watchdog(application()).ended_task() is None


def test_silence_ends_the_worker_whichever_thread_is_silent():
    assert looks(application(), 50, fetching=False)[0] == "nothing is fetched"
    assert looks(application(is_thread_responsive=lambda: False), 50) == (
        "the consumer's thread does not answer",
        SILENT_LOOKS - 1,
    )


def test_time_that_passes_while_the_process_is_frozen_is_no_silence():
    assert looks(application(), SILENT_LOOKS - 1, every_s=3_600, fetching=False) == (None, SILENT_LOOKS - 1)
