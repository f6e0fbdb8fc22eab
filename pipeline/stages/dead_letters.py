"""Records on which a stage fails become dead letters with their bytes and one error line; the rest of the batch goes on."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pipeline.domain.dead_letter import DeadLetter, DeadReason
from pipeline.flow import DEAD_LETTERS, KEY_BYTES
from pipeline.records.registry import SchemaNotHere
from pipeline.records.single_object import UnknownSchema, UnknownVersion
from pipeline.records.writing import dead_letter_value, single_object
from pipeline.stage_io import Output, Overlay, Record, TableFailed
from pipeline.stages.step import DeadLettered, StageStep

log = logging.getLogger(__name__)

STOPS = (SchemaNotHere, UnknownVersion, TableFailed)
"""Errors of the worker, not of a record: the step waits or the worker ends, and nothing becomes a dead letter."""
ERROR_CHARACTERS = 500
NO_OFFSET = -1
"""Offset of a dead letter made from a table row, whose own offset is not known any more."""

Act = Callable[[Record, Overlay, StageStep], object]
Refuse = Callable[[Record, str, Overlay, StageStep], object]


class UnparsedRecord(Exception):
    """The client library could not parse a record; the message says why."""


def bytes_of(record: Record) -> bytes:
    """Return the value of a record of an internal topic. Raises UnparsedRecord for one that could not be parsed."""
    if record.flaw is not None:
        raise UnparsedRecord(record.flaw)
    return record.value or b""


@dataclass(frozen=True, slots=True)
class DeadLetterWriter:
    """Writes the dead letters of one stage."""

    encode: Callable[[DeadLetter], bytes]
    prefix: str = ""
    """Prefix of topic names; a dead letter names its source topic in full."""

    def letter(
        self,
        record: Record,
        error: str,
        now_ms: int,
        *,
        reason: DeadReason = DeadReason.UNDECODABLE,
        touch_id: str | None = None,
        partition: int | None = None,
    ) -> Output:
        """Return the dead letter of `record`, for `partition` of the topic (None: the record's partition number)."""
        letter = DeadLetter(
            reason,
            error,
            self.prefix + record.topic,
            record.partition,
            record.offset,
            record.key,
            record.value,
            record.headers,
            touch_id,
            now_ms,
        )
        key = None if record.key is None else record.key[:KEY_BYTES]
        return Output(DEAD_LETTERS, record.partition if partition is None else partition, key, self.encode(letter))

    def put(self, step: StageStep, record: Record, error: str, now_ms: int, touch_id: str | None = None) -> None:
        """Add the dead letter of `record` to `step`, and count it."""
        step.outputs.append(self.letter(record, error, now_ms, touch_id=touch_id))
        step.counts[DeadLettered(DeadReason.UNDECODABLE)] += 1


PLAIN = DeadLetterWriter(partial(dead_letter_value, single_object))
"""Default of stages that run without Kafka: no prefix, Avro single-object encoding."""


def apply_each(
    batch: Sequence[Record],
    view: Overlay,
    act: Act,
    refuse: Sequence[Refuse],
    again: Callable[[], object] = lambda: None,
) -> StageStep:
    """Apply every record to `view`. A record on which `act` fails changes nothing; the first of `refuse` that works ends it.

    A step is a pure function. Only if a record fails is the batch repeated, each record on its own; `again` is called
    before the repetition.
    """
    inner, step = Overlay(view), StageStep()
    try:
        for record in batch:
            act(record, inner, step)
    except UnknownVersion as newer:
        raise UnknownVersion(newer.what, where(record)) from None
    except STOPS:
        raise
    except Exception:  # noqa: BLE001 - whatever it is: which record it was is found out below
        again()
        return _one_by_one(batch, view, act, refuse)
    view.changes.update(inner.changes)
    return step


def _one_by_one(batch: Iterable[Record], view: Overlay, act: Act, refuse: Sequence[Refuse]) -> StageStep:
    step = StageStep()
    for record in batch:
        inner, own = _applied(record, view, act, refuse)
        view.changes.update(inner.changes)
        step.outputs += own.outputs
        step.counts += own.counts
    return step


def _applied(record: Record, view: Overlay, act: Act, refuse: Sequence[Refuse]) -> tuple[Overlay, StageStep]:
    inner, own = Overlay(view), StageStep()
    try:
        act(record, inner, own)
    except STOPS:
        raise
    except Exception as tripped:  # noqa: BLE001
        error = told(where(record), tripped)
    else:
        return inner, own
    for way in refuse:
        inner, own = Overlay(view), StageStep()
        try:
            way(record, error, inner, own)
        except STOPS:
            raise
        except Exception as again:  # noqa: BLE001 - the next way asks for less
            log.error("%s cannot be answered: %s", where(record), what(again))  # noqa: TRY400
        else:
            return inner, own
    return Overlay(view), StageStep()


def where(record: Record) -> str:
    """Return topic[partition]@offset."""
    return f"{record.topic}[{record.partition}]@{record.offset}"


def told(place: str, error: Exception) -> str:
    """Log one line about a record that becomes a dead letter, and return its error."""
    is_theirs = isinstance(error, UnparsedRecord | UnknownSchema)
    said = str(error) if is_theirs else f"internal error: {what(error)}"
    log.error("%s is put aside: %s", place, said)
    return said


def what(error: Exception) -> str:
    """Return an error in one line, with file and line of the code that raised it."""
    frames = traceback.extract_tb(error.__traceback__)
    at = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    return " ".join(f"{type(error).__name__}: {error}".split())[:ERROR_CHARACTERS] + at
