"""The keys of a sender on each channel."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

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
    choice,
    text,
    whole,
)
from pipeline.settings.table import ABSENT, REQUIRED, key

_SID = r"[A-Za-z0-9_-]{1,64}"
_TWILIO_FROM = r"\+[1-9]\d{4,14}|\d{3,8}|(?=.*[A-Za-z])[A-Za-z0-9 ]{1,11}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SenderKeys:
    """What every sender has."""

    name: str = key(NAME, "default", "Its name: `Status.sender`, and what a touch pins. Unique in its channel.")
    lane: int | None = key(
        whole(0, 9_999),
        ABSENT,
        "Its partition of the channel's topic, below `kafka.lanes`; unique in its channel. A sole sender may leave it out: 0.",
    )
    enabled: bool = key(
        FLAG,
        True,  # noqa: FBT003 - a default
        "`false`: it takes nothing new, finishes what it has claimed, and hands its backlog to the other senders.",
    )
    started_on: date | None = key(
        DATE, ABSENT, "Since when it sends (UTC): `warm_up` counts from here; left out, from its first send."
    )
    daily_cap: int | None = key(
        whole(1, MOST_A_DAY), ABSENT, "Messages per calendar day; left out, the channel's `daily_cap`."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class WahaKeys(SenderKeys):
    """`[[channels.whatsapp.senders]]`: a session of a WAHA server."""

    session: str = key(
        text(r"[A-Za-z0-9_.@-]{1,128}", "a session's name"), "default", "The session.", variable="WAHA_SESSION_NAME"
    )
    base_url: str = key(URL, "http://127.0.0.1:3000", "The WAHA server.", variable="WAHA_BASE_URL")
    api_key: Secret | None = key(
        SECRET, ABSENT, "Its API key; left out if it asks for none.", secret=True, variable="WAHA_API_KEY"
    )
    engine: str = key(
        choice("NOWEB", "GOWS", "WEBJS", "WPP"),
        "NOWEB",
        "Its engine: decides how an unknown outcome is looked up.",
        variable="WAHA_ENGINE",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ResendKeys(SenderKeys):
    """`[[channels.email.senders]]`: a Resend account."""

    api_key: Secret = key(
        SECRET, REQUIRED, "The API key; one that may only send is enough.", secret=True, variable="RESEND_API_KEY"
    )
    from_: tuple[str, ...] = key(
        SENDER_ADDRESSES,
        REQUIRED,
        "Addresses it sends from; a touch may pick one, else the first.",
        variable="RESEND_FROM",
    )
    base_url: str = key(URL, "https://api.resend.com", "The API.", variable="RESEND_API_URL")


@dataclass(frozen=True, slots=True, kw_only=True)
class TwilioKeys(SenderKeys):
    """`[[channels.sms.senders]]`: a Twilio number or Messaging Service. Either `from` or `messaging_service_sid`."""

    account_sid: str = key(text(_SID, 'an account SID, "AC…"'), REQUIRED, "The account.", variable="TWILIO_ACCOUNT_SID")
    auth_token: Secret = key(SECRET, REQUIRED, "Its token.", secret=True, variable="TWILIO_AUTH_TOKEN")
    from_: str | None = key(
        text(_TWILIO_FROM, "a number with + (E.164), a short code, or an alphanumeric sender ID"),
        ABSENT,
        "The number.",
        variable="TWILIO_FROM",
    )
    messaging_service_sid: str | None = key(
        text(_SID, 'a Messaging Service\'s SID, "MG…"'),
        ABSENT,
        "The Messaging Service.",
        variable="TWILIO_MESSAGING_SERVICE_SID",
    )
    status_callback: Address | None = key(
        CALLBACK,
        ABSENT,
        "Where Twilio reports to; `{touch_id}` is filled in, percent-encoded. A user and password in it go to Twilio alone; path and query are stored.",
        variable="TWILIO_STATUS_CALLBACK",
    )
    base_url: str = key(URL, "https://api.twilio.com", "The API.", variable="TWILIO_API_URL")


SENDERS: dict[Channel, type[SenderKeys]] = {
    Channel.WHATSAPP: WahaKeys,
    Channel.EMAIL: ResendKeys,
    Channel.SMS: TwilioKeys,
}
"""What a sender of each channel is."""
