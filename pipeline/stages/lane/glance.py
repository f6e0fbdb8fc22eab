"""What a lane shows when somebody looks: read from its table at that moment, so that nothing is counted per touch."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

from pipeline.domain.hours import gate
from pipeline.domain.window import Open
from pipeline.domain.work import Work
from pipeline.stage_io import Table
from pipeline.stages.lane.gate import first_open_ms_of
from pipeline.stages.lane.index import LaneConfig, LaneIndex
from pipeline.stages.lane.table import END, WAITING, decode_waiting

LOOKED_AT = 4
"""Touches looked at per priority and turn: the first is the oldest, unless it was put back."""
PRIORITIES = 10


class Glance(NamedTuple):
    """A lane at one moment. Instants are epoch milliseconds."""

    oldest_due_ms: int | None
    """Since when the touch that has waited longest has been due; None: none waits."""
    is_open: bool
    """Whether window and calendar of the touch whose turn it is are open; without one, those of the lane."""
    last_sent_ms: int | None
    """When a provider last accepted a message; None: never."""


def glance(config: LaneConfig, index: LaneIndex, committed: Table, now_ms: int) -> Glance:
    """Return what the lane shows at `now_ms`."""
    works = list(_first(index, committed)) if index.state.waiting else []
    dues = [due for each in works if (due := due_ms(config, each)) is not None and due <= now_ms]
    zone, to = (works[0].time_zone, works[0].to) if works else (None, "")
    hours = gate(config.policy.window, config.policy.calendar, zone, to, now_ms)
    return Glance(min(dues, default=None), isinstance(hours, Open), index.state.last_success_ms or None)


def due_ms(config: LaneConfig, work: Work) -> int | None:
    """Return since when `work` might have gone: accepted, past `not_before` and its last refusal, its window open.

    Orders, limits and outages make no difference. None: it is not known (accepted by an older version).
    """
    refused_ms = work.last_call_ms if work.refusals else None
    first_ms = max(work.accepted_ms, work.not_before_ms or 0, refused_ms or 0)
    return first_open_ms_of(config.policy, work, first_ms) if work.accepted_ms else None


def _first(index: LaneIndex, committed: Table) -> Iterator[Work]:
    """Yield the touches among which the oldest one is.

    Within a priority, a campaign's oldest touch has the turn served last or the next one, and within a turn the order
    is that of arrival.
    """
    for priority in range(PRIORITIES):
        prefix = WAITING + bytes((priority,))
        turn = index.state.served.get(str(priority), 0)
        start = max(index.head, prefix + turn.to_bytes(8, "big"))
        behind = prefix + (turn + 1).to_bytes(8, "big")
        for begin in (start, behind) if start < behind else (start,):
            for _, value in islice(committed.scan(begin, prefix + END), LOOKED_AT):
                yield decode_waiting(value)
