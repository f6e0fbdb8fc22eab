"""Internal records: Avro single-object encoding of Work, Claim, Event, Scheduled and Unconfirmed, read by any published version."""

from __future__ import annotations

from enum import Enum
from io import BytesIO
from typing import Any, TypeVar

from fastavro import schemaless_reader, schemaless_writer

from pipeline.domain.story import Event, Reason, State
from pipeline.domain.unconfirmed import Resolved, Unconfirmed
from pipeline.domain.work import Attachment, Channel, Claim, Content, Phase, Request, Scheduled, Work
from pipeline.records import schemas

MARKER = b"\xc3\x01"
"""Two bytes that say "single-object encoding" (Avro specification)."""
HEADER_BYTES = 10
ERROR_CHARACTERS = 2_000
"""Most characters of an error's text in a record."""

ValueT = TypeVar("ValueT", bound=Enum)


class UnknownSchema(ValueError):
    """Not a single-object record, or a record of another schema."""


class UnknownVersion(Exception):
    """A record that a newer version of the pipeline wrote; skipping it would lose its touch."""

    def __init__(self, what: str, where: str = "") -> None:
        self.what = what
        super().__init__(
            f"{where or 'a record'} was written by a newer version of the pipeline ({what}): upgrade this worker"
        )


def encode(name: str, datum: dict[str, Any]) -> bytes:
    """Return `datum` as a single object of today's schema `name`."""
    known = schemas.current(name)
    out = BytesIO()
    out.write(MARKER)
    out.write(known.fingerprint)
    schemaless_writer(out, known.parsed, datum)
    return out.getvalue()


def decode(name: str, value: bytes) -> dict[str, Any]:
    """Return the datum of a single object, whichever published version of schema `name` wrote it.

    Raises UnknownSchema, UnknownVersion; ValueError or EOFError for a record that is cut off or goes on behind its end.
    """
    writer = schemas.published(name).get(value[2:HEADER_BYTES])
    if value[:2] != MARKER or writer is None:
        raise _unknown(name, value)
    source = BytesIO(value)
    source.seek(HEADER_BYTES)
    today = schemas.current(name)
    reader = None if writer.fingerprint == today.fingerprint else today.parsed  # resolving doubles the cost
    datum: Any = schemaless_reader(source, writer.parsed, reader)
    if source.read(1):
        raise ValueError("bytes behind the end of the record")
    return datum  # type: ignore[no-any-return]


def _unknown(name: str, value: bytes) -> Exception:
    fingerprint = value[2:HEADER_BYTES]
    what = f"no published version of {name} has fingerprint {fingerprint.hex()}"
    is_stranger = value[:2] != MARKER or len(fingerprint) < HEADER_BYTES - 2 or schemas.name_of(fingerprint) is not None
    return UnknownSchema(what) if is_stranger else UnknownVersion(what)


def one_of(kind: type[ValueT], value: str) -> ValueT:
    """Return the member of a closed set that a record names. Raises UnknownVersion for one that was added later."""
    try:
        return kind(value)
    except ValueError:
        raise UnknownVersion(f"it has the {kind.__name__.lower()} {value!r}") from None


def encode_work(work: Work) -> bytes:
    """Return `work` as a record."""
    said = work.content
    return encode(
        "work",
        {
            "touch_id": work.touch_id,
            "campaign_id": work.campaign_id,
            "lead_id": work.lead_id,
            "channel": work.channel.value,
            "to": work.to,
            "sender": work.sender,
            "pinned": work.pinned,
            "subject": said.subject,
            "body": said.body,
            "text": said.text,
            "from": said.from_,
            "reply_to": said.reply_to,
            "headers": said.headers,
            "attachments": [_attachment(each) for each in said.attachments] if said.attachments else [],
            "digest": work.digest,
            "origin": work.origin,
            "priority": work.priority,
            "time_zone": work.time_zone,
            "not_before_ms": work.not_before_ms,
            "expires_at_ms": work.expires_at_ms,
            "metadata": work.metadata,
            "created_at_ms": work.created_at_ms,
            "attempt": work.attempt,
            "refusals": work.refusals,
            "first_call_ms": work.first_call_ms,
            "last_call_ms": work.last_call_ms,
            "outage_noted_ms": work.outage_noted_ms,
            "batch_cap": work.batch_cap,
            "returns": work.returns,
        },
    )


