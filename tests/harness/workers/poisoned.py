"""`faust -A pipeline` with a bug planted in each stage: whoever's touch_id names it trips over it."""

from __future__ import annotations

import sys
from typing import Any

from faust.cli.faust import cli

from pipeline.agents import factory
from pipeline.flow import RESULTS
from pipeline.records import decode_scheduled
from pipeline.stages import route, schedule
from pipeline.stages.lane import claim, intake, settle

BUGS = ("route", "take-in", "pick", "claim", "settle", "schedule", "hand-back", "dedup")


def plant(where: Any, name: str, bug: str, touch_id: Any) -> None:
    """Make `where.name` break for a touch whose id says `bug`."""
    whole = getattr(where, name)

    def broken(*given: Any, **more: Any) -> Any:
        if f"bug-{bug}-" in touch_id(*given):
            raise KeyError(f"planted in {name}")
        return whole(*given, **more)

    setattr(where, name, broken)


plant(route, "digest", "route", lambda touch: touch.touch_id)
plant(intake, "line_up", "take-in", lambda _, work, __: work.touch_id)
plant(claim.Pick, "add", "pick", lambda _, waiting, __: waiting.work.touch_id)
plant(claim, "_claim_id", "claim", lambda work, _: work.touch_id)
plant(settle, "_sent", "settle", lambda claim, _: claim.works[0].touch_id)
plant(schedule.Scheduler, "_take_in", "schedule", lambda _, record, *__: decode_scheduled(record.value).touch_id)
plant(schedule, "Output", "hand-back", lambda topic, _, key, *__: "" if topic == RESULTS else key.decode())
plant(factory, "status_value", "dedup", lambda _, event, __: event.touch_id if event.metadata else "")

if __name__ == "__main__":
    sys.argv[0] = "faust"
    cli()
