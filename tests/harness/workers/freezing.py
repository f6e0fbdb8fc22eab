"""`faust -A pipeline` with one change: the process stops itself (SIGSTOP) between a committed claim and its call, once."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from faust.cli.faust import cli

from pipeline.channels.http import Wire

_post = Wire.post


async def post(self, request, lease_until_ms, *given, **named):
    mark = Path(os.environ["FREEZE_MARK"])
    if not mark.exists():
        mark.write_text(request.path)
        os.kill(os.getpid(), signal.SIGSTOP)
    return await _post(self, request, lease_until_ms, *given, **named)


Wire.post = post

if __name__ == "__main__":
    sys.argv[0] = "faust"
    cli()
