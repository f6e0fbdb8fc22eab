"""Checks across keys: senders of one channel, e-mail, SMS, and the hours of a window with a calendar."""

from __future__ import annotations

from collections import Counter
from typing import Final

from pipeline.domain.hours import ever_open
from pipeline.settings.kafka import KafkaSettings
from pipeline.settings.key_path import KeyPath, to_toml
from pipeline.settings.keys import AnyChannelKeys, ChannelKeys, ChannelsKeys, EmailKeys, SmsKeys, WhatsAppKeys
from pipeline.settings.senders import SenderKeys

LONGEST_RESEND_MS: Final = 82_800_000
"""23 h: Resend forgets an Idempotency-Key after 24."""
SOME_DAY_MS: Final = 1_767_225_600_000
"""2026-01-01; window and calendar must open together within a year from then."""


def check_channels(channels: ChannelsKeys, path: KeyPath, lanes: int) -> None:
    """Note at `path` (`channels`) what does not fit together; `lanes` is `kafka.lanes`."""
    each_channel: list[tuple[str, AnyChannelKeys]] = [
        ("whatsapp", channels.whatsapp),
        ("email", channels.email),
        ("sms", channels.sms),
    ]
    for name, keys in each_channel:
        _check_senders(keys.senders, path.at(name).at("senders"), lanes)
    _check_email(channels.email, path.at("email"))
    _check_sms(channels.sms, path.at("sms").at("senders"))
    _check_unshared(channels.whatsapp, channels.sms, path)
    for name, keys in each_channel:
        _check_hours(keys, path.at(name).at("calendar"))


def check_growth(kafka: KafkaSettings, path: KeyPath) -> None:
    """Note at `path` (`kafka`) an earlier number of partitions that is not smaller than today's."""
    if kafka.partitions_before is not None and kafka.partitions_before >= kafka.partitions:
        path.at("partitions_before").note(
            str(kafka.partitions_before), f"a smaller number than kafka.partitions, which is {kafka.partitions}"
        )


def _check_senders(senders: tuple[SenderKeys, ...], path: KeyPath, lanes: int) -> None:
    named, laned = Counter(each.name for each in senders), Counter(each.lane for each in senders)
    for index, sender in enumerate(senders):
        here = path.item(index)
        if named[sender.name] > 1:
            here.at("name").note(
                f"{to_toml(sender.name)} more than once", "a name of its own for each sender of the channel"
            )
        if sender.lane is None and len(senders) > 1:
            here.at("lane").note("nothing", f"a whole number from 0 to {lanes - 1}, one for each sender of the channel")
        elif sender.lane is not None and sender.lane >= lanes:
            here.at("lane").note(str(sender.lane), f"a whole number from 0 to {lanes - 1} (kafka.lanes is {lanes})")
        elif sender.lane is not None and laned[sender.lane] > 1:
            here.at("lane").note(f"{sender.lane} more than once", "a lane of its own for each sender of the channel")


def _check_email(email: EmailKeys, path: KeyPath) -> None:
    if email.resolve_for_ms > LONGEST_RESEND_MS:
        found = (
            f'"{email.resolve_for_ms // 3_600_000}h"'
            if email.resolve_for_ms % 3_600_000 == 0
            else f'"{email.resolve_for_ms}ms"'
        )
        path.at("resolve_for").note(found, 'at most "23h": Resend forgets an Idempotency-Key after 24')


def _check_sms(sms: SmsKeys, path: KeyPath) -> None:
    for index, sender in enumerate(sms.senders):
        here = path.item(index)
        if sender.from_ is None and sender.messaging_service_sid is None:
            here.at("from").note("nothing", f"a number, or else {_called(here, 'messaging_service_sid')}")
        if sender.from_ is not None and sender.messaging_service_sid is not None:
            here.at("from").note(f"both this and {_called(here, 'messaging_service_sid')}", "one of the two")


def _called(path: KeyPath, name: str) -> str:
    return path.names.get(f"{path.path}.{name}", name)


def _check_unshared(whatsapp: WhatsAppKeys, sms: SmsKeys, path: KeyPath) -> None:
    """Refuse two senders that the provider counts as one: each would use the whole limit."""
    sessions: list[tuple[str | None, ...]] = [(each.base_url, each.session) for each in whatsapp.senders]
    numbers: list[tuple[str | None, ...]] = [
        (each.base_url, each.account_sid, each.from_ or each.messaging_service_sid) for each in sms.senders
    ]
    for channel, key, known in (("whatsapp", "session", sessions), ("sms", "from", numbers)):
        for index, each in enumerate(known):
            if each in known[:index]:
                here = path.at(channel).at("senders").item(index).at(key)
                here.note(
                    f"{to_toml(each[-1])}, the same as senders[{known.index(each)}]",
                    "another one: both would use the whole limit",
                )


def _check_hours(keys: ChannelKeys, path: KeyPath) -> None:
    if keys.calendar is not None and not ever_open(keys.window, keys.calendar, SOME_DAY_MS):
        path.note(to_toml(keys.calendar.name), "one that is sometimes open together with `window`")
