"""The configuration: read once from a TOML file, or without one from the environment, and checked as a whole."""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Final

from pipeline.domain.account import ResendAccount, TwilioAccount, WahaAccount
from pipeline.domain.hours import ever_open
from pipeline.domain.policy import ChannelPolicy, SenderPolicy
from pipeline.domain.work import Channel
from pipeline.secret import Address
from pipeline.settings.keys import (
    LONGEST_RESEND_MS,
    ChannelKeys,
    EmailKeys,
    FileKeys,
    KafkaSettings,
    SmsKeys,
    WhatsAppKeys,
)
from pipeline.settings.place import FromEnvironment, Place, Spoilt, shown
from pipeline.settings.security import check_security, placed
from pipeline.settings.senders import SENDERS, ResendKeys, SenderKeys, TwilioKeys, WahaKeys
from pipeline.settings.table import fill_in, keys_of, read_table
from pipeline.settings.variables import CONFIG_VARIABLE, misspelt

SOME_DAY_MS: Final = 1_767_225_600_000
"""2026-01-01, from which on window and calendar must open together within a year."""
_SWITCHES: Final = {
    Channel.WHATSAPP: ("WAHA_BASE_URL", "WAHA_API_KEY", "WAHA_SESSION_NAME"),
    Channel.EMAIL: ("RESEND_API_KEY", "RESEND_FROM"),
    Channel.SMS: ("TWILIO_ACCOUNT_SID", "TWILIO_AUTH_TOKEN", "TWILIO_FROM", "TWILIO_MESSAGING_SERVICE_SID"),
}
"""Without a file a channel is on when one of these is set."""


class SettingsError(Exception):
    """The configuration is wrong; one line for each thing that is."""

    def __init__(self, lines: Iterable[str]) -> None:
        self.lines = tuple(lines)
        super().__init__("\n".join(self.lines))


@dataclass(frozen=True, slots=True)
class Settings:
    """The configuration, checked. Paths are absolute."""

    source: str
    """The file it was read from, or "environment"."""
    data_dir: Path
    dedup_for_ms: int
    templates: Path
    kafka: KafkaSettings
    channels: Mapping[Channel, ChannelPolicy]
    """Every channel; one without senders is off."""
    waha: Mapping[str, WahaAccount]
    """By sender's name, as are those below."""
    resend: Mapping[str, ResendAccount]
    twilio: Mapping[str, TwilioAccount]
    templates_named: bool = False
    """The configuration names the folder: then it must be there."""


def load(environ: Mapping[str, str], cwd: Path) -> Settings:
    """Return the configuration; raise SettingsError with a line for each thing that is wrong.

    `PIPELINE_CONFIG` names a TOML file, relative to `cwd`; its paths are relative to its own folder, and the other
    variables do not count. Without it they do, and paths are relative to `cwd`.
    """
    named = environ.get(CONFIG_VARIABLE)
    notes = [_misspelt(*each) for each in misspelt(environ)]
    try:
        if named:
            path = (cwd / named).absolute()
            place = Place("", None, notes, {})
            raw = {name: fill_in(each, environ, place.at(name)) for name, each in _read_file(path, named).items()}
        else:
            path = cwd.absolute() / "environment"
            raw, names = _from_environment(environ)
            place = Place("", None, notes, names)
        keys = read_table(FileKeys, raw, place)
        checked = _checked(keys, place, path.parent, str(path) if named else "environment")
        return replace(checked, templates_named="templates" in raw)
    except Spoilt:
        raise SettingsError(notes) from None


def _misspelt(found: str, meant: str) -> str:
    return f"{found}: found an unknown environment variable; allowed: {meant}, which is not set (did you mean that?)"


def _read_file(path: Path, named: str) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        why = error.strerror or type(error).__name__
        found, allowed = f"{shown(named)} ({why})", "the path of a TOML file"
    except UnicodeDecodeError:
        found, allowed = f"{shown(named)}, which is not UTF-8", "the path of a TOML file"
    except tomllib.TOMLDecodeError as error:
        found, allowed = f"{shown(named)}, which is not TOML: {error}", "TOML 1.0"
    raise SettingsError([f"{CONFIG_VARIABLE}: found {found}; allowed: {allowed}"])


