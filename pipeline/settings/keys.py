"""Every key there is, declared once: kind, default, meaning, environment variable that counts without a file."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import TypeVar

from pipeline.domain.calendar import Calendar
from pipeline.domain.limit import Limit, Pause, WarmUp, WarmUpStep
from pipeline.domain.retry import Retry
from pipeline.domain.window import ALL_DAYS, RECIPIENT, NeverOpens, Window
from pipeline.domain.work import Channel
from pipeline.secret import Address, Secret
from pipeline.settings.calendars import HOURS, HoursKeys, load_calendar
from pipeline.settings.kinds import (
    CAP,
    CLOCK,
    CLOCK_OR_MIDNIGHT,
    COMMAND,
    DATES,
    FILE,
    PASSWORD,
    REGION,
    SERVERS,
    URL_WITH_LOGIN,
    WEEKDAYS,
    ZONE,
    ZONE_OR_RECIPIENT,
    choice,
    duration,
    text,
    whole,
)
from pipeline.settings.place import Wrong
from pipeline.settings.senders import ResendKeys, TwilioKeys, WahaKeys
from pipeline.settings.table import ABSENT, REQUIRED, ByChannel, ByName, Many, Nested, OneOrSteps, key

T = TypeVar("T")
LONGEST_RESEND_MS = 82_800_000
"""23 h: Resend forgets an Idempotency-Key after 24."""
SMS_MARGIN_MS = 5_000
"""Twilio advises a ValidityPeriod over 5 s (Messages resource), so for SMS a window's last 5 s count as closed."""

_NEW_YORK = "America/New_York"


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitKeys:
    """`limit`."""

    rate: int = key(whole(1, 100_000), REQUIRED, "Calls.")
    per_ms: int = key(
        duration(most="1d"), REQUIRED, "In any stretch of time as long as this, measured at the provider."
    )
    burst: int = key(whole(1, 100_000), 1, "Calls that may go at once after a pause; at most `rate`. 1 spaces evenly.")


@dataclass(frozen=True, slots=True, kw_only=True)
class WarmUpKeys(LimitKeys):
    """`warm_up`, one step of it."""

    lasts_ms: int = key(duration(), REQUIRED, "How long, from `started_on` or the sender's first send.")


