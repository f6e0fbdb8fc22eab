"""A TLS connection is closed in time, also when the other side does not say goodbye."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
import time
from typing import TYPE_CHECKING

from pipeline.engine.loop import TLS_SHUTDOWN_S, UvloopPolicy
from tests.harness.certificates import Authority

if TYPE_CHECKING:
    from pathlib import Path


def test_a_server_that_does_not_say_goodbye_holds_nobody_up(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    pair = authority.certify("silent", "127.0.0.1")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*pair)
    held: list[ssl.SSLSocket] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            held.append(context.wrap_socket(server.accept()[0], server_side=True))  # and reads nothing, ever

        thread = threading.Thread(target=serve)
        thread.start()
        took_s = (
            UvloopPolicy().new_event_loop().run_until_complete(_come_and_go(authority.cafile, server.getsockname()[1]))
        )
        thread.join()
    held[0].close()
    assert took_s < TLS_SHUTDOWN_S + 5


async def _come_and_go(cafile: Path, port: int) -> float:
    trust = ssl.create_default_context(cafile=cafile)
    loop, gone = asyncio.get_running_loop(), asyncio.Event()

    class Protocol(asyncio.Protocol):
        def connection_lost(self, _: Exception | None) -> None:
            gone.set()

    transport, _ = await loop.create_connection(Protocol, "127.0.0.1", port, ssl=trust)
    began = time.monotonic()
    transport.close()
    async with asyncio.timeout(20):
        await gone.wait()
    return time.monotonic() - began
