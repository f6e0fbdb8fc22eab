"""The event loop: uvloop, with a short timeout for closing TLS connections."""

from __future__ import annotations

from typing import Any

import uvloop

TLS_SHUTDOWN_S = 1.0
"""Time that a closing connection waits for the peer's close_notify. A broker with a fetch pending sends none, and Python's
default of 30 s would delay every rebalance and every stop: aiokafka waits until its connections are closed."""


class Loop(uvloop.Loop):
    """uvloop's loop, with a default `ssl_shutdown_timeout` for clients that cannot pass one."""

    async def create_connection(self, *args: Any, **options: Any) -> Any:
        """Connect, as asyncio's loop does."""
        if options.get("ssl"):
            options.setdefault("ssl_shutdown_timeout", TLS_SHUTDOWN_S)
        return await super().create_connection(*args, **options)


class UvloopPolicy(uvloop.EventLoopPolicy):
    """Creates these loops in every thread."""

    def _loop_factory(self) -> Loop:
        return Loop()
