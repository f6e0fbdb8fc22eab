"""What raises in a lane becomes a dead letter: a record, a touch in the queue, a claim, an answer. Its touch, if known, ends."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Final

from pipeline.domain.story import Reason, State
from pipeline.domain.verdict import Rejected, Sent, Unknown
from pipeline.domain.work import Claim, Work
from pipeline.flow import channel_topic
from pipeline.records import decode_work, encode_claim
from pipeline.stage_io import Record
from pipeline.stages.dead_letters import NO_OFFSET, DeadLetterWriter, bytes_of, told, where
from pipeline.stages.lane import queue, shelf, table
from pipeline.stages.lane.draft import StepDraft
from pipeline.stages.lane.fate import Ended
from pipeline.stages.lane.step import Outcome

MOST_ROWS: Final = 50
"""Touches in the queue removed per step: each costs another look at those before it."""


class Quarantine:
    """Removes what a lane cannot work with, and writes the dead letters."""

    def __init__(self, dead_letters: DeadLetterWriter) -> None:
        self._dead_letters = dead_letters

    def record(self, draft: StepDraft, record: Record, error: Exception) -> None:
        """Quarantine a record of the channel's topic; its touch fails, unless the lane knows it already."""
        why = told(where(record), error)
        work = None
        with suppress(Exception):
            work = decode_work(bytes_of(record))

        def end() -> None:
            if work is not None and (work.returns or table.memory_of(draft.view, work) is None):
                draft.write(_invalid(work, why))
            self._write_dead_letter(draft, record, why, work)

        _first(draft, [end, lambda: self._write_dead_letter(draft, record, why, work)])

    def row(self, draft: StepDraft, key: bytes, error: Exception) -> None:
        """Remove a touch from the queue, or from the shelf; it fails."""
        value = draft.view.get(key)
        record = _as_record(draft, key, value)
        why = told(f"a touch in line of {record.topic}[{record.partition}]", error)
        work = None
        with suppress(Exception):
            work = decode_work(value or b"")

        ways: list[Callable[[], object]] = [partial(_drop, draft, key)]
        if work is not None:
            ways.insert(0, partial(_leave, draft, key, work))
        _first(draft, ways)
        if work is not None:
            _first(draft, [partial(draft.write, _invalid(work, why))])
        _first(draft, [lambda: self._write_dead_letter(draft, record, why, work)])

    def claim(self, draft: StepDraft, claim: Claim, error: Exception) -> None:
        """Close a claim that raises; the outcome of its call is unknown."""
        self._close(draft, claim, told(_named(draft, claim), error), None)

    def outcome(self, draft: StepDraft, outcome: Outcome, error: Exception) -> None:
        """Close the claim of an answer that cannot be settled; its touches end as the answer says."""
        draft.index.under_way.discard(outcome.claim_id)
        claim = draft.index.claims.get(outcome.claim_id)
        if claim is not None:
            self._close(draft, claim, told(_named(draft, claim), error), outcome)

    def broken_claim(self, draft: StepDraft, key: bytes, value: bytes, error: Exception) -> None:
        """Delete a claim that cannot be decoded."""
        record = _as_record(draft, key, value)
        why = told(f"a claim of {record.topic}[{record.partition}]", error)
        draft.view.delete(key)
        _first(draft, [lambda: self._write_dead_letter(draft, record, why, None)])

    def _close(self, draft: StepDraft, claim: Claim, why: str, outcome: Outcome | None) -> None:
        draft.index.under_way.discard(claim.claim_id)
        draft.close(claim)
        work = claim.works[0] if len(claim.works) == 1 else None

        def write() -> None:
            record = _as_record(draft, claim.claim_id.encode(), encode_claim(claim))
            self._write_dead_letter(draft, record, why, work)

        _first(draft, [write])
        for at, each in enumerate(claim.works):
            _first(draft, [partial(_write_end, draft, each, why, outcome, at)])

    def _write_dead_letter(self, draft: StepDraft, record: Record, why: str, work: Work | None) -> None:
        # The number of a lane need not be one of the dead letters' partitions.
        partition = 0 if work is None else work.origin
        touch_id = None if work is None else work.touch_id
        letter = self._dead_letters.letter(record, why, draft.now_ms, touch_id=touch_id, partition=partition)
        draft.step.outputs.append(letter)
        draft.step.dead_letters += 1


def rows(draft: StepDraft, act: Callable[[StepDraft], object], quarantine: Quarantine) -> None:
    """Do `act`, which looks at touches in the queue; in a careful step each one that raises is quarantined."""
    if not draft.is_careful:
        act(draft)
        return
    for _ in range(MOST_ROWS):
        draft.suspects.clear()
        error = draft.attempt(partial(act, draft))
        if error is None:
            return
        if not draft.suspects:
            raise error
        if len(draft.suspects) > 1:
            draft.is_one_by_one = True
        else:
            quarantine.row(draft, draft.suspects[0], error)
    draft.wake_at(draft.now_ms)


def _first(draft: StepDraft, ways: Sequence[Callable[[], object]]) -> None:
    """Do the first of `ways` that does not raise."""
    for way in ways:
        error = draft.attempt(way)
        if error is None:
            return
        told("what was put aside", error)


def _leave(draft: StepDraft, key: bytes, work: Work) -> None:
    if key.startswith(table.PARKED):
        shelf.leave(draft.view, draft.state, key, work)
    else:
        queue.leave(draft.view, draft.state, key, work)


def _drop(draft: StepDraft, key: bytes) -> None:
    if key.startswith(table.PARKED):
        shelf.drop(draft.view, draft.state, key)
    else:
        draft.view.delete(key)
        draft.state.waiting -= 1


def _write_end(draft: StepDraft, work: Work, why: str, outcome: Outcome | None, at: int) -> None:
    draft.write(_end_of(work, why, outcome, at))


def _end_of(work: Work, why: str, outcome: Outcome | None, at: int) -> Ended:
    answer = None if outcome is None else outcome.answer
    if isinstance(answer, Sent):
        message_id = answer.message_ids[at] if at < len(answer.message_ids) else None
        return Ended(work, State.SENT, provider_message_id=message_id)
    if isinstance(answer, Rejected):
        return Ended(work, State.FAILED, Reason.REJECTED, error_code=answer.code, error=answer.error)
    if answer is None or isinstance(answer, Unknown):
        return Ended(work, State.UNCONFIRMED, Reason.NO_ANSWER, error=why)
    return _invalid(work, why)


def _invalid(work: Work, why: str) -> Ended:
    return Ended(work, State.FAILED, Reason.INVALID, error=why)


def _as_record(draft: StepDraft, key: bytes, value: bytes | None) -> Record:
    return Record(channel_topic(draft.policy.channel), draft.config.lane, NO_OFFSET, draft.now_ms, key, value)


def _named(draft: StepDraft, claim: Claim) -> str:
    return f"claim {claim.claim_id} of {channel_topic(draft.policy.channel)}[{draft.config.lane}]"
