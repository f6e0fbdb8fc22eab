"""Internal records as versions before MessagePack wrote them: Avro single objects. Read for ever, written no more."""

from __future__ import annotations

from pipeline.domain.story import Event, Reason, State
from pipeline.domain.work import Attachment, Channel, Claim, Content, Phase, Request, Scheduled, Work
from pipeline.records.single_object import decode, one_of


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


def decode_scheduled(value: bytes) -> Scheduled:
    """Return the scheduled touch of a record."""
    d = decode("scheduled", value)
    return Scheduled(d["due_ms"], one_of(Channel, d["channel"]), d["lane"], d["touch_id"], d["work"])
