"""`/live`, `/ready` and `/metrics` on faust's own web port."""

from __future__ import annotations

import errno
import socket
import warnings
from typing import TYPE_CHECKING, Any

from aiohttp.web import SockSite

from pipeline.metrics import CONTENT_TYPE

if TYPE_CHECKING:
    from collections.abc import Callable

    import faust

    from pipeline.metrics import Metrics

BACKLOG = 128
WEB_SETTINGS: dict[str, Any] = {
    # The setting, not F_WEB_BIND, is the default: `--web-bind` is assigned to it later, and WEB_BIND is read before it.
    "web_bind": "127.0.0.1",
    "web_router_enabled": False,
}
"""Settings for the app. Faust's own: 0.0.0.0, and every worker's address under /router."""


def bind(address: str, port: int, tries: int) -> socket.socket | None:
    """Return a socket that listens on the first free one of `tries` ports from `port` on; None when all are in use.

    Raises OSError for an address that is not this machine's, or a port that is not allowed.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    for each in range(port, min(port + tries, 65_536)):
        listener = socket.socket(family)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((address, each))
            listener.listen(BACKLOG)
        except OSError as error:
            listener.close()
            if error.errno != errno.EADDRINUSE:
                raise
        else:
            return listener
    return None


def serve_on(app: faust.App, listener: socket.socket) -> None:
    """Let the web server use `listener`: a port that was only looked at may be taken by the time it is bound."""
    server: Any = app.web
    server._create_site = lambda: SockSite(server._runner, listener)  # noqa: SLF001 - faust has no seam for a bound socket
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # faust has shown the port in its own way before it is known here
        app.conf.web_port = listener.getsockname()[1]


def add_endpoints(
    app: faust.App, metrics: Metrics, not_ready: Callable[[], str | None], not_live: Callable[[], str | None]
) -> None:
    """Serve the endpoints.

    `not_ready` says why no touch can move here now, `not_live` why this worker no longer takes part and must be
    restarted; None when all is well.
    """

    async def live(view: Any, _request: Any) -> Any:
        """Answer 200 when the event loop turns and nothing that must run has ended, else 503 with the reason."""
        reason = not_live()
        return view.text("live\n") if reason is None else view.text(f"not live: {reason}\n", status=503)

    async def ready(view: Any, _request: Any) -> Any:
        """Answer 200 when partitions are owned and recovered, else 503 with the reason."""
        reason = not_ready()
        return view.text("ready\n") if reason is None else view.text(f"not ready: {reason}\n", status=503)

    async def render(view: Any, _request: Any) -> Any:
        """Answer in Prometheus' text format."""
        # Not view.bytes(content_type=…): aiohttp refuses the charset parameter there.
        return view.bytes(metrics.render(), headers={"Content-Type": CONTENT_TYPE})

    app.page("/live")(live)
    app.page("/ready")(ready)
    app.page("/metrics")(render)
