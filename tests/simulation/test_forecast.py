"""The forecast held against what then happens, on the whole road in simulated time."""

from __future__ import annotations

import logging

import pytest

from tests.harness.mixed_backlog import live

FORESEE_AT_S = 20.0
MOST = 0.05


@pytest.mark.parametrize("seed", range(8))
def test_every_lane_and_campaign_of_a_mixed_backlog_is_done_when_foreseen(
    seed: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    lived = live(seed, FORESEE_AT_S)
    now_ms = lived.foreseen.now_ms
    found = {
        f"{lane.channel} {lane.sender}": (lane.done_ms, lived.lanes[lane.channel, lane.sender])
        for lane in lived.foreseen.lanes
    }
    found |= {
        campaign.name: (campaign.done_ms, lived.campaigns[campaign.name]) for campaign in lived.foreseen.campaigns
    }
    assert len(found) == 9, "five lanes, four campaigns"
    off = {name: abs(foreseen_ms - done_ms) / (done_ms - now_ms) for name, (foreseen_ms, done_ms) in found.items()}
    print(
        f"seed {seed}: {lived.foreseen.left} touches, done within {max(done for _, done in found.values()) - now_ms:,} ms,"
        f" the worst is off by {max(off.values()):.2%}: {max(off, key=lambda name: off[name])}"
    )
    assert {name: share for name, share in off.items() if share > MOST} == {}
