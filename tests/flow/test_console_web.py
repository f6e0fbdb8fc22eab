"""The endpoints of a real worker process: where they listen, and that options behind `worker` are taken."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from pipeline.lab.local.ports import free_port

ROOT = Path(__file__).parents[2]


def listening(port: int) -> set[str]:
    """Addresses that listen on `port`, as /proc writes them."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return {row[1].split(":")[0] for row in rows if row[3] == "0A" and int(row[1].split(":")[1], 16) == port}


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="listening addresses are read from /proc")
@pytest.mark.parametrize(("options", "address"), [([], "0100007F"), (["--web-bind", "0.0.0.0"], "00000000")])
async def test_a_worker_listens_on_loopback_unless_told_otherwise(
    kafka: list[str], topic_prefix: str, tmp_path: Path, options: list[str], address: str
):
    port = free_port()
    env = {**os.environ, "CONSOLE_TEST": f"{kafka[0]}|{topic_prefix}"}
    command = ["worker", "--web-port", str(port), "--datadir", str(tmp_path / "data"), *options]
    worker = subprocess.Popen(
        [sys.executable, "-m", "faust", "-A", "tests.harness.workers.console", *command],
        cwd=ROOT,
        env=env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(30), httpx.AsyncClient() as client:
            while not listening(port):
                assert worker.poll() is None
                await asyncio.sleep(0.05)
            assert listening(port) == {address}
            answers = [await client.get(f"http://127.0.0.1:{port}{path}") for path in ("/live", "/ready", "/metrics")]
        assert [answer.status_code for answer in answers] == [200, 200, 200]
        assert (tmp_path / "data").exists()
    finally:
        worker.send_signal(signal.SIGKILL)
        worker.wait()
