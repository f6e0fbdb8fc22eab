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
from pipeline.settings.schema import ABSENT, REQUIRED, key

_SID = r"[A-Za-z0-9_-]{1,64}"
_TWILIO_FROM = r"\+[1-9]\d{4,14}|\d{3,8}|(?=.*[A-Za-z])[A-Za-z0-9 ]{1,11}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SenderKeys:
    """The keys of every sender."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class WahaKeys(SenderKeys):
    """`[[channels.whatsapp.senders]]`: a session of a WAHA server."""

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
    engine: str = key(
        choice("NOWEB", "GOWS", "WEBJS", "WPP"),
        "NOWEB",
        "WAHA engine of the session; decides how an unknown outcome is looked up.",
        variable="WAHA_ENGINE",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ResendKeys(SenderKeys):
    """`[[channels.email.senders]]`: a Resend account."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class TwilioKeys(SenderKeys):
    """`[[channels.sms.senders]]`: a Twilio number or Messaging Service. Either `from` or `messaging_service_sid`."""

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


SENDERS: dict[Channel, type[SenderKeys]] = {
    Channel.WHATSAPP: WahaKeys,
    Channel.EMAIL: ResendKeys,
    Channel.SMS: TwilioKeys,
}
"""Keys of a sender, by channel."""
