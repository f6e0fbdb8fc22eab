"""Checks configuration, Kafka, registry, senders and clock: one finding per item. Sends nothing and changes nothing."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

import httpx
from aiokafka.errors import KafkaError

from pipeline.composer import TemplateFiles, described
from pipeline.domain.sender import CheckDoubtful, CheckFailed
from pipeline.kafka.access import NotAllowed, ask_permissions
from pipeline.kafka.cluster import CommandFailed, broker_count, partition_counts

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
    from pathlib import Path

    from pipeline.domain.sender import Sender
    from pipeline.kafka.cluster import Cluster
    from pipeline.secret import Address

MOST_FAULTS = 5
ALLOWED_SKEW_S = 2.0
"""The largest clock error that is accepted, seconds. `Date` has a resolution of one second and is half a round trip old."""
SENDER_PATIENCE_S = 30.0
REGISTRY_PATIENCE_S = 10.0


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of checking one item."""

    item: str
    is_ok: bool
    what: str
    """What was found; on failure, what is wrong and how to correct it."""
    is_warning: bool = False
    """No failure: something to look at."""


@dataclass(frozen=True, slots=True)
class Desired:
    """What the configuration requires."""

    partitions: Mapping[str, int]
    """Partition count by topic, as named in Kafka."""
    replication_factor: int
    senders: Sequence[tuple[str, Sender]]
    """Each with its display name, such as "sms default"."""
    channels_off: Sequence[str]
    registry_url: Address | None
    source: str
    """Where the configuration was read from."""
    time_servers: Sequence[str]
    """URLs whose `Date` header is compared with this machine's clock; the first that answers counts."""
    application: str = "pipeline"
    """Consumer group, and what the transactional ids begin with."""
    topic_faults: Callable[[], Awaitable[Sequence[tuple[bool, str]]]] | None = None
    """Returns faults in the settings and sizes of topics, and whether they stop a worker. Raises KafkaError."""
    callbacks: Sequence[tuple[str, Sender, str | None]] = ()
    """Each sender with webhook_secrets: its display name, its client, and the URL of its callbacks; None without web.public_url."""
    templates: Path | None = None
    """Their folder."""
    templates_named: bool = False
    """Whether the configuration names the folder: then it must exist."""


async def check(cluster: Cluster, desired: Desired, now_s: Callable[[], float]) -> AsyncGenerator[Finding, None]:
    """Yield a finding per item, as soon as it is known."""
    yield Finding("configuration", is_ok=True, what=desired.source)
    if desired.templates is not None:
        yield _templates(desired.templates, is_named=desired.templates_named)
    for found in await _kafka(cluster, desired):
        yield found
    if desired.registry_url is not None:
        yield await _registry(desired.registry_url)
    for asked in asyncio.as_completed([_sender(name, sender) for name, sender in desired.senders]):
        yield await asked
    for asked in asyncio.as_completed([_callbacks(*each) for each in desired.callbacks]):
        yield await asked
    for channel in desired.channels_off:
        yield Finding(channel, is_ok=True, what="off: it has no senders; its touches fail as channel_off")
    yield await _clock(desired.time_servers, now_s)


def _templates(folder: Path, *, is_named: bool) -> Finding:
    if not folder.is_dir():
        fix = (
            "put the folder there, or set templates"
            if is_named
            else "touches with a template are refused; set templates"
        )
        return Finding("templates", is_ok=not is_named, what=f"no folder {folder}; {fix}")
    files = TemplateFiles(folder)
    if faults := files.faults():
        return Finding(
            "templates", is_ok=False, what=f"{folder}: {'; '.join(faults[:MOST_FAULTS])}; save it as UTF-8 text"
        )
    return Finding(
        "templates",
        is_ok=True,
        what=f"{folder}: {described(files.found()) or 'none: touches with a template are refused'}",
    )


async def _kafka(cluster: Cluster, desired: Desired) -> list[Finding]:
    try:
        async with asyncio.timeout(SENDER_PATIENCE_S):
            brokers, counts = await _ask_kafka(cluster)
    except (CommandFailed, TimeoutError) as error:
        why = str(error) or f"no answer in {SENDER_PATIENCE_S:.0f} s"
        return [Finding("kafka", is_ok=False, what=f"{why}; check kafka.bootstrap_servers and that Kafka runs")]
    findings = [_brokers(cluster, brokers, desired.replication_factor), _topics(counts, desired.partitions)]
    findings += await _topic_faults(desired)
    return [*findings, await _permissions(cluster, desired, sorted(set(desired.partitions) & set(counts)))]


async def _topic_faults(desired: Desired) -> list[Finding]:
    if desired.topic_faults is None:
        return []
    try:
        async with asyncio.timeout(SENDER_PATIENCE_S):
            wrong = await desired.topic_faults()
    except (KafkaError, OSError, TimeoutError) as error:
        return [Finding("topic settings", is_ok=True, what=f"not looked at: {type(error).__name__}: {error}")]
    found = [Finding("topic settings", is_ok=not breaks, what=line) for breaks, line in wrong]
    return found or [Finding("topic settings", is_ok=True, what="as needed")]


