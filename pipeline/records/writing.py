"""Encodes statuses and dead letters: Avro single object, Confluent when a registry is configured, or JSON."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import replace
from io import BytesIO
from typing import Any, Protocol

import orjson
from fastavro import schemaless_writer

from pipeline.domain.dead_letter import DeadLetter
from pipeline.domain.story import ERROR_CHARACTERS, Event, shortened
from pipeline.flow import KEY_BYTES
from pipeline.records import schemas
from pipeline.records.framing import CONFLUENT
from pipeline.records.single_object import encode

STATUS_BYTES = 4_000_000
"""A record of `touches.status` takes 4 MiB."""
VALUE_BYTES = 2_500_000
HEADERS_BYTES = 64 * 1024
"""What a dead letter keeps of a record at most, with KEY_BYTES of its key: as JSON, where bytes take a third more and a
header's name six times as much, it is still less than 4 MiB."""


class Writer(Protocol):
    """Encodes a datum of one schema as the value of a record."""

    def __call__(self, name: str, datum: dict[str, Any]) -> bytes:
        """Return the value for `datum` of schema `name`."""


def single_object(name: str, datum: dict[str, Any]) -> bytes:
    """Return `datum` as an Avro single object."""
    return encode(name, datum)


def json_object(name: str, datum: dict[str, Any]) -> bytes:
    """Return `datum` as JSON: the schema's names, bytes as base64, instants as integer milliseconds."""
    del name
    return orjson.dumps(datum, default=_base64)


class Confluent:
    """Encodes in the Confluent wire format, with ids that the registry assigned at the start."""

    def __init__(self, ids: dict[str, int]) -> None:
        self._ids = ids

    def __call__(self, name: str, datum: dict[str, Any]) -> bytes:
        """Return `datum` framed with the id of schema `name`."""
        out = BytesIO()
        out.write(CONFLUENT + self._ids[name].to_bytes(4, "big"))
        schemaless_writer(out, schemas.current(name).parsed, datum)
        return out.getvalue()


def status_value(write: Writer, event: Event, sequence: int) -> bytes:
    """Return the value of `touches.status` for an event; `sequence` is its number in the touch's statuses, from 1."""
    datum = {**_event_datum(event), "sequence": sequence}
    value = write("status", datum)
    if len(value) <= STATUS_BYTES:
        return value
    return write(
        "status", {**datum, "metadata": {}}
    )  # JSON can take six bytes for one: the state is kept, metadata is dropped


def _event_datum(event: Event) -> dict[str, Any]:
    """Return `event` with the names of the Status schema."""
    return {
        "touch_id": event.touch_id,
        "campaign_id": event.campaign_id,
        "lead_id": event.lead_id,
        "channel": event.channel,
        "state": event.state.value,
        "reason": None if event.reason is None else event.reason.value,
        "attempt": event.attempt,
        "sender": event.sender,
        "provider_message_id": event.provider_message_id,
        "error_code": event.error_code,
        "error": None if event.error is None else shortened(event.error),
        "next_attempt_at": event.next_attempt_at_ms,
        "metadata": event.metadata,
        "occurred_at": event.occurred_at_ms,
        "recipient": event.recipient,
        "order": event.order,
    }


def dead_letter_value(write: Writer, letter: DeadLetter) -> bytes:
    """Return the value of `touches.dead-letters`; parts that do not fit are cut, and the error says so."""
    letter = _fitting(letter)
    return write(
        "dead_letter",
        {
            "reason": letter.reason.value,
            "error": letter.error,
            "source_topic": letter.source_topic,
            "source_partition": letter.source_partition,
            "source_offset": letter.source_offset,
            "key": letter.key,
            "value": letter.value,
            "headers": [{"name": name, "value": value} for name, value in letter.headers],
            "touch_id": letter.touch_id,
            "occurred_at": letter.occurred_at_ms,
        },
    )


def _fitting(letter: DeadLetter) -> DeadLetter:
    """Return `letter` cut to the size that its topic accepts."""
    headers = _headers_kept(letter.headers)
    cuts = [
        f"{name} cut from {len(whole)} to {most} bytes"
        for name, whole, most in (("value", letter.value, VALUE_BYTES), ("key", letter.key, KEY_BYTES))
        if whole is not None and len(whole) > most
    ]
    if len(headers) < len(letter.headers):
        cuts.append(f"{len(letter.headers) - len(headers)} of {len(letter.headers)} headers left out")
    if not cuts and len(letter.error) <= ERROR_CHARACTERS:
        return letter
    where = f"{letter.source_topic}[{letter.source_partition}]@{letter.source_offset}"
    note = f" ({', '.join(cuts)}; the whole stands at {where})" if cuts else ""
    return replace(
        letter,
        error=shortened(letter.error) + note,
        headers=headers,
        key=None if letter.key is None else letter.key[:KEY_BYTES],
        value=None if letter.value is None else letter.value[:VALUE_BYTES],
    )


def _headers_kept(headers: Sequence[tuple[str, bytes | None]]) -> Sequence[tuple[str, bytes | None]]:
    """Return the first headers, as many as fit into a dead letter."""
    room = HEADERS_BYTES
    for kept, (name, value) in enumerate(headers):
        room -= len(name.encode(errors="replace")) + len(value or b"")
        if room < 0:
            return headers[:kept]
    return headers


def _base64(value: object) -> str:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    raise TypeError(type(value).__name__)
