"""The keys of a sender on each channel."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from typing import ClassVar

from pipeline.channels.email.callback import is_secret as is_signing_secret
from pipeline.domain.account import Account, ResendAccount, TwilioAccount, WahaAccount
from pipeline.domain.sender_policy import SenderPolicy, WahaEngine
from pipeline.domain.work import Channel
from pipeline.secret import Address, Secret
from pipeline.settings.kinds import (
    CALLBACK,
    DATE,
    FLAG,
    MOST_A_DAY,
    NAME,
    SECRET,
    SENDER_ADDRESSES,
    URL,
    member_of,
    secrets,
    text,
    whole,
)
from pipeline.settings.schema import ABSENT, REQUIRED, key

_SID = r"[A-Za-z0-9_-]{1,64}"
_TWILIO_FROM = r"\+[1-9]\d{4,14}|\d{3,8}|(?=.*[A-Za-z])[A-Za-z0-9 ]{1,11}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SenderKeys:
    """The keys of every sender."""

    SWITCHES: ClassVar[tuple[str, ...]]
    """Without a file, the channel is on when at least one of these variables is set."""

    name: str = key(
        NAME, "default", "Name of the sender, in `Status.sender` and in a touch that pins it. Unique in its channel."
    )
    lane: int | None = key(
        whole(0, 9_999),
        ABSENT,
        "Partition of the channel's topic, below `kafka.lanes`; unique in its channel. Required with several senders; a single one has 0.",
    )
    enabled: bool = key(
        FLAG,
        True,  # noqa: FBT003 - a default
        "`false`: the sender takes no new touches, finishes its open claims, and hands its backlog to the other senders.",
    )
    started_on: date | None = key(
        DATE, ABSENT, "Date (UTC) from which `warm_up` counts; left out: the sender's first send."
    )
    daily_cap: int | None = key(
        whole(1, MOST_A_DAY), ABSENT, "Most messages per calendar day; left out: the channel's `daily_cap`."
    )

    def account(self) -> Account:
        """Return what the provider's client needs."""
        raise NotImplementedError

    def policy(self, cap: int | None) -> SenderPolicy:
        """Return what the lane needs; `cap` is the channel's daily cap."""
        return SenderPolicy(
            self.name,
            self.lane or 0,
            started_on_ms=_midnight_ms(self.started_on),
            is_enabled=self.enabled,
            daily_cap=self.daily_cap or cap,
        )


def _midnight_ms(day: date | None) -> int | None:
    return None if day is None else int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class WahaKeys(SenderKeys):
    """`[[channels.whatsapp.senders]]`: a session of a WAHA server."""

    SWITCHES: ClassVar = ("WAHA_BASE_URL", "WAHA_API_KEY", "WAHA_SESSION_NAME")

    session: str = key(
        text(r"[A-Za-z0-9_.@-]{1,128}", "a session's name"),
        "default",
        "Name of the session.",
        variable="WAHA_SESSION_NAME",
    )
    base_url: str = key(URL, "http://127.0.0.1:3000", "URL of the WAHA server.", variable="WAHA_BASE_URL")
    api_key: Secret | None = key(
        SECRET, ABSENT, "API key of the server; left out if it requires none.", secret=True, variable="WAHA_API_KEY"
    )
    engine: WahaEngine = key(
        member_of(WahaEngine),
        "NOWEB",
        "WAHA engine of the session; decides how an unknown outcome is looked up.",
        variable="WAHA_ENGINE",
    )

    webhook_secrets: tuple[Secret, ...] = key(
        secrets(bool, "an HMAC key"),
        [],
        "HMAC key of the session's webhooks. Any of several counts, for rotation. Left out: its callbacks are off.",
        secret=True,
    )

    def account(self) -> WahaAccount:
        """Return what the WAHA client needs."""
        return WahaAccount(self.session, self.base_url, self.api_key, self.engine, self.webhook_secrets)

    def policy(self, cap: int | None) -> SenderPolicy:
        """Return what the lane needs; `cap` is the channel's daily cap."""
        return replace(SenderKeys.policy(self, cap), addresses=(self.session,), engine=self.engine)


