"""What a worker says first: what it runs with, and where each sender's messages will go. No secret, one line each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from pipeline.domain.work import Channel

if TYPE_CHECKING:
    from pipeline.settings import Settings

_OWN: Final = {Channel.EMAIL: ("Resend", "api.resend.com"), Channel.SMS: ("Twilio", "api.twilio.com")}
"""The providers that have one address; a WAHA server has its owner's."""


def introduction(settings: Settings, version: str) -> Iterator[str]:
    """Yield the lines."""
    kafka = settings.kafka
    yield f"{version}; configuration: {settings.source}"
    prefix = f", topic prefix {kafka.topic_prefix}" if kafka.topic_prefix else ""
    yield (
        f"Kafka {', '.join(kafka.bootstrap_servers)} ({kafka.security_protocol}){prefix}; "
        f"statuses as {_framing(settings)}"
    )
    for channel, name, address in _senders(settings):
        yield f"{channel.value} {name}: sends to {address}{_whose(channel, address)}"
    off = [channel.value for channel, policy in settings.channels.items() if not policy.senders]
    if off:
        yield f"off, without a sender: {', '.join(off)}; their touches end failed, channel_off"


def half(settings: Settings) -> str | None:
    """Return why this is neither sandbox nor real, or None: some senders reach their provider, others a stand-in."""
    found = list(_senders(settings))
    stand_ins = [each for each in found if _is_stand_in(each[0], each[2])]
    hosts = {urlsplit(address).netloc for _, _, address in stand_ins}
    real = [each for each in found if each not in stand_ins and urlsplit(each[2]).netloc not in hosts]
    if not stand_ins or not real:
        return None
    return (
        f"half sandbox, half real? {_names(real)}: at the provider; {_names(stand_ins)}: at another address. If that is a "
        "sandbox, what goes there is told as sent and reaches nobody"
    )


def _senders(settings: Settings) -> Iterator[tuple[Channel, str, str]]:
    for name, waha in settings.waha.items():
        yield Channel.WHATSAPP, name, waha.base_url
    for name, resend in settings.resend.items():
        yield Channel.EMAIL, name, resend.base_url
    for name, twilio in settings.twilio.items():
        yield Channel.SMS, name, twilio.base_url


def _is_stand_in(channel: Channel, address: str) -> bool:
    return channel in _OWN and urlsplit(address).hostname != _OWN[channel][1]


def _whose(channel: Channel, address: str) -> str:
    if channel not in _OWN:
        return ", a WAHA server or the sandbox"
    name, host = _OWN[channel]
    return (
        f", not {name} itself ({host}): a sandbox, or a proxy" if _is_stand_in(channel, address) else f", {name} itself"
    )


def _framing(settings: Settings) -> str:
    if settings.kafka.status_format == "json":
        return "JSON"
    return (
        "Avro"
        if settings.kafka.schema_registry_url is None
        else f"Avro, schemas in {settings.kafka.schema_registry_url}"
    )


def _names(senders: list[tuple[Channel, str, str]]) -> str:
    return ", ".join(f"{channel.value} {name}" for channel, name, _ in senders)
