"""What a provider's client needs of a sender: address and credentials."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from pipeline.domain.sender_policy import WahaEngine
from pipeline.secret import Address, Secret


class Account(Protocol):
    """What every account has."""

    @property
    def base_url(self) -> str:
        """URL of the provider's API, without a slash at the end."""

    @property
    def webhook_secrets(self) -> tuple[Secret, ...]:
        """What signs its callbacks, any of these; (): its callbacks are off."""


@dataclass(frozen=True, slots=True)
class WahaAccount:
    """A WhatsApp session of a WAHA server."""

    session: str
    base_url: str
    """Without a slash at the end."""
    api_key: Secret | None
    """None: the server asks for none."""
    engine: WahaEngine
    webhook_secrets: tuple[Secret, ...] = ()
    """HMAC keys of its webhooks; () for none."""


@dataclass(frozen=True, slots=True)
class ResendAccount:
    """A Resend account (its limit is per team, over all keys)."""

    api_key: Secret
    base_url: str
    webhook_secrets: tuple[Secret, ...] = ()
    """Signing secrets of its webhooks (`whsec_…`); () for none."""


@dataclass(frozen=True, slots=True)
class TwilioAccount:
    """A Twilio number, or a Messaging Service: exactly one of `from_` and `messaging_service_sid` is set."""

    account_sid: str
    auth_token: Secret
    from_: str | None
    messaging_service_sid: str | None
    base_url: str
    status_callback: Address | None
    """URL template; `{touch_id}` is to be filled in, percent-encoded."""
    webhook_secrets: tuple[Secret, ...] = ()
    """Auth tokens that sign its callbacks; () for none."""
