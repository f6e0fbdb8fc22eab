"""The events of the three providers, in their own words. Sources: Resend's OpenAPI, Twilio's and WAHA's documentation."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from pipeline.sandbox.plans import OUTCOMES
from pipeline.sandbox.signatures import SandboxEvent

if TYPE_CHECKING:
    from collections.abc import Callable

    from pipeline.sandbox.plans import CallbackPlan
    from pipeline.sandbox.store import Message
    from pipeline.sandbox.webhooks import Webhooks

ACKS: Final = {-1: "ERROR", 1: "SERVER", 2: "DEVICE", 3: "READ", 4: "PLAYED"}
OUR_NUMBER: Final = "12025550100@c.us"
ERRORS: Final = {"21610": "Attempt to send to unsubscribed recipient", "30006": "Landline or unreachable carrier"}


def events_of(
    message: Message, plan: CallbackPlan, webhooks: Webhooks, now_ms: int, new_id: Callable[[], str]
) -> list[SandboxEvent]:
    """Return the events of a message's outcome, in the order in which they happen."""
    url = webhooks.url(message.provider)
    if message.provider == "twilio":  # which calls what each message names, or nothing
        url = message.extra.get("status_callback") if url is not None else None
    if url is None:
        return []
    make = {"resend": _resend, "twilio": _twilio, "waha": _waha}[message.provider]
    names = OUTCOMES[message.provider][plan.outcome]
    return [
        SandboxEvent(message.provider, name, message.id, url, make(message, name, plan.code, now_ms), f"evt_{new_id()}")
        for name in names
    ]


def _resend(message: Message, name: str, code: str | None, now_ms: int) -> dict[str, Any]:
    data: dict[str, Any] = {
        "email_id": message.id,
        "created_at": _iso(message.at_ms),
        "from": message.sender,
        "to": [message.to],
        "subject": message.subject,
        "tags": message.tags,
    }
    if name == "email.bounced":
        data["bounce"] = {
            "type": code or "Permanent",
            "subType": "General",
            "message": "The recipient's email server rejected it",
            "diagnosticCode": ["smtp; 550 5.1.1"],
        }
    if name == "email.failed":
        data["failed"] = {"reason": code or "reached_daily_quota"}
    if name == "email.suppressed":
        reason = code or "previous_bounce"
        data["suppressed"] = {"type": "Suppressed", "reason": reason, "message": "On the account's suppression list"}
    return {"type": name, "created_at": _iso(now_ms), "data": data}


def _twilio(message: Message, name: str, code: str | None, now_ms: int) -> dict[str, Any]:
    del now_ms  # Twilio does not say when
    form = {
        "MessageSid": message.id,
        "SmsSid": message.id,
        "MessageStatus": name,
        "SmsStatus": name,
        "To": message.to,
        "From": message.sender,
        "AccountSid": message.extra.get("account", ""),
        "ApiVersion": "2010-04-01",
    }
    if message.sender.startswith("MG"):
        form |= {"MessagingServiceSid": message.sender, "From": "+15005550006"}
    if name == "undelivered":
        form |= {"ErrorCode": code or "30006", "ErrorMessage": ERRORS.get(code or "30006", "Unknown error")}
    return form


def _waha(message: Message, name: str, code: str | None, now_ms: int) -> dict[str, Any]:
    del code
    ack = int(name.partition(" ")[2])
    payload = {
        "id": f"true_{message.to}_{message.id}",
        "from": OUR_NUMBER,
        "to": message.to,
        "participant": None,
        "fromMe": True,
        "ack": ack,
        "ackName": ACKS[ack],
    }
    return waha_event("message.ack", message.sender, payload, now_ms, message.id + name[-1])


def waha_event(name: str, session: str, payload: dict[str, Any], now_ms: int, event_id: str) -> dict[str, Any]:
    """Return WAHA's envelope around a payload."""
    return {
        "id": f"evt_{event_id}",
        "timestamp": now_ms,
        "event": name,
        "session": session,
        "metadata": {},
        "me": {"id": OUR_NUMBER, "pushName": "Sandbox"},
        "payload": payload,
        "engine": "NOWEB",
        "environment": {"version": "2026.7.1", "engine": "NOWEB", "tier": "CORE", "browser": None},
    }


def _iso(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
