"""`python -m pipeline.sandbox --port 4010`: WAHA, Resend and Twilio on one loopback port, which call back when told where."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
from typing import TYPE_CHECKING

import uvloop

from pipeline.sandbox.server import running_sandbox
from pipeline.sandbox.webhooks import webhooks_of

if TYPE_CHECKING:
    from pipeline.sandbox.webhooks import Webhooks


async def _serve(host: str, port: int, webhooks: Webhooks) -> None:
    done = asyncio.Event()
    for each in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(each, done.set)
    async with running_sandbox(port, host, webhooks) as (_, address):
        print(f"sandbox listening on {address}", flush=True)  # noqa: T201 - whoever starts it waits for this line
        await done.wait()


def main() -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.sandbox", description=__doc__)
    parser.add_argument("--port", type=int, default=4010, help="loopback port; 0 takes a free one (default: 4010)")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1)")
    environ = os.environ  # noqa: TID251 - a process of its own, which the pipeline's settings do not concern
    parser.add_argument(
        "--callbacks",
        default=environ.get("SANDBOX_CALLBACKS", ""),
        metavar="URL",
        help="the web.public_url to call back at; without it nothing is called back (or SANDBOX_CALLBACKS)",
    )
    parser.add_argument(
        "--callbacks-via",
        default=environ.get("SANDBOX_CALLBACKS_VIA", ""),
        metavar="URL",
        help="where that URL is reached, in place of a proxy (or SANDBOX_CALLBACKS_VIA)",
    )
    parser.add_argument(
        "--secret",
        action="append",
        default=None,
        metavar="PROVIDER[/SENDER]=SECRET",
        help="what signs the callbacks of waha, resend or twilio, and of which sender (default: default); may be"
        " repeated (or SANDBOX_SECRETS, separated by blanks)",
    )
    told = parser.parse_args()
    secrets = told.secret if told.secret is not None else environ.get("SANDBOX_SECRETS", "").split()
    try:
        webhooks = webhooks_of(told.callbacks, told.callbacks_via, secrets)
    except argparse.ArgumentTypeError as error:
        parser.error(str(error))
    uvloop.run(_serve(told.host, told.port, webhooks))


if __name__ == "__main__":
    main()
