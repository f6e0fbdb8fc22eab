"""How commands show a dead letter: as a line, as JSON, as a page; and whether a filter selects it."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import orjson

from pipeline.console.printing import as_base64, escaped, json_escaped, legible, short
from pipeline.console.status.view import epoch_ms, printable, time_of
from pipeline.domain.dead_letter import DeadLetter, DeadReason
from pipeline.kafka.topic import RecordPosition
from pipeline.records.published import UndecodableValue
from pipeline.settings.kinds import duration_ms
from pipeline.stages.forward import REPLAY_OF

if TYPE_CHECKING:
    from pipeline.console.printing import ReadTouch


@dataclass(frozen=True, slots=True)
class ShownLetter:
    """A dead letter and its position in `touches.dead-letters`."""

    position: RecordPosition
    dead: DeadLetter

    @property
    def replay_of(self) -> str | None:
        """The letter whose replay became this one, from its header; None if there is none."""
        said = [value for name, value in self.dead.headers if name == REPLAY_OF and value is not None]
        return said[-1].decode("utf-8", "replace") if said else None


@dataclass(frozen=True, slots=True)
class LetterFilter:
    """Selects letters by reason (none: every reason), since an instant, before another."""

    reasons: frozenset[DeadReason] = frozenset()
    since_ms: int | None = None
    until_ms: int | None = None

    def __contains__(self, letter: ShownLetter) -> bool:
        dead = letter.dead
        return (
            (not self.reasons or dead.reason in self.reasons)
            and (self.since_ms is None or dead.occurred_at_ms >= self.since_ms)
            and (self.until_ms is None or dead.occurred_at_ms < self.until_ms)
        )


def letter_of(position: RecordPosition, datum: Mapping[str, Any]) -> ShownLetter:
    """Return the letter that a record of `touches.dead-letters` holds, in any of its forms. Raises UndecodableValue."""
    try:
        headers = [(str(each["name"]), _bytes(each["value"])) for each in datum["headers"]]
        return ShownLetter(
            position,
            DeadLetter(
                DeadReason(datum["reason"]),
                str(datum["error"]),
                str(datum["source_topic"]),
                int(datum["source_partition"]),
                int(datum["source_offset"]),
                _bytes(datum["key"]),
                _bytes(datum["value"]),
                headers,
                datum["touch_id"],
                epoch_ms(datum["occurred_at"]),
            ),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise UndecodableValue(f"no dead_letter: {type(error).__name__}: {error}") from error


def _bytes(value: Any) -> bytes | None:
    """Return bytes; in JSON they are base64."""
    return base64.b64decode(value, validate=True) if isinstance(value, str) else value


def line_of(letter: ShownLetter) -> str:
    """Return the line: time, place, reason, source as topic/partition/offset, touch_id (`-` for none), then the error."""
    dead = letter.dead
    source = f"{dead.source_topic}/{dead.source_partition}/{dead.source_offset}"
    words = [time_of(dead.occurred_at_ms), f"{letter.position!s:<8}", f"{dead.reason:<11}", printable(source)]
    return " ".join([*words, printable(dead.touch_id or "-"), printable(dead.error)]).rstrip()


def json_of(letter: ShownLetter, *, whole: bool = False) -> str:
    """Return one line of JSON, absent members left out; with `whole` also key, value and headers, bytes as base64."""
    dead = letter.dead
    members = {
        "place": str(letter.position),
        "occurred_at": dead.occurred_at_ms,
        "reason": dead.reason,
        "error": dead.error,
        "source_topic": dead.source_topic,
        "source_partition": dead.source_partition,
        "source_offset": dead.source_offset,
        "touch_id": dead.touch_id,
    }
    if whole:
        headers = [{"name": name, "value": value} for name, value in dead.headers]
        members |= {"key": dead.key, "value": dead.value, "headers": headers}
    told = {k: v for k, v in members.items() if v is not None}
    return json_escaped(orjson.dumps(told, default=as_base64).decode())


def page(letter: ShownLetter, read_touch: ReadTouch) -> Iterator[str]:
    """Yield lines: the letter's fields, then its value in a readable form."""
    dead = letter.dead
    yield f"place     {letter.position}"
    yield f"time      {time_of(dead.occurred_at_ms)}"
    yield f"reason    {dead.reason}"
    yield f"error     {escaped(dead.error)}"
    yield f"source    {escaped(dead.source_topic)}/{dead.source_partition}/{dead.source_offset}"
    yield f"touch_id  {escaped(dead.touch_id or '-')}"
    yield f"key       {short(dead.key)}"
    for name, value in dead.headers:
        yield f"header    {escaped(name)}: {short(value)}"
    if dead.value is None:
        yield "value     null"
    else:
        form, lines = legible(dead.value, read_touch)
        yield f"value     {len(dead.value):,} bytes, {form}"
        yield ""
        yield from lines


def moment_ms(text: str, now_ms: int) -> int:
    """Return the instant that `text` names, epoch ms: a duration ago ("10m"), or ISO 8601 with offset. Raises ValueError."""
    with suppress(ValueError):
        return now_ms - duration_ms(text)
    with suppress(ValueError):
        at = datetime.fromisoformat(text)
        if at.tzinfo is not None:
            return epoch_ms(at)
    raise ValueError(f'{text!r} is neither a duration such as "10m" nor an instant with its offset')
