"""Listeners: a bound socket, an aiohttp application on it, TLS, and its certificate read again."""

from __future__ import annotations

import errno
import logging
import socket
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from aiohttp import web

from pipeline.kafka.cluster import CommandFailed

if TYPE_CHECKING:
    from pipeline.settings.web import Listen, WebKeys

log = logging.getLogger(__name__)

BACKLOG: Final = 1024
FINISH_S: Final = 6.0
"""Seconds that requests have to end after SIGTERM; Kafka may take 5."""
LINGER_S: Final = 2.0
"""Seconds for which the rest of a refused body is read, so that the answer is not lost to a reset."""
IDLE_S: Final = 75.0
"""Seconds for which an idle connection is kept."""
_SILENT: Final = logging.getLogger("pipeline.web.http")
"""aiohttp's own logger: it writes parts of what it cannot parse. The applications log what goes wrong in them."""
_SILENT.setLevel(logging.CRITICAL + 1)


def bound(listen: Listen, option: str) -> socket.socket:
    """Return a socket that is bound there. Raises CommandFailed with a line that names `option`."""
    family = socket.AF_INET6 if ":" in listen.host else socket.AF_INET
    try:
        return socket.create_server((listen.host, listen.port), family=family, backlog=BACKLOG)
    except OSError as error:
        why = "is in use" if error.errno == errno.EADDRINUSE else f"cannot be used: {error.strerror or error}"
        raise CommandFailed(f"{address_of(listen)} {why}; choose another with {option}") from None


def address_of(listen: Listen) -> str:
    """Return HOST:PORT."""
    return f"[{listen.host}]:{listen.port}" if ":" in listen.host else f"{listen.host}:{listen.port}"


class Certificate:
    """The certificate of both listeners; "" for neither file: no TLS."""

    def __init__(self, keys: WebKeys) -> None:
        self._certificate, self._private_key = keys.certificate, keys.private_key
        self.context: ssl.SSLContext | None = None
        if self._certificate is not None:
            self.context = self._fresh()

    def reload(self) -> None:
        """Use what the files hold now for new connections; files that cannot be used change nothing."""
        if self.context is None or self._certificate is None:
            log.info("SIGHUP: there is no certificate to read again")
            return
        try:
            self._fresh()  # a pair that does not fit must not replace one that does
            self._load(self.context)
        except OSError as error:  # ssl.SSLError is one
            log.warning("SIGHUP: the certificate is not read again: %s", error.strerror or error)
        else:
            log.info("SIGHUP: the certificate was read again")

    def _fresh(self) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._load(context)
        return context

    def _load(self, context: ssl.SSLContext) -> None:
        assert self._certificate is not None
        # Without a password OpenSSL would ask the terminal for one.
        context.load_cert_chain(self._certificate, self._private_key, lambda: "-")


def runner_of(app: web.Application) -> web.AppRunner:
    """Return what serves `app` to strangers."""
    return web.AppRunner(
        app,
        access_log=None,
        logger=_SILENT,
        auto_decompress=False,  # a signature is over what was sent
        lingering_time=LINGER_S,
        keepalive_timeout=IDLE_S,
        shutdown_timeout=FINISH_S,
    )


@dataclass(slots=True)
class Listener:
    """An application on a socket."""

    name: str
    listening: socket.socket
    runner: web.AppRunner

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self.listening.getsockname()[1])

    async def start(self, context: ssl.SSLContext | None) -> None:
        """Accept connections."""
        await self.runner.setup()
        await web.SockSite(self.runner, self.listening, ssl_context=context, backlog=BACKLOG).start()
        host = self.listening.getsockname()[0]
        scheme = "http" if context is None else "https"
        log.info("%s listener on %s://%s:%d", self.name, scheme, f"[{host}]" if ":" in host else host, self.port)

    async def stop(self) -> None:
        """Accept no more connections, let requests end, and close."""
        await self.runner.cleanup()
        self.listening.close()
