"""The event loop: uvloop, with a short goodbye over TLS."""

from __future__ import annotations

from typing import Any

import uvloop

TLS_GOODBYE_S = 1.0
"""How long a closed connection may wait for the other side's own goodbye. A broker that is about to answer a fetch gives
none, and Python's 30 s would hold up every take-over and every stop: aiokafka waits for its connections to be closed."""


class Loop(uvloop.Loop):
    """uvloop's loop, for clients that cannot say how long a goodbye may take."""

    async def create_connection(self, *args: Any, **options: Any) -> Any:
        """Connect, as asyncio's loop does."""
        if options.get("ssl"):
            options.setdefault("ssl_shutdown_timeout", TLS_GOODBYE_S)
        return await super().create_connection(*args, **options)


class UvloopPolicy(uvloop.EventLoopPolicy):
    """Makes such loops, in every thread."""

    def _loop_factory(self) -> Loop:
        return Loop()
