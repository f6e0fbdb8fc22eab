"""What it takes to hold one Resend account at its limit: 10 requests a second of 100 e-mails each."""

from __future__ import annotations

import asyncio
import time
import uuid
from itertools import islice
from typing import TYPE_CHECKING

from bench.cost import cpu_s
from tests.harness.stack import Stack, touch

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.lab.local.kafka import LocalKafka

SECONDS, WARM_S, PER_S, AHEAD = 60, 10, 1_000, 2_000


async def saturated(kafka: LocalKafka, folder: Path, seconds: int = SECONDS) -> str:
    """Send for `seconds` out of a backlog; return e-mails/s and the cores that worker and broker take as a line."""
    stack = Stack(kafka.bootstrap_servers, f"s{uuid.uuid4().hex[:8]}.", folder, email_limit='{ rate = 10, per = "1s" }')
    stack.start_sandbox()
    try:
        stack.start(0)
        await stack.wait_for_topics()
        await stack.wait_for_work(0)
        # Ahead of what is sent, and no faster: a campaign that is produced while it is sent.
        count = (seconds + WARM_S + 5) * PER_S
        touches = (touch("email", n) for n in range(count))
        await stack.produce(islice(touches, AHEAD))
        producing = asyncio.create_task(stack.produce(touches, per_s=PER_S, every=PER_S // 10))
        await asyncio.sleep(WARM_S)
        pids = stack.workers[0].pid, kafka.pids[0]
        before, accepted, began = [cpu_s(pid) for pid in pids], stack.accepted_from("resend"), time.monotonic()
        await asyncio.sleep(seconds)
        took_s, sent = time.monotonic() - began, stack.accepted_from("resend") - accepted
        worker, broker = ((cpu_s(pid) - was) / took_s for pid, was in zip(pids, before, strict=True))
        await producing
        assert await stack.follow(stack.all_ended, deadline_s=60 + seconds)
        await asyncio.to_thread(stack.judge)
        return f"{sent / took_s:,.0f} e-mails/s for {took_s:.0f} s: worker {worker:.0%} of a core, broker {broker:.0%}"
    finally:
        stack.stop_all()
