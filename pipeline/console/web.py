"""`/live`, `/ready` and `/metrics` on faust's own web port."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pipeline.metrics import CONTENT_TYPE

if TYPE_CHECKING:
    from collections.abc import Callable

    import faust

    from pipeline.metrics import Metrics

WEB_SETTINGS: dict[str, Any] = {
    # The setting, not F_WEB_BIND, is the default: `--web-bind` is assigned to it later, and WEB_BIND is read before it.
    "web_bind": "127.0.0.1",
    "web_router_enabled": False,
}
"""Settings for the app. Faust's own: 0.0.0.0, and every worker's address under /router."""


def add_endpoints(app: faust.App, metrics: Metrics, not_ready: Callable[[], str | None]) -> None:
    """Serve the endpoints; `not_ready` says why no touch can move here now, or None when all is well."""

    async def live(view: Any, _request: Any) -> Any:
        """Answer at all: the event loop turns."""
        return view.text("live\n")

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