@dataclass(frozen=True, slots=True, kw_only=True)
class WarmUpStepKeys(LimitKeys):
    """A step of `warm_up`."""

    until_ms: int = key(
        duration(), REQUIRED, "Until the sender is so old, counted from `started_on` or its first send; ascending."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class PauseKeys:
    """`pause`."""

    least_ms: int = key(duration("0ms", "1d"), REQUIRED, "The shortest.")
    most_ms: int = key(duration("1ms", "1d"), REQUIRED, "The longest.")


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryKeys:
    """`retry`."""

    first_ms: int = key(duration(), "2s", "The longest first wait; doubled after each refusal.")
    most_ms: int = key(
        duration(), "15m", "The longest wait ever. A wait is drawn anew between nothing and its longest."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowKeys:
    """`window`."""

    opens_s: int = key(CLOCK, REQUIRED, "First moment that is open.")
    closes_s: int = key(CLOCK_OR_MIDNIGHT, REQUIRED, "First moment that is closed; before `opens`: on the next day.")
    zone: str = key(
        ZONE_OR_RECIPIENT,
        REQUIRED,
        'Whose clock. "recipient": the touch\'s `time_zone`, else every zone of the number must be open.',
    )
    fallback_zone: str | None = key(
        ZONE,
        ABSENT,
        'With zone "recipient", and then required: where no zone is known, or they are never open together.',
    )
    days: frozenset[int] | None = key(WEEKDAYS, ABSENT, "Days that open; every day if left out.")
    holidays: frozenset[date] = key(DATES, [], "Days that do not, in the deciding zone.")


def _itself(keys: T, _: Channel | None) -> T:
    return keys


def _limit(keys: LimitKeys, _: Channel | None) -> Limit:
    if keys.burst > keys.rate:
        raise Wrong(f"burst not over rate ({keys.burst} > {keys.rate})")
    return Limit(keys.rate, keys.per_ms, keys.burst)


def _warm_up(keys: WarmUpKeys, channel: Channel | None) -> WarmUp:
    return WarmUp((WarmUpStep(_limit(keys, channel), keys.lasts_ms),))


def _warm_up_step(keys: WarmUpStepKeys, channel: Channel | None) -> WarmUpStep:
    return WarmUpStep(_limit(keys, channel), keys.until_ms)


def _warm_up_steps(steps: tuple[WarmUpStep, ...]) -> WarmUp:
    try:
        return WarmUp(steps)
    except ValueError:
        raise Wrong("at least one step, and each `until` after the one before") from None


def _pause(keys: PauseKeys, _: Channel | None) -> Pause:
    try:
        return Pause(keys.least_ms, keys.most_ms)
    except ValueError:
        raise Wrong(f"least not over most ({keys.least_ms} ms > {keys.most_ms} ms)") from None


def _retry(keys: RetryKeys, _: Channel | None) -> Retry:
    if keys.first_ms > keys.most_ms:
        raise Wrong(f"first not over most ({keys.first_ms} ms > {keys.most_ms} ms)")
    return Retry(keys.first_ms, keys.most_ms)


def _window(keys: WindowKeys, channel: Channel | None) -> Window:
    if keys.zone == RECIPIENT and keys.fallback_zone is None:
        raise Wrong('fallback_zone beside zone = "recipient"')
    margin_ms = SMS_MARGIN_MS if channel is Channel.SMS else 0
    days = ALL_DAYS if keys.days is None else keys.days
    try:
        return Window(keys.opens_s, keys.closes_s, keys.zone, keys.fallback_zone, days, keys.holidays, margin_ms)
    except NeverOpens:
        why = f" by more than {margin_ms // 1000} s" if margin_ms else ""
        raise Wrong(f'closes after opens{why}, so that it opens at all ("always" for no window)') from None


_EASTERN_DAY = {"opens": "08:00", "closes": "20:00", "zone": _NEW_YORK}


@dataclass(frozen=True, slots=True, kw_only=True)
class CalendarKeys:
    """`calendar`."""

    name: str = key(text(r"[a-z0-9.-]{1,64}", "a calendar's name"), REQUIRED, "Which, and which edition of it.")
    override: dict[str, tuple[HoursKeys, ...]] = key(
        ByName(HOURS),
        {},
        "Other hours for some of its places, by code: a table of the keys below, or an array of them.",
    )


def _calendar(keys: CalendarKeys, channel: Channel | None) -> Calendar:
    return load_calendar(keys.name, keys.override, SMS_MARGIN_MS if channel is Channel.SMS else 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelKeys:
    """`[channels.…]`: the same keys on each channel. A channel without senders is off."""

    window: Window | None = key(
        Nested(WindowKeys, _window, "always"),
        ByChannel(_EASTERN_DAY, "always", {**_EASTERN_DAY, "opens": "09:00"}),
        "The hours in which a call may begin.",
    )
    calendar: Calendar | None = key(
        Nested(CalendarKeys, _calendar, "none", short="name"),
        "none",
        "What the law of the recipient's place allows: a call begins when this and the window are open.",
    )
    limit: Limit | None = key(
        Nested(LimitKeys, _limit, "none"),
        ByChannel(
            {"rate": 30, "per": "1m", "burst": 1},
            {"rate": 10, "per": "1s", "burst": 1},
            {"rate": 1, "per": "1s", "burst": 1},
        ),
        "How often each sender may call.",
    )
    warm_up: WarmUp | None = key(
        OneOrSteps(Nested(WarmUpKeys, _warm_up, "none"), Nested(WarmUpStepKeys, _warm_up_step), _warm_up_steps),
        ByChannel({"rate": 10, "per": "1m", "lasts": "7d"}, "none", "none"),
        "The limit of a young sender.",
    )
    daily_cap: int | None = key(
        CAP,
        "none",
        'Messages of each sender per calendar day, in the window\'s zone (its `fallback_zone` with zone "recipient"; UTC if always open).',
    )
    pause: Pause | None = key(
        Nested(PauseKeys, _pause, "none"), "none", "Between two calls of one sender, drawn anew each time."
    )
    numbers: str = key(
        choice("valid", "possible"), "valid", 'What a phone number must be; "possible": only its length counts.'
    )
    region: str | None = key(REGION, ABSENT, "Whose numbers are meant when one has no +; left out, they are refused.")
    attempts: int = key(whole(1, 1_000), 5, "Transient refusals of one touch before it has failed.")
    retry: Retry = key(
        Nested(RetryKeys, _retry), {"first": "2s", "most": "15m"}, "Back-off between them: doubling, full jitter."
    )
    retry_for_ms: int = key(duration(), "3d", "From a touch's first call, outages included; then it has failed.")
    request_timeout_ms: int = key(duration(most="10m"), "10s", "How long a call waits for its answer.")
    lease_ms: int = key(duration("10ms", "10m"), "5s", "How long after its claim a call may begin.")
    resolve_after_ms: int = key(
        duration("0ms", "1h"),
        ByChannel("5s", "0s", "30s"),
        "How long to wait before an unknown outcome is looked up (Twilio's list lags).",
    )
    resolve_for_ms: int = key(duration(), "12h", "How long it is looked up, from the claim; e-mail at most 23h.")
    unresolved: str = key(
        choice("hold", "send"),
        "hold",
        'Where the provider can never tell: "hold" ends `unconfirmed`, "send" sends again.',
    )
    in_flight: int = key(whole(1, 1_000), ByChannel(1, 10, 10), "Calls of one sender at once.")
    batch: int | None = key(whole(1, 100), 100, "Touches per call at most.", only=Channel.EMAIL)
    gather_ms: int | None = key(
        duration("0ms", "1m"), "50ms", "How long an idle sender waits for company.", only=Channel.EMAIL
    )
    attachment_urls: str | None = key(
        choice("public", "any"),
        "public",
        'Where attachments may be fetched from: "public" is https to a public name or address, without user info.',
        only=Channel.EMAIL,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class WhatsAppKeys(ChannelKeys):
    """`[channels.whatsapp]`."""

    senders: tuple[WahaKeys, ...] = key(Many(WahaKeys), [], "Its senders.")


@dataclass(frozen=True, slots=True, kw_only=True)
class EmailKeys(ChannelKeys):
    """`[channels.email]`."""

    senders: tuple[ResendKeys, ...] = key(Many(ResendKeys), [], "Its senders.")


@dataclass(frozen=True, slots=True, kw_only=True)
class SmsKeys(ChannelKeys):
    """`[channels.sms]`."""

    senders: tuple[TwilioKeys, ...] = key(Many(TwilioKeys), [], "Its senders.")


@dataclass(frozen=True, slots=True, kw_only=True)
class KafkaSettings:
    """`[kafka]`."""

    bootstrap_servers: tuple[str, ...] = key(
        SERVERS, ["127.0.0.1:9092"], "Where Kafka is.", variable="KAFKA_BOOTSTRAP_SERVERS"
    )
    security_protocol: str = key(
        choice("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"),
        "PLAINTEXT",
        "How to talk to it.",
        variable="KAFKA_SECURITY_PROTOCOL",
    )
    sasl_mechanism: str | None = key(
        choice("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"),
        ABSENT,
        "How to log in; required with SASL.",
        variable="KAFKA_SASL_MECHANISM",
    )
    sasl_username: str | None = key(
        PASSWORD, ABSENT, "As whom; required with PLAIN and SCRAM.", variable="KAFKA_SASL_USERNAME"
    )
    sasl_password: Secret | None = key(
        PASSWORD,
        ABSENT,
        "With which password; required with PLAIN and SCRAM.",
        secret=True,
        variable="KAFKA_SASL_PASSWORD",
    )
    sasl_token_file: str | None = key(
        FILE,
        ABSENT,
        "With OAUTHBEARER: the file that holds the token, read for each new connection.",
        variable="KAFKA_SASL_TOKEN_FILE",
    )
    sasl_token_command: str | None = key(
        COMMAND,
        ABSENT,
        "With OAUTHBEARER, in place of a file: the command that prints the token. Run without a shell, at most every 30 s.",
        variable="KAFKA_SASL_TOKEN_COMMAND",
    )
    ssl_cafile: str | None = key(
        FILE, ABSENT, "Certificates to trust (PEM), with SSL; left out, the system's.", variable="KAFKA_SSL_CAFILE"
    )
    ssl_certfile: str | None = key(
        FILE,
        ABSENT,
        "The client's certificate and those up to its authority (PEM), where the brokers ask for one.",
        variable="KAFKA_SSL_CERTFILE",
    )
    ssl_keyfile: str | None = key(
        FILE, ABSENT, "Its private key (PEM); left out, it stands in `ssl_certfile`.", variable="KAFKA_SSL_KEYFILE"
    )
    ssl_key_password: Secret | None = key(
        PASSWORD, ABSENT, "The private key's password.", secret=True, variable="KAFKA_SSL_KEY_PASSWORD"
    )
    schema_registry_url: Address | None = key(
        URL_WITH_LOGIN,
        ABSENT,
        "A Confluent schema registry; with it, `touches` may come in Confluent's framing, and statuses go out in it.",
        secret=True,
        variable="SCHEMA_REGISTRY_URL",
    )
    topic_prefix: str = key(
        text(r"[A-Za-z0-9._-]{0,100}", "up to 100 of A-Z a-z 0-9 . _ -"),
        "",
        "Goes before every topic and the application id.",
        variable="KAFKA_TOPIC_PREFIX",
    )
    replication_factor: int = key(
        whole(1, 100), 1, "Of the topics we create; from 3 on they need two in-sync replicas."
    )
    status_format: str = key(
        choice("avro", "json"),
        "avro",
        "Of `touches.status` and `touches.dead-letters`; JSON wins over a registry.",
        variable="KAFKA_STATUS_FORMAT",
    )
    partitions: int = key(whole(1, 10_000), 8, "Of `touches`, and of all topics but the channels'.")
    lanes: int = key(whole(1, 10_000), 8, "Partitions of each channel's topic: the most senders it can have.")
    session_timeout_ms: int = key(duration("6s", "30m"), "10s", "After how long a silent worker's partitions move.")


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelsKeys:
    """`[channels]`."""

    whatsapp: WhatsAppKeys = key(Nested(WhatsAppKeys, _itself, channel=Channel.WHATSAPP), {}, "WhatsApp, by WAHA.")
    email: EmailKeys = key(Nested(EmailKeys, _itself, channel=Channel.EMAIL), {}, "E-mail, by Resend.")
    sms: SmsKeys = key(Nested(SmsKeys, _itself, channel=Channel.SMS), {}, "SMS, by Twilio.")


@dataclass(frozen=True, slots=True, kw_only=True)
class FileKeys:
    """The file."""

    data_dir: str = key(
        FILE, "data", "Where a worker keeps its tables; faust's `--datadir` wins. One folder per process."
    )
    dedup_for_ms: int = key(duration("1s"), "30d", "How long an ended touch is remembered, and `touches` retained.")
    templates: str = key(FILE, "templates", "Where the templates are.")
    kafka: KafkaSettings = key(Nested(KafkaSettings, _itself), {}, "")
    channels: ChannelsKeys = key(Nested(ChannelsKeys, _itself), {}, "")