@dataclass(frozen=True, slots=True, kw_only=True)
class ResendKeys(SenderKeys):
    """`[[channels.email.senders]]`: a Resend account."""

    SWITCHES: ClassVar = ("RESEND_API_KEY", "RESEND_FROM")

    api_key: Secret = key(
        SECRET, REQUIRED, "API key; one with sending access is enough.", secret=True, variable="RESEND_API_KEY"
    )
    from_: tuple[str, ...] = key(
        SENDER_ADDRESSES,
        REQUIRED,
        "`From` addresses; a touch may choose one, the first is the default.",
        variable="RESEND_FROM",
    )
    base_url: str = key(URL, "https://api.resend.com", "Base URL of the API.", variable="RESEND_API_URL")

    webhook_secrets: tuple[Secret, ...] = key(
        secrets(is_signing_secret, 'a signing secret, "whsec_…"'),
        [],
        "Signing secret of the account's webhook. Any of several counts, for rotation. Left out: its callbacks are off.",
        secret=True,
    )

    def account(self) -> ResendAccount:
        """Return what the Resend client needs."""
        return ResendAccount(self.api_key, self.base_url, self.webhook_secrets)

    def policy(self, cap: int | None) -> SenderPolicy:
        """Return what the lane needs; `cap` is the channel's daily cap."""
        return replace(SenderKeys.policy(self, cap), addresses=self.from_)


@dataclass(frozen=True, slots=True, kw_only=True)
class TwilioKeys(SenderKeys):
    """`[[channels.sms.senders]]`: a Twilio number or Messaging Service. Either `from` or `messaging_service_sid`."""

    SWITCHES: ClassVar = ("TWILIO_ACCOUNT_SID", "TWILIO_AUTH_TOKEN", "TWILIO_FROM", "TWILIO_MESSAGING_SERVICE_SID")

    account_sid: str = key(text(_SID, 'an account SID, "AC…"'), REQUIRED, "Account SID.", variable="TWILIO_ACCOUNT_SID")
    auth_token: Secret = key(SECRET, REQUIRED, "Auth token of the account.", secret=True, variable="TWILIO_AUTH_TOKEN")
    from_: str | None = key(
        text(_TWILIO_FROM, "a number with + (E.164), a short code, or an alphanumeric sender ID"),
        ABSENT,
        "Number, short code or sender ID that sends.",
        variable="TWILIO_FROM",
    )
    messaging_service_sid: str | None = key(
        text(_SID, 'a Messaging Service\'s SID, "MG…"'),
        ABSENT,
        "SID of the Messaging Service.",
        variable="TWILIO_MESSAGING_SERVICE_SID",
    )
    status_callback: Address | None = key(
        CALLBACK,
        ABSENT,
        "URL for Twilio's delivery reports; `{touch_id}` is replaced, percent-encoded. A user and password in it are sent only to Twilio; path and query are stored.",
        variable="TWILIO_STATUS_CALLBACK",
    )
    base_url: str = key(URL, "https://api.twilio.com", "Base URL of the API.", variable="TWILIO_API_URL")
    webhook_secrets: tuple[Secret, ...] = key(
        secrets(bool, "an auth token"),
        [],
        "Primary auth token, which signs callbacks: `auth_token` again, or both while it is changed. Any of several counts, for rotation. Left out: its callbacks are off.",
        secret=True,
    )

    def account(self) -> TwilioAccount:
        """Return what the Twilio client needs."""
        return TwilioAccount(
            self.account_sid,
            self.auth_token,
            self.from_,
            self.messaging_service_sid,
            self.base_url,
            self.status_callback,
            self.webhook_secrets,
        )

    def policy(self, cap: int | None) -> SenderPolicy:
        """Return what the lane needs; `cap` is the channel's daily cap."""
        address = self.from_ or self.messaging_service_sid or ""
        callback = None if self.status_callback is None else self.status_callback.url
        return replace(SenderKeys.policy(self, cap), addresses=(address,), status_callback=callback)


SENDERS: dict[Channel, type[SenderKeys]] = {
    Channel.WHATSAPP: WahaKeys,
    Channel.EMAIL: ResendKeys,
    Channel.SMS: TwilioKeys,
}
"""Keys of a sender, by channel."""
