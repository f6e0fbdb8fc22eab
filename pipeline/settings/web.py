"""`[web]` and `[deliveries]`: the web process, and how long facts and touches wait for each other."""

from __future__ import annotations

import ipaddress
import re
import ssl
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from pipeline.domain.callback import callback_path
from pipeline.secret import Address
from pipeline.settings.compound import ArrayOf
from pipeline.settings.key_path import InvalidValue, KeyPath, to_toml
from pipeline.settings.kinds import FILE, FLAG, check_url, duration
from pipeline.settings.schema import Scalar, key
from pipeline.settings.senders import TwilioKeys
from pipeline.settings.users import UserKeys, check_users

_HOST_AND_PORT: Final = re.compile(r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+):(\d{1,5})")
_LAST_PORT: Final = 65_535
RETRIES: Final = "#rc=5&rp=all"
"""Twilio's connection overrides: five retries, whatever failed. Without them it comes once more, if nobody answers at all."""


class Listen(NamedTuple):
    """Where to listen."""

    host: str
    port: int
    """0: any free one."""

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can connect."""
        return is_loopback(self.host)


def is_loopback(host: str) -> bool:
    """Return whether `host` is this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def listen_of(value: object) -> Listen:
    """Return where "HOST:PORT" says to listen. Raises InvalidValue."""
    found = _HOST_AND_PORT.fullmatch(value) if isinstance(value, str) else None
    if found is None or int(found[2]) > _LAST_PORT:
        raise InvalidValue
    return Listen(found[1].strip("[]"), int(found[2]))


def _or_off(parse: Callable[[object], Listen]) -> Callable[[object], Listen | None]:
    return lambda value: None if value == "" else parse(value)


def _public_url(value: object) -> str | None:
    if value == "":
        return None
    if not isinstance(value, str):
        raise InvalidValue
    check_url(value, query=False, user=False)
    parts = urlsplit(value)
    if parts.scheme != "https" and not is_loopback(parts.hostname or ""):
        raise InvalidValue("http only on loopback")
    return value.rstrip("/")


def _file_or_none(value: object) -> str | None:
    if not isinstance(value, str) or "\0" in value:
        raise InvalidValue
    return value or None


PRIVATE_LISTEN: Final = Scalar('"HOST:PORT"', listen_of)
PUBLIC_LISTEN: Final = Scalar('"HOST:PORT", or "" for off', _or_off(listen_of))
PUBLIC_URL: Final = Scalar('an https URL such as "https://touch.example.com", or "" for none', _public_url)

FILE_OR_NONE: Final = Scalar('a path, or "" for none', _file_or_none)


