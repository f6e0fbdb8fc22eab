"""What a person writes to us: Twilio's and WAHA's inbound messages, also from an address without a number (a lid)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline.sandbox.events import OUR_NUMBER, waha_event
from pipeline.sandbox.signatures import SandboxEvent

if TYPE_CHECKING:
    from collections.abc import Callable

    from pipeline.sandbox.webhooks import Webhooks


@dataclass(frozen=True, slots=True, kw_only=True)
class InboundMessage:
    """A message to us."""

    provider: str
    """`twilio` or `waha`."""
    person: str
    """Whose: a number with +."""
    text: str
    account: str
    """Twilio's AccountSid, WAHA's session."""
    to: str = "+15005550006"
    """Our number (Twilio)."""
    message_id: str
    opt_out_type: str | None = None
    """Twilio's OptOutType (Advanced Opt-Out)."""
    lid: str | None = None
    """None: WAHA tells the number as the address; else as `LIDS` say."""
    quotes: str | None = None
    """The bare id of the message of ours that it quotes (WAHA)."""


class Lids:
    """WhatsApp's addresses without a number, and what `GET /api/{session}/lids/{lid}` says of them."""

    def __init__(self) -> None:
        self._numbers: dict[str, str | None] = {}

    def of(self, number: str, *, is_known: bool) -> str:
        """Return the lid of `number`; it can be asked for the number if `is_known`."""
        lid = f"{number.lstrip('+')[::-1]}00@lid"
        self._numbers[lid] = f"{number.lstrip('+')}@c.us" if is_known else None
        return lid

    def number(self, lid: str) -> str | None:
        """Return the chat id with the number, or None."""
        return self._numbers.get(lid if "@" in lid else f"{lid}@lid")


def inbound_event(
    said: InboundMessage, webhooks: Webhooks, lids: Lids, now_ms: int, new_id: Callable[[], str]
) -> SandboxEvent | None:
    """Return the event of a message to us; None for a provider that calls nothing back."""
    url = webhooks.url(said.provider, "/inbound" if said.provider == "twilio" else "")
    if url is None:
        return None
    event_id = new_id()
    body = _form(said) if said.provider == "twilio" else _envelope(said, lids, now_ms, event_id)
    return SandboxEvent(said.provider, "inbound", said.message_id, url, body, f"evt_{event_id}")


def _form(said: InboundMessage) -> dict[str, Any]:
    form = {
        "MessageSid": said.message_id,
        "SmsSid": said.message_id,
        "SmsMessageSid": said.message_id,
        "SmsStatus": "received",
        "AccountSid": said.account,
        "From": said.person,
        "To": said.to,
        "Body": said.text,
        "NumMedia": "0",
        "NumSegments": "1",
        "ApiVersion": "2010-04-01",
    }
    return form if said.opt_out_type is None else {**form, "OptOutType": said.opt_out_type}


def _envelope(said: InboundMessage, lids: Lids, now_ms: int, event_id: str) -> dict[str, Any]:
    chat = f"{said.person.lstrip('+')}@c.us"
    key: dict[str, Any] = {
        "remoteJid": chat.replace("@c.us", "@s.whatsapp.net"),
        "fromMe": False,
        "id": said.message_id,
    }
    if said.lid is not None:
        address = lids.of(said.person, is_known=said.lid != "hidden")
        key = {**key, "remoteJid": address}
        if said.lid == "told":
            key["remoteJidAlt"] = chat.replace("@c.us", "@s.whatsapp.net")
        chat = address
    payload = {
        "id": f"false_{chat}_{said.message_id}",
        "timestamp": now_ms // 1000,
        "from": chat,
        "fromMe": False,
        "to": OUR_NUMBER,
        "body": said.text,
        "hasMedia": False,
        "ack": 0,
        "replyTo": None if said.quotes is None else {"id": said.quotes, "participant": OUR_NUMBER},
        "_data": {"key": key},
    }
    return waha_event("message", said.account, payload, now_ms, event_id)