def decode_work(value: bytes) -> Work:
    """Return the work of a record."""
    d = decode("work", value)
    content = Content(
        subject=d["subject"],
        body=d["body"],
        text=d["text"],
        from_=d["from"],
        reply_to=d["reply_to"],
        headers=d["headers"],
        attachments=tuple(Attachment(**each) for each in d["attachments"]),
    )
    return Work(
        touch_id=d["touch_id"],
        campaign_id=d["campaign_id"],
        lead_id=d["lead_id"],
        channel=one_of(Channel, d["channel"]),
        to=d["to"],
        sender=d["sender"],
        pinned=d["pinned"],
        content=content,
        digest=d["digest"],
        origin=d["origin"],
        priority=d["priority"],
        time_zone=d["time_zone"],
        not_before_ms=d["not_before_ms"],
        expires_at_ms=d["expires_at_ms"],
        metadata=d["metadata"],
        created_at_ms=d["created_at_ms"],
        attempt=d["attempt"],
        refusals=d["refusals"],
        first_call_ms=d["first_call_ms"],
        last_call_ms=d["last_call_ms"],
        outage_noted_ms=d["outage_noted_ms"],
        batch_cap=d["batch_cap"],
        returns=d["returns"],
    )


def encode_claim(claim: Claim) -> bytes:
    """Return `claim` as a record."""
    request = claim.request
    return encode(
        "claim",
        {
            "claim_id": claim.claim_id,
            "works": [encode_work(work) for work in claim.works],
            "path": request.path,
            "body": request.body,
            "content_type": request.content_type,
            "handle": request.handle,
            "claimed_ms": claim.claimed_ms,
            "lease_until_ms": claim.lease_until_ms,
            "phase": claim.phase.value,
            "refused": claim.refused,
            "lost": claim.lost,
            "looks": claim.looks,
            "next_look_ms": claim.next_look_ms,
            "resolve_until_ms": claim.resolve_until_ms,
            "error_code": claim.error_code,
            "error": claim.error,
        },
    )


def decode_claim(value: bytes) -> Claim:
    """Return the claim of a record."""
    d = decode("claim", value)
    return Claim(
        d["claim_id"],
        tuple(decode_work(work) for work in d["works"]),
        Request(d["path"], d["body"], d["content_type"], d["handle"]),
        d["claimed_ms"],
        d["lease_until_ms"],
        one_of(Phase, d["phase"]),
        d["refused"],
        d["lost"],
        d["looks"],
        d["next_look_ms"],
        d["resolve_until_ms"],
        d["error_code"],
        d["error"],
    )


def shortened(text: str, most: int = ERROR_CHARACTERS) -> str:
    """Return `text`, cut where it is longer than `most` characters."""
    return text if len(text) <= most else f"{text[:most]}…"


def event_datum(event: Event) -> dict[str, Any]:
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
    }


def encode_event(event: Event) -> bytes:
    """Return `event` as a record."""
    return encode("event", event_datum(event))


def decode_event(value: bytes) -> Event:
    """Return the event of a record."""
    d = decode("event", value)
    return Event(
        d["touch_id"],
        d["campaign_id"],
        d["lead_id"],
        d["channel"],
        one_of(State, d["state"]),
        d["occurred_at"],
        None if d["reason"] is None else one_of(Reason, d["reason"]),
        d["attempt"],
        d["sender"],
        d["provider_message_id"],
        d["error_code"],
        d["error"],
        d["next_attempt_at"],
        d["metadata"],
    )


def encode_scheduled(scheduled: Scheduled) -> bytes:
    """Return `scheduled` as a record."""
    return encode(
        "scheduled",
        {
            "due_ms": scheduled.due_ms,
            "channel": scheduled.channel.value,
            "lane": scheduled.lane,
            "touch_id": scheduled.touch_id,
            "work": scheduled.work,
        },
    )


def decode_scheduled(value: bytes) -> Scheduled:
    """Return the scheduled touch of a record."""
    d = decode("scheduled", value)
    return Scheduled(d["due_ms"], one_of(Channel, d["channel"]), d["lane"], d["touch_id"], d["work"])


def encode_unconfirmed(left: Unconfirmed) -> bytes:
    """Return `left` as a record."""
    work = left.work
    return encode(
        "unconfirmed",
        {
            "touch_id": work.touch_id,
            "channel": work.channel.value,
            "sender": work.sender,
            "occurred_at": left.occurred_at_ms,
            "error": left.error,
            "claim": encode_claim(left.claim),
            "resolution": None if left.resolution is None else left.resolution.value,
            "resolved_at": left.resolved_at_ms,
            "provider_message_id": left.provider_message_id,
            "resent_as": left.resent_as,
        },
    )


def decode_unconfirmed(value: bytes) -> Unconfirmed:
    """Return the unconfirmed touch of a record, resolved or not."""
    d = decode("unconfirmed", value)
    return Unconfirmed(
        decode_claim(d["claim"]),
        d["occurred_at"],
        d["error"],
        None if d["resolution"] is None else one_of(Resolved, d["resolution"]),
        d["resolved_at"],
        d["provider_message_id"],
        d["resent_as"],
    )


def _attachment(each: Attachment) -> dict[str, Any]:
    return {"filename": each.filename, "content_type": each.content_type, "content": each.content, "url": each.url}
