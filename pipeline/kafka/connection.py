"""How to connect to Kafka: one set of arguments for every client, which prints without credentials; and why connecting fails."""

from __future__ import annotations

import asyncio
import base64
import json
import shlex
import ssl
import subprocess
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Protocol

from aiokafka.abc import AbstractTokenProvider
from aiokafka.conn import create_conn
from aiokafka.errors import (
    AuthenticationFailedError,
    IllegalSaslStateError,
    KafkaConnectionError,
    KafkaError,
    SaslAuthenticationFailed,
    UnsupportedSaslMechanismError,
)
from aiokafka.protocol.metadata import MetadataRequest

from pipeline.secret import Secret, forget, without_secrets

ASK_S: Final = 5.0
"""Seconds that one server may take to refuse a connection."""
TOKEN_S: Final = 30.0
"""Seconds that a token command may take, and for which its token serves further connections."""
_SAID_CHARS: Final = 200


class Connection(dict[str, Any]):
    """aiokafka's connection arguments; they print without credentials."""

    def __repr__(self) -> str:
        return f"Connection({', '.join(_servers(self))}, {self.get('security_protocol', 'PLAINTEXT')})"

    __str__ = __repr__


class NoToken(AuthenticationFailedError):  # type: ignore[misc]
    """There is no token to log in with; the message says why."""


class NotLetIn(KafkaError):  # type: ignore[misc]
    """The broker closed the connection at the first request: it required a login, or rejected the token."""


class TokenSource(Protocol):
    """Where a token comes from."""

    def read(self) -> str:
        """Return the token (blocking). Raises NoToken."""


class TokenFile:
    """A file that another process keeps up to date, such as a service account's or a sidecar's."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> str:
        """Return the file's present content. Raises NoToken."""
        try:
            return self._path.read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or "no ASCII text"
            raise NoToken(f"the token file {self._path} cannot be read: {why}") from None


class TokenCommand:
    """A command that prints a token; its token serves the connections of the next 30 s, if it is valid for so long."""

    def __init__(self, command: str) -> None:
        self._words = shlex.split(command)
        self._lock = threading.Lock()
        self._last: tuple[float, str] | None = None
        """Until when the token serves (`time.monotonic()`), and the token."""

    def read(self) -> str:
        """Return the token. Raises NoToken."""
        with self._lock:
            if self._last is None or time.monotonic() >= self._last[0]:
                token = self._run()
                self._last = time.monotonic() + _serves_s(token), token
            return self._last[1]

    def _run(self) -> str:
        try:
            done = subprocess.run(  # noqa: S603 - the operator's own command
                self._words, capture_output=True, text=True, timeout=TOKEN_S, check=False, stdin=subprocess.DEVNULL
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            why = getattr(error, "strerror", None) or f"no end after {TOKEN_S:.0f} s"
            raise NoToken(f"the token command {self._words[0]} cannot be run: {why}") from None
        if done.returncode:
            said = " ".join(done.stderr.split())[:_SAID_CHARS]
            raise NoToken(f"the token command {self._words[0]} ended with exit code {done.returncode}: {said}")
        return done.stdout.strip()


def _serves_s(token: str) -> float:
    """Return for how long a token serves further connections: TOKEN_S, at most half of what is left of it.

    A JWT says when it ends (RFC 7519, 4.1.4); a token in any other form does not.
    """
    try:
        claims = token.split(".")[1]
        ends_s = float(json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))["exp"])
    except (IndexError, KeyError, TypeError, ValueError, OverflowError):
        return TOKEN_S
    return min(TOKEN_S, max(0.0, (ends_s - time.time()) / 2))  # noqa: TID251 - its issuer's clock, no decision of a stage


class TokenProvider(AbstractTokenProvider):  # type: ignore[misc]
    """Gives each new connection the current token."""

    def __init__(self, source: TokenSource) -> None:
        self._source = source
        self._last: Secret | None = None

    async def token(self) -> str:
        """Return the token. Raises NoToken."""
        text: str = await asyncio.get_running_loop().run_in_executor(None, self._source.read)
        if not text:
            raise NoToken("the token is empty")
        self._remember(Secret(text))
        return text

    def _remember(self, token: Secret) -> None:
        """Mask this token in logs, and no longer the previous one."""
        before, self._last = self._last, token
        if before is not None and before != token:
            forget(before)