def _from_environment(environ: Mapping[str, str]) -> tuple[dict[str, Any], dict[str, str]]:
    """Return what would stand in a file, and what its paths are called here."""
    names: dict[str, str] = {}
    kafka = _variables(KafkaSettings, "kafka", environ, names)
    channels: dict[str, Any] = {}
    for lane, channel in enumerate(Channel):
        if any(environ.get(variable) for variable in _SWITCHES[channel]):
            sender = _variables(SENDERS[channel], f"channels.{channel}.senders[0]", environ, names)
            channels[channel.value] = {"senders": [{**sender, "lane": lane}]}
    return {"kafka": kafka, "channels": channels}, names


def _variables(table: type[Any], path: str, environ: Mapping[str, str], names: dict[str, str]) -> dict[str, Any]:
    raw: dict[str, Any] = {}
    for each in keys_of(table):
        if each.variable is not None:
            names[f"{path}.{each.name}"] = each.variable
            if text := environ.get(each.variable):
                raw[each.name] = FromEnvironment.read(each.variable, text)
    return raw


def _checked(keys: FileKeys, place: Place, folder: Path, source: str) -> Settings:
    check_security(keys.kafka, place.at("kafka"), folder)
    whatsapp, email, sms = keys.channels.whatsapp, keys.channels.email, keys.channels.sms
    for channel, channel_keys in _channels(keys):
        _check_senders(channel_keys.senders, place.at("channels").at(channel).at("senders"), keys.kafka.lanes)
    _check_email(email, place.at("channels").at("email"))
    _check_sms(sms, place.at("channels").at("sms").at("senders"))
    _check_unshared(whatsapp, sms, place.at("channels"))
    for channel, channel_keys in _channels(keys):
        _check_hours(channel_keys, place.at("channels").at(channel).at("calendar"))
    if place.notes:
        raise Spoilt
    return Settings(
        source=source,
        data_dir=folder / keys.data_dir,
        dedup_for_ms=keys.dedup_for_ms,
        templates=folder / keys.templates,
        kafka=placed(keys.kafka, folder),
        channels={channel: _policy(channel, each) for channel, each in _channels(keys)},
        waha={each.name: _waha(each) for each in whatsapp.senders},
        resend={each.name: ResendAccount(each.api_key, each.base_url) for each in email.senders},
        twilio={each.name: _twilio(each) for each in sms.senders},
    )


def _channels(keys: FileKeys) -> list[tuple[Channel, WhatsAppKeys | EmailKeys | SmsKeys]]:
    found = keys.channels
    return [(Channel.WHATSAPP, found.whatsapp), (Channel.EMAIL, found.email), (Channel.SMS, found.sms)]


def _check_senders(senders: tuple[SenderKeys, ...], place: Place, lanes: int) -> None:
    named, laned = Counter(each.name for each in senders), Counter(each.lane for each in senders)
    for index, sender in enumerate(senders):
        here = place.item(index)
        if named[sender.name] > 1:
            here.at("name").note(
                f"{shown(sender.name)} more than once", "a name of its own for each sender of the channel"
            )
        if sender.lane is None and len(senders) > 1:
            here.at("lane").note("nothing", f"a whole number from 0 to {lanes - 1}, one for each sender of the channel")
        elif sender.lane is not None and sender.lane >= lanes:
            here.at("lane").note(str(sender.lane), f"a whole number from 0 to {lanes - 1} (kafka.lanes is {lanes})")
        elif sender.lane is not None and laned[sender.lane] > 1:
            here.at("lane").note(f"{sender.lane} more than once", "a lane of its own for each sender of the channel")


def _check_email(email: EmailKeys, place: Place) -> None:
    if email.resolve_for_ms > LONGEST_RESEND_MS:
        found = (
            f'"{email.resolve_for_ms // 3_600_000}h"'
            if email.resolve_for_ms % 3_600_000 == 0
            else f'"{email.resolve_for_ms}ms"'
        )
        place.at("resolve_for").note(found, 'at most "23h": Resend forgets an Idempotency-Key after 24')