@dataclass(frozen=True, slots=True, kw_only=True)
class WebKeys:
    """`[web]`."""

    listen: Listen = key(
        PRIVATE_LISTEN,
        "127.0.0.1:6080",
        "Where the API, /live, /ready and /metrics are served. Beyond loopback it needs users, and a certificate or `behind_tls`.",
    )
    public_listen: Listen | None = key(PUBLIC_LISTEN, "", 'Where providers call back. "": nowhere.')
    public_url: str | None = key(
        PUBLIC_URL, "", "What providers and mail programs call, as they see it: in front of any proxy. Twilio signs it."
    )
    certificate: str | None = key(
        FILE_OR_NONE, "", 'Certificate (PEM) of both listeners, with its chain; read again on SIGHUP. "": no TLS.'
    )
    private_key: str | None = key(FILE_OR_NONE, "", "Its private key (PEM), without a password.")
    behind_tls: bool = key(
        FLAG, default=False, about="Whether a proxy in front of `listen` ends TLS: browsers come by https."
    )
    session_for_ms: int = key(duration("1s"), "12h", "Time for which a login lasts.")
    copy_dir: str = key(
        FILE, "copy", "Folder of the look-up copy; `--copy-dir` wins. One folder per process. Lost, it is made again."
    )
    keep_ms: int = key(duration("1s"), "30d", "Time for which the copy keeps what is told.")
    ready_lag_ms: int = key(duration("1s"), "1m", "Most that the copy may be behind for `/ready`.")
    users: tuple[UserKeys, ...] = key(
        ArrayOf(UserKeys),
        [],
        "Who may come in. Left out: whoever is on this machine, as admin, and nobody from elsewhere.",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveriesKeys:
    """`[deliveries]`."""

    early_for_ms: int = key(
        duration("1s"), "13h", "Time that a fact waits for its touch's `sent`; longer than the longest `resolve_for`."
    )
    remember_for_ms: int = key(duration("1s"), "30d", "Time from `sent` during which a touch's facts are told.")
    silent_after_ms: int = key(
        duration("1s"), "6h", "Time from `sent` without any fact after which a touch counts as silent."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class UnsubscribeKeys:
    """`[unsubscribe]`."""

    enabled: bool = key(
        FLAG,
        False,  # noqa: FBT003 - a default
        "`true`: marketing e-mails get one-click unsubscribe (RFC 8058). Needs `privacy.key` and `web.public_url`.",
    )


def check_unsubscribe(unsubscribe: UnsubscribeKeys, web: WebKeys, path: KeyPath, *, has_key: bool) -> None:
    """Note at `path` (`unsubscribe`) what its links need and lack; `has_key`: whether there is a `privacy.key`."""
    if not unsubscribe.enabled:
        return
    if not has_key:
        path.at("enabled").note("true, but no privacy.key", "both or none: without the key anybody could make a link")
    if web.public_url is None:
        path.at("enabled").note("true, but no web.public_url", "both or none: links begin with it")


def unsafe(web: WebKeys) -> str | None:
    """Return what `listen` lacks to be reached from elsewhere, or None."""
    if web.listen.is_loopback or (web.users and (web.certificate is not None or web.behind_tls)):
        return None
    return "beyond loopback it needs web.users, and web.certificate or web.behind_tls = true"


def check_web(web: WebKeys, path: KeyPath, folder: Path) -> None:
    """Note at `path` (`web`) what does not fit together, and files that cannot be used."""
    check_users(web.users, path.at("users"))
    if why := unsafe(web):
        host = f"[{web.listen.host}]" if ":" in web.listen.host else web.listen.host
        path.at("listen").note(to_toml(f"{host}:{web.listen.port}"), f'"HOST:PORT" on loopback ({why})')
    if (web.certificate is None) is not (web.private_key is None):
        missing, given = ("private_key", "certificate") if web.private_key is None else ("certificate", "private_key")
        path.at(missing).note("nothing", f"the path of a file (PEM), as {given} is set")
    elif web.certificate is not None and web.private_key is not None:
        _check_pair(folder / web.certificate, folder / web.private_key, path)


def _check_pair(certificate: Path, private_key: Path, path: KeyPath) -> None:
    try:
        # Without a password OpenSSL would ask the terminal for one.
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(certificate, private_key, lambda: "-")
    except OSError as error:  # ssl.SSLError is one
        found = f"{to_toml(str(certificate))} ({error.strerror or 'unreadable'})"
        path.at("certificate").note(found, "the path of a certificate (PEM) that fits private_key")


def absolute_web(web: WebKeys, folder: Path) -> WebKeys:
    """Return `web` with absolute paths; relative ones are relative to `folder`."""
    return replace(
        web,
        copy_dir=str(folder / web.copy_dir),
        certificate=None if web.certificate is None else str(folder / web.certificate),
        private_key=None if web.private_key is None else str(folder / web.private_key),
    )


def check_callbacks(senders: tuple[TwilioKeys, ...], web: WebKeys, path: KeyPath) -> None:
    """Note at `path` (`channels.sms.senders`) a sender whose callbacks cannot be verified: Twilio signs the URL it calls."""
    for index, sender in enumerate(senders):
        if sender.webhook_secrets and web.public_url is None:
            found = "a value, but no web.public_url"
            path.item(index).at("webhook_secrets").note(found, "both or none: Twilio signs the URL that it calls")


def with_status_callback(sender: TwilioKeys, web: WebKeys) -> TwilioKeys:
    """Return `sender`, whose messages are called back about at our own path if it has secrets and names no other."""
    if not sender.webhook_secrets or sender.status_callback is not None:
        return sender
    path = callback_path("twilio", sender.name, "/status")
    return replace(sender, status_callback=Address(f"{web.public_url}{path}{RETRIES}"))
