"""The first log lines of a worker: its configuration, and where each sender's messages go. They contain no secret."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from pipeline.domain.channel_spec import ChannelSpec
    from pipeline.settings import Settings


def introduction(settings: Settings, version: str) -> Iterator[str]:
    """Yield the lines."""
    kafka = settings.kafka
    yield f"{version}; configuration: {settings.source}"
    prefix = f", topic prefix {kafka.topic_prefix}" if kafka.topic_prefix else ""
    yield (
        f"Kafka {', '.join(kafka.bootstrap_servers)} ({kafka.security_protocol}){prefix}; "
        f"statuses as {_framing(settings)}"
    )
    for spec, name, address in _senders(settings):
        yield f"{spec.channel.value} {name}: sends to {address}{_whose(spec, address)}"
    off = [channel.value for channel, policy in settings.channels.items() if not policy.senders]
    if off:
        yield f"off, without a sender: {', '.join(off)}; their touches end failed, channel_off"


def half(settings: Settings) -> str | None:
    """Return a warning if some senders reach their provider and others a stand-in; otherwise None."""
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


def unkeyed(settings: Settings) -> str | None:
    """Return a warning if the hashes of addresses have no key; otherwise None."""
    if settings.privacy_key:
        return None
    return (
        "no privacy.key: whoever reads statuses or suppressions can find a phone number from its hash by trying all; "
        "set it before the first touch (PIPELINE_PRIVACY_KEY without a file), it cannot be changed later"
    )


def _senders(settings: Settings) -> Iterator[tuple[ChannelSpec, str, str]]:
    for (channel, name), account in settings.accounts.items():
        yield settings.channels[channel].spec, name, account.base_url


def _is_stand_in(spec: ChannelSpec, address: str) -> bool:
    return spec.own_host is not None and urlsplit(address).hostname != spec.own_host


def _whose(spec: ChannelSpec, address: str) -> str:
    name, host = spec.provider, spec.own_host
    if host is None:
        return f", a {name} server or the sandbox"
    return f", not {name} itself ({host}): a sandbox, or a proxy" if _is_stand_in(spec, address) else f", {name} itself"


def _framing(settings: Settings) -> str:
    if settings.kafka.status_format == "json":
        return "JSON"
    return (
        "Avro"
        if settings.kafka.schema_registry_url is None
        else f"Avro, schemas in {settings.kafka.schema_registry_url}"
    )


def _names(senders: list[tuple[ChannelSpec, str, str]]) -> str:
    return ", ".join(f"{spec.channel.value} {name}" for spec, name, _ in senders)