def _check_sms(sms: SmsKeys, place: Place) -> None:
    for index, sender in enumerate(sms.senders):
        here = place.item(index)
        if sender.from_ is None and sender.messaging_service_sid is None:
            here.at("from").note("nothing", f"a number, or else {_called(here, 'messaging_service_sid')}")
        if sender.from_ is not None and sender.messaging_service_sid is not None:
            here.at("from").note(f"both this and {_called(here, 'messaging_service_sid')}", "one of the two")


def _called(place: Place, name: str) -> str:
    return place.names.get(f"{place.path}.{name}", name)


def _check_unshared(whatsapp: WhatsAppKeys, sms: SmsKeys, place: Place) -> None:
    """Refuse two senders that are one to the provider: each would use the whole limit."""
    sessions: list[tuple[str | None, ...]] = [(each.base_url, each.session) for each in whatsapp.senders]
    numbers: list[tuple[str | None, ...]] = [
        (each.base_url, each.account_sid, each.from_ or each.messaging_service_sid) for each in sms.senders
    ]
    for channel, key, known in (("whatsapp", "session", sessions), ("sms", "from", numbers)):
        for index, each in enumerate(known):
            if each in known[:index]:
                here = place.at(channel).at("senders").item(index).at(key)
                here.note(
                    f"{shown(each[-1])}, the same as senders[{known.index(each)}]",
                    "another one: both would use the whole limit",
                )


def _check_hours(keys: ChannelKeys, place: Place) -> None:
    if keys.calendar is not None and not ever_open(keys.window, keys.calendar, SOME_DAY_MS):
        place.note(shown(keys.calendar.name), "one that is sometimes open together with `window`")


def _policy(channel: Channel, keys: WhatsAppKeys | EmailKeys | SmsKeys) -> ChannelPolicy:
    shared: ChannelKeys = keys
    return ChannelPolicy(
        channel=channel,
        senders=tuple(_sender(each, keys.daily_cap) for each in keys.senders),
        window=shared.window,
        calendar=shared.calendar,
        limit=shared.limit,
        warm_up=shared.warm_up,
        pause=shared.pause,
        numbers=shared.numbers,
        region=shared.region,
        attempts=shared.attempts,
        retry=shared.retry,
        retry_for_ms=shared.retry_for_ms,
        request_timeout_ms=shared.request_timeout_ms,
        lease_ms=shared.lease_ms,
        resolve_after_ms=shared.resolve_after_ms,
        resolve_for_ms=shared.resolve_for_ms,
        unresolved=shared.unresolved,
        in_flight=shared.in_flight,
        batch=shared.batch or 1,
        gather_ms=shared.gather_ms or 0,
        attachment_urls=shared.attachment_urls or "public",
    )


def _sender(keys: WahaKeys | ResendKeys | TwilioKeys, cap: int | None) -> SenderPolicy:
    policy = SenderPolicy(
        keys.name,
        keys.lane or 0,
        started_on_ms=_midnight_ms(keys.started_on),
        is_enabled=keys.enabled,
        daily_cap=keys.daily_cap or cap,
    )
    match keys:
        case WahaKeys():
            return replace(policy, addresses=(keys.session,), engine=keys.engine)
        case ResendKeys():
            return replace(policy, addresses=keys.from_)
        case TwilioKeys():
            address = keys.from_ or keys.messaging_service_sid or ""
            return replace(policy, addresses=(address,), status_callback=_clean(keys.status_callback))


def _clean(address: Address | None) -> str | None:
    return None if address is None else address.url


def _midnight_ms(day: date | None) -> int | None:
    return None if day is None else int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * 1000


def _waha(keys: WahaKeys) -> WahaAccount:
    return WahaAccount(keys.session, keys.base_url, keys.api_key, keys.engine)


def _twilio(keys: TwilioKeys) -> TwilioAccount:
    return TwilioAccount(
        keys.account_sid, keys.auth_token, keys.from_, keys.messaging_service_sid, keys.base_url, keys.status_callback
    )
