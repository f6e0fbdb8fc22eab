"""A worker whose background tasks end ends itself, loudly, within seconds."""

from __future__ import annotations

import re

from tests.harness.engine import Road, Workers

BREAKS = [
    "the coordination with the group",
    "the heartbeat",
    "the refresh of group offsets",
    "the fetcher",
    "the consumer's metadata refresh",
    "the take-over of partitions",
    "the agent counter",
    "the loop of ",
    "the metadata refresh of t",
    "drain",
    "thread",
]
WITHIN_S = 90.0


async def test_whichever_background_task_ends_the_worker_ends_with_one_line(kafka, topic_prefix, tmp_path):
    fleets = []
    for number, what in enumerate(BREAKS):
        road = Road(kafka, f"{topic_prefix}{number}.", partitions=1)
        await road.create()
        folder = tmp_path / str(number)
        folder.mkdir()
        fleet = Workers(kafka, road.prefix, folder, breaks=what)
        fleets.append((what, fleet))
        fleet.start(0)
    try:
        for what, fleet in fleets:
            assert fleet.wait(0, WITHIN_S) == 1, f"{what}: {fleet.log(0).read_text()[-2000:]}"
            said = fleet.log(0).read_text().split(f"breaking {what}")[1]
            ends = [line for line in said.splitlines() if "worker ends, to be restarted" in line]
            assert len(ends) == 1, f"{what}: {said}"
            assert "Traceback" not in said, f"{what}: {said}"
            assert re.search(r"has ended|nothing is fetched|does not answer|Event loop stopped", ends[0]), ends[0]
            print(f"{what}: {ends[0]}")
    finally:
        for _, fleet in fleets:
            fleet.kill_all()
