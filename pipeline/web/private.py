"""The private listener's application: health and metrics, for this machine only."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

if TYPE_CHECKING:
    from pipeline.web.health import HealthRoutes


def private_application(health: HealthRoutes) -> web.Application:
    """Return the application of the private listener."""
    app = web.Application()
    health.add_to(app)
    return app
