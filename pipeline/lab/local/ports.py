"""Ports of 127.0.0.1 for what this process starts next."""

from __future__ import annotations

import socket

_given: set[int] = set()


def free_port() -> int:
    """Return a port on which nothing listens, and which was not returned before.

    Who got it may not listen yet, or be between two starts; the system would give it to the next who asks.
    """
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        if port not in _given:
            _given.add(port)
            return port
