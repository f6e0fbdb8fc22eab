"""Requests of a callback as the providers sign them, or as a forger would.

Sources: docs.svix.com, "Verifying payloads manually"; Twilio, "Webhooks security"; WAHA, "Webhooks". Written without
the libraries that verify them, so that the two check each other.
"""

from __future__ import annotations

import base64
import hmac
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

import orjson

from pipeline.sandbox.webhooks import svix_key

if TYPE_CHECKING:
    from pipeline.sandbox.webhooks import Webhook

FORM: Final = {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}
JSON: Final = {"Content-Type": "application/json"}
STALE_MS: Final = 400 * 86_400_000
"""Over a year: later than anybody remembers a touch."""
WRONG: Final = b"not the secret"


@dataclass(frozen=True, slots=True)
class SandboxEvent:
    """One event of a provider, to be called back."""

    provider: str
    name: str
    """`email.delivered`, a MessageStatus, `message.ack 2`, `inbound`."""
    message_id: str
    url: str
    """As it is called and signed; Twilio's with its connection overrides behind `#`."""
    body: dict[str, Any]
    """A JSON object, or Twilio's form."""
    event_id: str
    """The same on each repetition and retry."""


@dataclass(frozen=True, slots=True)
class SignedRequest:
    """What goes over the wire."""

    headers: dict[str, str]
    body: bytes


def signed(event: SandboxEvent, webhook: Webhook, forge: str | None, now_ms: int) -> SignedRequest:
    """Return the request of an event; `forge` says what is wrong with it (one of `FORGERIES`)."""
    make = {"resend": _svix, "twilio": _twilio, "waha": _waha}[event.provider]
    request = make(event, webhook.secret, forge, now_ms)
    if forge == "altered":
        more = b"&Altered=1" if event.provider == "twilio" else b" "
        return SignedRequest(request.headers, request.body + more)
    if forge == "unsigned":
        kept = {name: value for name, value in request.headers.items() if name.lower() not in SIGNATURES}
        return SignedRequest(kept, request.body)
    return request


SIGNATURES: Final = ("svix-signature", "x-twilio-signature", "x-webhook-hmac")


def _svix(event: SandboxEvent, secret: str, forge: str | None, now_ms: int) -> SignedRequest:
    body = orjson.dumps(event.body)
    at_s = str((now_ms - (STALE_MS if forge == "stale" else 0)) // 1000)
    key = WRONG if forge == "signature" else svix_key(secret)
    mark = base64.b64encode(hmac.digest(key, f"{event.event_id}.{at_s}.".encode() + body, "sha256")).decode()
    headers = {"svix-id": event.event_id, "svix-timestamp": at_s, "svix-signature": f"v1,{mark}"}
    return SignedRequest(JSON | headers, body)


def _twilio(event: SandboxEvent, secret: str, forge: str | None, now_ms: int) -> SignedRequest:
    del now_ms
    form = {name: str(value) for name, value in event.body.items()}
    if forge == "account":
        form["AccountSid"] = "AC" + "f" * 32
    said = event.url.partition("#")[0] + "".join(name + form[name] for name in sorted(form))
    key = WRONG if forge == "signature" else secret.encode()
    mark = base64.b64encode(hmac.digest(key, said.encode(), "sha1")).decode()
    headers = {"X-Twilio-Signature": mark, "I-Twilio-Idempotency-Token": event.event_id}
    return SignedRequest(FORM | headers, urlencode(form).encode())


def _waha(event: SandboxEvent, secret: str, forge: str | None, now_ms: int) -> SignedRequest:
    said = dict(event.body)
    if forge == "account":
        said["session"] = "another"
    if forge == "stale":
        said["timestamp"] -= STALE_MS
    body = orjson.dumps(said)
    headers = {
        "X-Webhook-Request-Id": uuid.uuid4().hex,
        "X-Webhook-Timestamp": str(now_ms),
        "X-Webhook-Hmac": hmac.digest(WRONG if forge == "signature" else secret.encode(), body, "sha512").hex(),
        "X-Webhook-Hmac-Algorithm": "sha512",
    }
    return SignedRequest(JSON | headers, body)
