"""`python -m pipeline.sandbox --port 4010`: WAHA, Resend and Twilio on one loopback port."""

from __future__ import annotations

import argparse
import asyncio
import signal

import uvloop

from pipeline.sandbox.server import running_sandbox


async def _serve(host: str, port: int) -> None:
    done = asyncio.Event()
    for each in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(each, done.set)
    async with running_sandbox(port, host) as (_, address):
        print(f"sandbox listening on {address}", flush=True)  # noqa: T201 - whoever starts it waits for this line
        await done.wait()


def main() -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.sandbox", description=__doc__)
    parser.add_argument("--port", type=int, default=4010, help="loopback port; 0 takes a free one (default: 4010)")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1)")
    told = parser.parse_args()
    uvloop.run(_serve(told.host, told.port))


if __name__ == "__main__":
    main()
