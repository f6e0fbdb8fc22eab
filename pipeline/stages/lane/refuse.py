"""What trips a bug in a lane is put aside: a record, a touch in line, a claim, an answer. Its touch, if known, ends."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial

from pipeline.domain.story import Reason, State
from pipeline.domain.verdict import Rejected, Sent, Unknown
from pipeline.domain.work import Claim, Work
from pipeline.flow import channel_topic
from pipeline.records import decode_work, encode_claim
from pipeline.stage_io import Record
from pipeline.stages.apart import NO_OFFSET, Aside, bytes_of, told, where
from pipeline.stages.lane import shelf
from pipeline.stages.lane.cycle import Cycle
from pipeline.stages.lane.step import Outcome

MOST_ROWS = 50
"""Touches in line put aside per step: each costs a look at those before it again."""


class Refusal:
    """Puts aside what one lane cannot work with."""

    def __init__(self, aside: Aside) -> None:
        self._aside = aside

    def record(self, cycle: Cycle, record: Record, error: Exception) -> None:
        """Put a record of the channel topic aside; its touch has failed, unless it is known here already."""
        said = told(where(record), error)
        work = None
        with suppress(Exception):
            work = decode_work(bytes_of(record))

        def end() -> None:
            if work is not None and (work.returns or shelf.recall(cycle.view, shelf.memory_key(work)) is None):
                cycle.end(work, State.FAILED, reason=Reason.INVALID, error=said)
            self._bury(cycle, record, said, work)

        _first(cycle, [end, lambda: self._bury(cycle, record, said, work)])

    def row(self, cycle: Cycle, key: bytes, error: Exception) -> None:
        """Take a touch out of the line and put it aside; it has failed."""
        value = cycle.view.get(key)
        record = _as_record(cycle, key, value)
        said = told(f"a touch in line of {record.topic}[{record.partition}]", error)
        work = None
        with suppress(Exception):
            work = decode_work(value or b"")

        def take() -> None:
            assert work is not None
            shelf.take(cycle.view, cycle.state, key, work)

        def drop() -> None:
            cycle.view.delete(key)
            cycle.state.waiting -= 1

        def end() -> None:
            assert work is not None
            cycle.end(work, State.FAILED, reason=Reason.INVALID, error=said)

        _first(cycle, [take, drop] if work is not None else [drop])
        _first(cycle, [end] if work is not None else [])
        _first(cycle, [lambda: self._bury(cycle, record, said, work)])

    def claim(self, cycle: Cycle, claim: Claim, error: Exception) -> None:
        """Close a claim that nothing can be done with, and put it aside: nobody knows what became of its call."""
        self._close(cycle, claim, told(_named(cycle, claim), error), None)

    def outcome(self, cycle: Cycle, outcome: Outcome, error: Exception) -> None:
        """Close the claim of an answer that cannot be settled; its touches end as the answer says."""
        cycle.mind.under_way.discard(outcome.claim_id)
        claim = cycle.mind.claims.get(outcome.claim_id)
        if claim is not None:
            self._close(cycle, claim, told(_named(cycle, claim), error), outcome)

    def _close(self, cycle: Cycle, claim: Claim, said: str, outcome: Outcome | None) -> None:
        cycle.mind.under_way.discard(claim.claim_id)
        cycle.close(claim)
        _first(
            cycle,
            [
                lambda: self._bury(
                    cycle,
                    _as_record(cycle, claim.claim_id.encode(), encode_claim(claim)),
                    said,
                    claim.works[0] if len(claim.works) == 1 else None,
                )
            ],
        )
        for at, work in enumerate(claim.works):
            _first(cycle, [partial(_end, cycle, work, said, outcome, at)])

    def broken(self, cycle: Cycle, key: bytes, value: bytes, error: Exception) -> None:
        """Put a claim aside that cannot be read."""
        record = _as_record(cycle, key, value)
        said = told(f"a claim of {record.topic}[{record.partition}]", error)
        cycle.view.delete(key)
        _first(cycle, [lambda: self._bury(cycle, record, said, None)])

    def _bury(self, cycle: Cycle, record: Record, said: str, work: Work | None) -> None:
        # The number of a lane need not be one of the dead letters' partitions.
        home = 0 if work is None else work.origin
        touch_id = None if work is None else work.touch_id
        cycle.step.outputs.append(self._aside.letter(record, said, cycle.now_ms, touch_id=touch_id, partition=home))
        cycle.step.aside += 1


def rows(cycle: Cycle, act: Callable[[Cycle], object], refusal: Refusal) -> None:
    """Do `act`, which looks at touches in line; each one that trips it is put aside."""
    if not cycle.is_careful:
        act(cycle)
        return
    for _ in range(MOST_ROWS):
        cycle.suspects = []
        error = cycle.attempt(partial(act, cycle))
        if error is None:
            return
        if not cycle.suspects:
            raise error
        if len(cycle.suspects) > 1:
            cycle.is_one_by_one = True
        else:
            refusal.row(cycle, cycle.suspects[0], error)
    cycle.wake_at(cycle.now_ms)


def _first(cycle: Cycle, ways: Sequence[Callable[[], object]]) -> None:
    """Take the first way that does not trip."""
    for way in ways:
        error = cycle.attempt(way)
        if error is None:
            return
        told("what was put aside", error)


def _end(cycle: Cycle, work: Work, said: str, outcome: Outcome | None, at: int) -> None:
    answer = None if outcome is None else outcome.answer
    if isinstance(answer, Sent):
        message_id = answer.message_ids[at] if at < len(answer.message_ids) else None
        cycle.end(work, State.SENT, provider_message_id=message_id)
    elif isinstance(answer, Rejected):
        cycle.end(work, State.FAILED, reason=Reason.REJECTED, error_code=answer.code, error=answer.error)
    elif answer is None or isinstance(answer, Unknown):
        cycle.end(work, State.UNCONFIRMED, reason=Reason.NO_ANSWER, error=said)
    else:
        cycle.end(work, State.FAILED, reason=Reason.INVALID, error=said)


def _as_record(cycle: Cycle, key: bytes, value: bytes | None) -> Record:
    return Record(channel_topic(cycle.policy.channel), cycle.mind.lane, NO_OFFSET, cycle.now_ms, key, value)


def _named(cycle: Cycle, claim: Claim) -> str:
    return f"claim {claim.claim_id} of {channel_topic(cycle.policy.channel)}[{cycle.mind.lane}]"