async def why_unreachable(connection: Mapping[str, Any]) -> str:
    """Return in one line why no server can be used; "" if one can.

    aiokafka tells this to the log, and its caller only that it was "unable to bootstrap"; a refused token it does not see.
    """
    how = {name: value for name, value in connection.items() if name != "bootstrap_servers"}
    whys = []
    for server in _servers(connection):
        host, _, port = server.rpartition(":")
        try:
            async with asyncio.timeout(ASK_S):
                await _ask(host.strip("[]"), int(port), how)
        except (KafkaError, OSError, TimeoutError) as found:
            # With TLS 1.3 a broker refuses a client's certificate after the handshake: only a read shows it.
            error = found.__cause__ if isinstance(found.__cause__, ssl.SSLError) else found
            whys.append((_is_refusal(error), f"{server}: {without_secrets(_reason(error, connection))}"))
        else:
            return ""
    return max(whys, key=lambda why: why[0])[1]


async def _ask(host: str, port: int, how: Mapping[str, Any]) -> None:
    """Connect and send one request: a refused client learns it only then."""
    opened = await create_conn(host, port, **how)
    try:
        answer = await opened.send(MetadataRequest([]))
    except KafkaConnectionError as error:
        if isinstance(error.__cause__, ssl.SSLError):
            raise
        raise NotLetIn from error
    finally:
        opened.close()
    if not answer.brokers:  # Kafka answers so after it has rejected the token in the last message of the login
        raise NotLetIn


def _servers(connection: Mapping[str, Any]) -> list[str]:
    servers = connection["bootstrap_servers"]
    return [each.strip() for each in servers.split(",")] if isinstance(servers, str) else list(servers)


def _is_refusal(error: BaseException) -> bool:
    """Whether a broker answered and refused, which explains more than a server that is down."""
    return (isinstance(error, KafkaError) and not isinstance(error, KafkaConnectionError)) or isinstance(
        error, ssl.SSLError
    )


_REASONS: Final[dict[type[BaseException], str]] = {
    SaslAuthenticationFailed: "the broker refuses the credentials ({mechanism}): {said}",
    UnsupportedSaslMechanismError: "the broker does not offer {mechanism} on this port: {said}",
    IllegalSaslStateError: "the broker expects no SASL on this port, security_protocol is {protocol}",
    ssl.SSLCertVerificationError: "the broker's certificate is not trusted ({said}); see ssl_cafile",
    ssl.SSLError: "TLS fails ({said}); see security_protocol, ssl_certfile and ssl_keyfile",
    NoToken: "{said}",
    NotLetIn: "the broker does not let us in; security_protocol is {protocol}, sasl_mechanism {mechanism}",
    KafkaConnectionError: "the broker closes the connection; does this port speak {protocol}?",
    ConnectionResetError: "the broker closes the connection; does this port speak {protocol}?",
    TimeoutError: "no answer within {ask_s:.0f} s; does this port speak {protocol}?",
    Exception: "{said}",
}
"""By type, special ones first."""


def _reason(error: BaseException, connection: Mapping[str, Any]) -> str:
    text = next(text for kind, text in _REASONS.items() if isinstance(error, kind))
    protocol, mechanism = connection.get("security_protocol", "PLAINTEXT"), connection.get("sasl_mechanism")
    return text.format(protocol=protocol, mechanism=mechanism, said=_said(error), ask_s=ASK_S)


def _said(error: BaseException) -> str:
    """The text of the broker or of OpenSSL, without aiokafka's prefix."""
    text = getattr(error, "verify_message", None) or getattr(error, "reason", None)
    text = text or (str(error.args[0]) if isinstance(error, KafkaError) and error.args else str(error))
    return " ".join(text.split())[:_SAID_CHARS] or type(error).__name__
