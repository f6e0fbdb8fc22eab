"""The records that a lane produces: events, work for the scheduler, unconfirmed touches."""

from __future__ import annotations

from pipeline.domain.unconfirmed import Unconfirmed
from pipeline.domain.value import replace
from pipeline.domain.work import Claim, Scheduled, Work
from pipeline.flow import RESULTS, SCHEDULED, UNCONFIRMED
from pipeline.records import encode_scheduled, encode_unconfirmed, encode_work
from pipeline.stage_io import Output, Overlay
from pipeline.stages.lane import table
from pipeline.stages.lane.index import LaneConfig


def results(view: Overlay, work: Work, event: bytes) -> list[Output]:
    """Return an encoded event for every partition of `touches.results` that asked for `work`."""
    return [result(origin, work, event) for origin in table.origins_of(table.memory_of(view, work), work)]


def result(origin: int, work: Work, event: bytes) -> Output:
    """Return an encoded event of `work` for partition `origin` of `touches.results`."""
    return Output(RESULTS, origin, work.touch_id.encode(), event)


def scheduled(config: LaneConfig, work: Work, at_ms: int) -> Output:
    """Return `work` for the scheduler, which hands it back to this lane at `at_ms`."""
    value = encode_work(replace(work, returns=work.returns + 1))
    record = Scheduled(at_ms, work.channel, config.lane, work.touch_id, value)
    return Output(SCHEDULED, work.origin, work.touch_id.encode(), encode_scheduled(record))


def unconfirmed(config: LaneConfig, work: Work, claim: Claim, error: str, now_ms: int) -> Output:
    """Return what is needed to find out later what became of `work` of `claim`."""
    # A replay may send, so it is not made later: the bytes of a whole batch need not be in each touch's record.
    request = replace(claim.request, body=b"") if config.replays else claim.request
    record = Unconfirmed(replace(claim, works=(work,), request=request), now_ms, error)
    return Output(UNCONFIRMED, work.origin, work.touch_id.encode(), encode_unconfirmed(record))
