"""Where the sandbox calls back and with which secrets, and how the providers show that when asked."""

from __future__ import annotations

import argparse
import base64
import binascii
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterable

PROVIDERS: Final = ("waha", "resend", "twilio")
RESEND_EVENTS: Final = tuple(
    f"email.{each}"
    for each in (
        *("sent", "delivered", "delivery_delayed", "opened", "clicked"),
        *("bounced", "complained", "failed", "suppressed"),
    )
)
WAHA_EVENTS: Final = ("message", "message.ack")


@dataclass(frozen=True, slots=True)
class Webhook:
    """One provider's: the sender whose path is called, and what signs."""

    sender: str
    secret: str = field(repr=False)
    """Resend's `whsec_…`, Twilio's auth token, WAHA's HMAC key."""


@dataclass(frozen=True, slots=True)
class Webhooks:
    """What is set at the three providers."""

    public_url: str = ""
    """What is called and signed: the `web.public_url` of the pipeline. "": callbacks are off."""
    via: str = ""
    """Where that is reached, in place of a proxy's way; "": as it stands."""
    of: dict[str, Webhook] = field(default_factory=dict)
    """By provider; one that is missing calls nothing back."""

    def url(self, provider: str, path: str = "") -> str | None:
        """Return what is called, or None for a provider that calls nothing back."""
        webhook = self.of.get(provider)
        if webhook is None or not self.public_url:
            return None
        return f"{self.public_url}/callbacks/{provider}/{quote(webhook.sender, safe='')}{path}"

    def reached_at(self, url: str) -> str:
        """Return where `url` is reached."""
        is_ours = self.via and (
            url == self.public_url or url.startswith((f"{self.public_url}/", f"{self.public_url}?"))
        )
        return self.via + url.removeprefix(self.public_url) if is_ours else url

    def at_resend(self) -> list[dict[str, Any]]:
        """Return the answer's rows of `GET /webhooks`."""
        url = self.url("resend")
        row = {
            "id": "4dd369bc-aa82-4ff3-97de-514ae3000ee0",
            "created_at": "2026-01-01T00:00:00.000Z",
            "status": "enabled",
            "endpoint": url,
            "events": list(RESEND_EVENTS),
        }
        return [] if url is None else [row]

    def at_waha(self) -> list[dict[str, Any]]:
        """Return `config.webhooks` of a session."""
        url = self.url("waha")
        retries = {"policy": "exponential", "delaySeconds": 2, "attempts": 15}
        row = {"url": url, "events": list(WAHA_EVENTS), "hmac": {"key": "***"}, "retries": retries}
        return [] if url is None else [row]


def webhooks_of(public_url: str, via: str, secrets: Iterable[str]) -> Webhooks:
    """Return what the options say. Raises argparse.ArgumentTypeError with what is wrong."""
    found: dict[str, Webhook] = {}
    for said in secrets:
        name, _, secret = said.partition("=")
        provider, _, sender = name.partition("/")
        if provider not in PROVIDERS or not secret:
            raise argparse.ArgumentTypeError(
                f"a secret is PROVIDER[/SENDER]=SECRET, PROVIDER one of {', '.join(PROVIDERS)}; found {name!r}"
            )
        if provider in found:
            raise argparse.ArgumentTypeError(f"{provider} has two secrets; allowed: one")
        if provider == "resend":
            svix_key(secret)
        found[provider] = Webhook(sender or "default", secret)
    for url in filter(None, (public_url, via)):
        if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname:
            raise argparse.ArgumentTypeError(f"found {url!r}; allowed: an http or https URL")
    if found and not public_url:
        raise argparse.ArgumentTypeError("a secret needs --callbacks: where to call")
    return Webhooks(public_url.rstrip("/"), via.rstrip("/"), found)


def svix_key(secret: str) -> bytes:
    """Return the key in `whsec_…`. Raises argparse.ArgumentTypeError."""
    try:
        return base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except binascii.Error:
        raise argparse.ArgumentTypeError("Resend's secret is whsec_ and base64") from None
