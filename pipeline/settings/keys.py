"""The keys of the file and of each channel. A key is declared in one place, with kind, default, meaning and variable.

`domain.policy.ChannelPolicy` names the same fields as plain values, without parsing; `policies` copies them by name.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

from pipeline.domain.calendar import Calendar
from pipeline.domain.limit import Gap, Limit, WarmUp
from pipeline.domain.link import AttachmentUrls
from pipeline.domain.phone import PhoneCheck
from pipeline.domain.policy import Unresolved
from pipeline.domain.retry import Retry
from pipeline.domain.window import Window
from pipeline.domain.work import Channel
from pipeline.log_lines import LogFormat
from pipeline.settings.compound import ArrayOf, Nested
from pipeline.settings.hours import CALENDAR, WINDOW
from pipeline.settings.kafka import KafkaSettings
from pipeline.settings.kinds import CAP, FILE, REGION, duration, member_of, whole
from pipeline.settings.pacing import GAP, LIMIT, RETRY, WARM_UP
from pipeline.settings.privacy import PrivacyKeys, SuppressionKeys
from pipeline.settings.schema import ABSENT, ByChannel, key
from pipeline.settings.senders import ResendKeys, TwilioKeys, WahaKeys
from pipeline.settings.web import DeliveriesKeys, UnsubscribeKeys, WebKeys

T = TypeVar("T")

_EASTERN_DAY = {"opens": "08:00", "closes": "20:00", "zone": "America/New_York"}


def _unchanged(keys: T, _: Channel | None) -> T:
    return keys


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelKeys:
    """`[channels.…]`: the same keys on each channel. A channel without senders is off."""

    window: Window | None = key(
        WINDOW,
        ByChannel(_EASTERN_DAY, "always", {**_EASTERN_DAY, "opens": "09:00"}),
        "The hours in which a call may begin.",
    )
    calendar: Calendar | None = key(
        CALENDAR,
        "none",
        "The hours that the law of the recipient's place allows: a call begins when both this and the window are open.",
    )
    limit: Limit | None = key(
        LIMIT,
        ByChannel(
            {"rate": 30, "per": "1m", "burst": 1},
            {"rate": 10, "per": "1s", "burst": 1},
            {"rate": 1, "per": "1s", "burst": 1},
        ),
        "Rate limit of each sender.",
    )
    warm_up: WarmUp | None = key(
        WARM_UP, ByChannel({"rate": 10, "per": "1m", "lasts": "7d"}, "none", "none"), "Rate limit of a young sender."
    )
    daily_cap: int | None = key(
        CAP,
        "none",
        'Most messages of each sender per calendar day, in the window\'s zone (its `fallback_zone` with zone "recipient"; UTC if always open).',
    )
    gap: Gap | None = key(GAP, "none", "Random time between two calls of one sender.", formerly="pause")
    numbers: PhoneCheck = key(
        member_of(PhoneCheck), "valid", 'Check of phone numbers; "possible" checks only their length.'
    )
    region: str | None = key(REGION, ABSENT, "Region of numbers written without +; left out: such numbers are refused.")
    attempts: int = key(whole(1, 1_000), 5, "Transient refusals after which a touch has failed.")
    retry: Retry = key(RETRY, {"first": "2s", "most": "15m"}, "Back-off between attempts: exponential, full jitter.")
    retry_for_ms: int = key(
        duration(), "3d", "Time from a touch's first call, outages included, after which it has failed."
    )
    request_timeout_ms: int = key(duration(most="10m"), "10s", "Time that a call waits for its answer.")
    lease_ms: int = key(duration("10ms", "10m"), "5s", "Time after its claim within which a call may begin.")
    resolve_after_ms: int = key(
        duration("0ms", "1h"),
        ByChannel("5s", "0s", "30s"),
        "Time before an unknown outcome is looked up (Twilio's list lags).",
    )
    resolve_for_ms: int = key(
        duration(), "12h", "Time from the claim during which it is looked up; e-mail at most 23h."
    )
    unresolved: Unresolved = key(
        member_of(Unresolved),
        "hold",
        'An outcome that the provider cannot tell: "hold" ends `unconfirmed`, "send" sends again.',
    )
    in_flight: int = key(whole(1, 1_000), ByChannel(1, 10, 10), "Most concurrent calls of one sender.")
    batch: int = key(whole(1, 100), 100, "Most touches per call.", only=Channel.EMAIL, otherwise=1)
    gather_ms: int = key(
        duration("0ms", "1m"),
        "50ms",
        "Time that an idle sender waits for more touches to fill a call.",
        only=Channel.EMAIL,
        otherwise=0,
    )
    attachment_urls: AttachmentUrls = key(
        member_of(AttachmentUrls),
        "public",
        'Allowed sources of attachments: "public" is https to a public name or address, without user info.',
        only=Channel.EMAIL,
        otherwise="public",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class WhatsAppKeys(ChannelKeys):
    """`[channels.whatsapp]`."""

    senders: tuple[WahaKeys, ...] = key(ArrayOf(WahaKeys), [], "Its senders.")


@dataclass(frozen=True, slots=True, kw_only=True)
class EmailKeys(ChannelKeys):
    """`[channels.email]`."""

    senders: tuple[ResendKeys, ...] = key(ArrayOf(ResendKeys), [], "Its senders.")


@dataclass(frozen=True, slots=True, kw_only=True)
class SmsKeys(ChannelKeys):
    """`[channels.sms]`."""

    senders: tuple[TwilioKeys, ...] = key(ArrayOf(TwilioKeys), [], "Its senders.")


AnyChannelKeys = WhatsAppKeys | EmailKeys | SmsKeys


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelsKeys:
    """`[channels]`."""

    whatsapp: WhatsAppKeys = key(Nested(WhatsAppKeys, _unchanged, channel=Channel.WHATSAPP), {}, "WhatsApp, by WAHA.")
    email: EmailKeys = key(Nested(EmailKeys, _unchanged, channel=Channel.EMAIL), {}, "E-mail, by Resend.")
    sms: SmsKeys = key(Nested(SmsKeys, _unchanged, channel=Channel.SMS), {}, "SMS, by Twilio.")


@dataclass(frozen=True, slots=True, kw_only=True)
class FileKeys:
    """The keys at the top of the file."""

    data_dir: str = key(FILE, "data", "Folder of a worker's tables; faust's `--datadir` wins. One folder per process.")
    dedup_for_ms: int = key(
        duration("1s"), "30d", "Time for which an ended touch is remembered, and for which `touches` is retained."
    )
    templates: str = key(FILE, "templates", "Folder of the templates.")
    log_format: LogFormat = key(
        member_of(LogFormat),
        "text",
        'Form of the log of workers, web processes and commands; "json" is an object a line.',
    )
    kafka: KafkaSettings = key(Nested(KafkaSettings, _unchanged), {}, "")
    privacy: PrivacyKeys = key(Nested(PrivacyKeys, _unchanged), {}, "")
    suppression: SuppressionKeys = key(Nested(SuppressionKeys, _unchanged), {}, "")
    web: WebKeys = key(Nested(WebKeys, _unchanged), {}, "")
    unsubscribe: UnsubscribeKeys = key(Nested(UnsubscribeKeys, _unchanged), {}, "")
    deliveries: DeliveriesKeys = key(Nested(DeliveriesKeys, _unchanged), {}, "")
    channels: ChannelsKeys = key(Nested(ChannelsKeys, _unchanged), {}, "")
