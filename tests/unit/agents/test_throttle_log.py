"""What holds a lane back is seen: in the log once a minute, in the metric as it happens; and nothing when nothing does."""

from __future__ import annotations

import asyncio
import logging
import time

import pytest

from pipeline.agents import lane as lane_module
from pipeline.agents.control import Forces, Orders, SkippedRecords
from pipeline.agents.lane import LaneAgent
from pipeline.agents.throttle_log import ThrottleLog
from pipeline.domain.limit import Gap, Limit, WarmUp, WarmUpStep
from pipeline.domain.sender_policy import SenderPolicy
from pipeline.domain.verdict import Paused, Sent
from pipeline.domain.window import RECIPIENT, Window
from pipeline.metrics import Metrics
from pipeline.records import encode_work
from pipeline.stage_io import MemoryTable, Record
from pipeline.stages.lane import Hold, Lane
from tests.harness.lane_rig import T0, Rig, build, policy, work
from tests.harness.ordered import Ordered

LIMIT, CLOSED = Hold("30 per 1m", 0), Hold("closed window", 0, is_limit=False)
SLOW = Limit(1, 60_000)


def hold_of(answer=None, *, now_ms=T0, **more):
    """Return what a lane of two touches says after the first is answered."""
    rig = Rig(policy(in_flight=1, **more), now_ms=now_ms)
    rig.step(work("a"), work("b"))
    if rig.calls:
        rig.answer(answer or Sent(("i",)), took_ms=0)
        rig.step()
    return rig.last.hold and rig.last.hold.why, rig.last.held_back


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"limit": Limit(30, 60_000)}, "30 per 1m"),
        ({"limit": Limit(30, 60_000), "warm_up": WarmUp((WarmUpStep(SLOW, 10_000_000),))}, "warm-up, 1 per 1m"),
        ({"senders": (SenderPolicy("default", 0, daily_cap=1),)}, "daily cap of 1"),
        ({"gap": Gap(1_000, 1_000)}, "gap"),
        ({"limit": SLOW, "gap": Gap(90_000, 90_000)}, "gap"),
        ({"answer": Paused("429", "slow", retry_after_s=40)}, "Retry-After of the provider (429)"),
        ({"answer": Paused("connection", "refused")}, None),
        ({}, None),
    ],
    ids=["limit", "warm-up", "cap", "gap", "the-longest", "retry-after", "outage", "nothing"],
)
def test_a_lane_says_what_holds_it(more, why):
    assert hold_of(**more) == (why, {"Retry-After of the provider (429)": 2, None: 0}.get(why, 1))


def test_a_closed_window_holds_those_that_were_turned_away_until_it_opens():
    rig = Rig(policy(window=Window(9 * 3600, 20 * 3600, "UTC")), now_ms=T0 - T0 % 86_400_000)
    rig.step(work("a"), work("b"))
    assert (rig.last.hold.why, rig.last.held_back, rig.last.hold.is_limit) == ("closed window", 2, False)
    rig.now_ms += 9 * 3_600_000
    assert rig.step().hold is None


def test_with_several_clocks_the_earliest_opening_ends_it():
    window = Window(9 * 3600, 20 * 3600, RECIPIENT, "UTC")
    rig = Rig(policy(window=window), now_ms=T0 - T0 % 86_400_000)
    rig.step(work("a", time_zone="Etc/GMT+2"), work("b", time_zone="UTC"), work("c", time_zone="Etc/GMT+1"))
    assert (rig.last.hold.until_ms, rig.last.held_back) == (rig.now_ms + 9 * 3_600_000, 3)


def test_it_is_told_once_a_minute_with_each_cause_and_how_long():
    account = ThrottleLog()
    assert account.note(LIMIT, 1_000) == 0
    assert account.note(None, 3_000) == 2_000
    assert account.note(CLOSED, 4_000) == 0
    assert account.note(CLOSED, 40_000) == 0, "not a limit"
    assert account.report(60_999) is None
    account.note(None, 61_000)
    assert account.report(61_000) == "held back for 59.0 s of 60.0 s: closed window (57.0 s), 30 per 1m (2.0 s)"
    assert (account.is_open, account.report(200_000)) == (False, None)


def test_while_it_lasts_the_next_minute_begins_at_once():
    account = ThrottleLog()
    account.note(LIMIT, 0)
    assert account.limited_ms(60_000) == 60_000
    assert account.report(60_000) is not None
    assert account.report(119_999) is None
    account.limited_ms(120_000)
    assert account.report(120_000) == "held back for 60.0 s of 60.0 s: 30 per 1m (60.0 s)"


class _Here:
    replays = False

    async def call(self, claim, may_begin):
        assert may_begin()
        return Sent(("i",))


class AgentRig:
    def __init__(self, **more):
        self.now_ms, self.metrics, self.table = T0, Metrics(), MemoryTable()
        lane = Lane(policy(**more), 0, build, replays=False, by_text=False, dedup_for_ms=10**10)
        self.agent = LaneAgent(
            lane,
            _Here(),
            channel="sms",
            name="main",
            now_ms=lambda: self.now_ms,
            monotonic_ms=lambda: self.now_ms,
            draw=lambda: 0.5,
            drain_s=1.0,
            metrics=self.metrics,
            control=Ordered(),
            forces=Forces(Orders(SkippedRecords(print, lambda: 0), lambda: 0, 0), lambda: 0),
        )
        self.agent.open(self.table, self.now_ms, lambda: None)

    async def step(self, *works):
        step = self.agent.step(
            [Record("touches.sms", 0, 0, T0, b"", encode_work(each)) for each in works], self.table, self.now_ms
        )
        self.table.apply(step.changes)
        self.agent.committed(step)
        await asyncio.sleep(0.005)

    @property
    def throttled_s(self):
        value = self.metrics.registry.get_sample_value(
            "pipeline_throttled_seconds_total", {"channel": "sms", "sender": "main"}
        )
        return value or 0


@pytest.fixture
def told(caplog):
    caplog.set_level(logging.INFO, logger="pipeline.agents.lane")
    return lambda: [r.getMessage() for r in caplog.records if "held back" in r.getMessage()]


async def test_a_lane_that_is_held_is_told_and_counted_though_nothing_arrives(told, monkeypatch):
    monkeypatch.setattr(lane_module, "ACCOUNT_S", 0.005)
    rig = AgentRig(limit=SLOW)
    await rig.step(work("a"), work("b"), work("c"))
    rig.now_ms += 61_000
    deadline = time.monotonic() + 10
    while not told() and time.monotonic() < deadline:
        await asyncio.sleep(0.005)
    await rig.agent.close()
    assert told() == ["sms lane of main was held back for 61.0 s of 61.0 s: 1 per 1m (61.0 s); 2 wait"]
    assert rig.throttled_s == 61


async def test_a_lane_that_is_not_held_says_nothing(told, monkeypatch):
    monkeypatch.setattr(lane_module, "ACCOUNT_S", 0.001)
    rig = AgentRig()
    for n in range(5):
        await rig.step(work(f"t{n}"))
        rig.now_ms += 61_000
    await rig.agent.close()
    assert (told(), rig.throttled_s) == ([], 0)