async def _permissions(cluster: Cluster, desired: Desired, topics: Sequence[str]) -> Finding:
    try:
        await ask_permissions(cluster, desired.application, topics)
    except NotAllowed as error:
        return Finding("permissions", is_ok=False, what=f"{error}; docs/operations.md lists what a worker needs")
    return Finding("permissions", is_ok=True, what=f"group and transactional ids of {desired.application} may be used")


async def _ask_kafka(cluster: Cluster) -> tuple[int, dict[str, int]]:
    return await broker_count(cluster), await partition_counts(cluster)


def _brokers(cluster: Cluster, brokers: int, replication_factor: int) -> Finding:
    if brokers < replication_factor:
        fix = f"set kafka.replication_factor to at most {brokers}, or start more brokers"
        return Finding("kafka", is_ok=False, what=f"{brokers} brokers, replication factor {replication_factor}; {fix}")
    return Finding("kafka", is_ok=True, what=f"{brokers} broker{'s' if brokers > 1 else ''} at {cluster.servers}")


def _topics(found: Mapping[str, int], wanted: Mapping[str, int]) -> Finding:
    missing = [name for name in wanted if name not in found]
    there = len(wanted) - len(missing)
    what = f"{there} of {len(wanted)} are there" + (", the worker creates the others when it starts" if missing else "")
    return Finding("topics", is_ok=True, what=what)


async def _registry(address: Address) -> Finding:
    shown = address.url
    try:
        async with httpx.AsyncClient(timeout=REGISTRY_PATIENCE_S, auth=address.basic) as client:
            answer = await client.get(f"{shown.rstrip('/')}/subjects")
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        why = f"{shown} cannot be reached ({type(error).__name__}); check kafka.schema_registry_url"
        return Finding("schema registry", is_ok=False, what=why)
    if answer.status_code != httpx.codes.OK:
        why = f"{shown} answers {answer.status_code}; check kafka.schema_registry_url and its credentials"
        return Finding("schema registry", is_ok=False, what=why)
    return Finding("schema registry", is_ok=True, what=shown)


async def _sender(name: str, sender: Sender) -> Finding:
    try:
        async with asyncio.timeout(SENDER_PATIENCE_S):
            await sender.open()
            try:
                return Finding(name, is_ok=True, what=await sender.check())
            finally:
                await sender.close()
    except CheckDoubtful as doubt:
        return Finding(name, is_ok=True, is_warning=True, what=str(doubt))
    except CheckFailed as error:
        return Finding(name, is_ok=False, what=str(error))
    except TimeoutError:
        return Finding(name, is_ok=False, what=f"no answer in {SENDER_PATIENCE_S:.0f} s; check its base_url")


async def _callbacks(name: str, sender: Sender, url: str | None) -> Finding:
    """Return what is set at the provider, beside what should be: a difference is no failure."""
    item = f"{name} callbacks"
    if url is None:
        return Finding(item, is_ok=True, is_warning=True, what="web.public_url is not set: nobody can call back")
    try:
        async with asyncio.timeout(SENDER_PATIENCE_S):
            await sender.open()
            try:
                setup = await sender.callback_setup(url)
            finally:
                await sender.close()
    except TimeoutError:
        return Finding(item, is_ok=True, what=f"cannot be read: no answer in {SENDER_PATIENCE_S:.0f} s")
    what = setup.found if setup.differs is False else f"{setup.found}; should be {setup.wanted}"
    return Finding(item, is_ok=True, is_warning=setup.differs is True, what=what)


async def _clock(servers: Sequence[str], now_s: Callable[[], float]) -> Finding:
    for server in servers:
        if (skew := await _skew_s(server, now_s)) is None:
            continue
        host = httpx.URL(server).host
        if abs(skew) > ALLOWED_SKEW_S:
            way = "ahead of" if skew > 0 else "behind"
            fix = "set it by NTP: windows and expiries are read from it"
            return Finding("clock", is_ok=False, what=f"{abs(skew):.0f} s {way} {host}; {fix}")
        return Finding("clock", is_ok=True, what=f"agrees with {host}")
    return Finding("clock", is_ok=True, what="not compared: no server that tells the time could be reached")


async def _skew_s(server: str, now_s: Callable[[], float]) -> float | None:
    """Return by how many seconds this clock is ahead of the server's `Date`, or None. Sends an unauthenticated GET; any answer will do."""
    began = now_s()
    try:
        async with httpx.AsyncClient(timeout=REGISTRY_PATIENCE_S) as client:
            answer = await client.get(server)
        said = parsedate_to_datetime(answer.headers["Date"]).timestamp()
    except (httpx.HTTPError, httpx.InvalidURL, KeyError, ValueError):
        return None
    # `Date` is truncated to the second: on average the instant was half a second later.
    return (began + now_s()) / 2 - (said + 0.5)
