"""How long a touch takes when nothing else is to do: from its production to its arrival at the provider."""

from __future__ import annotations

import time
import uuid
from typing import TYPE_CHECKING

from bench.deferred import Shares
from tests.harness.judge import PROVIDER
from tests.harness.stack import Stack, touch

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.lab.local.kafka import LocalKafka

PER_S, COUNT = 20, 400
WARM = 400
"""Touches before: a broker that has just started still compiles what each of them takes."""


async def idle(kafka: LocalKafka, folder: Path, channel: str) -> str:
    """Produce a touch every 50 ms; return the percentiles as a line."""
    stack = Stack(kafka.bootstrap_servers, f"i{uuid.uuid4().hex[:8]}.", folder)
    stack.start_sandbox()
    try:
        stack.start(0)
        await stack.wait_for_topics()
        await stack.wait_for_work(0)
        await stack.produce([touch(channel, n) for n in range(WARM)], per_s=PER_S)
        began: dict[str, float] = {}

        def stamped():
            for n in range(WARM, WARM + COUNT):
                each = touch(channel, n)
                began[each["body"]] = time.time()
                yield each

        await stack.produce(stamped(), per_s=PER_S, every=1)
        assert await stack.follow(stack.all_ended, deadline_s=60)
        stack.judge()
        took = [
            round(each["at_ms"] - began[each["text"]] * 1000)
            for each in stack.accepted()
            if each["provider"] == PROVIDER[channel] and each["text"] in began
        ]
        assert len(took) == COUNT
        return f"{channel}: {Shares.of(took)}"
    finally:
        stack.stop_all()
