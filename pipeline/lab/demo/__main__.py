"""`python -m pipeline.lab.demo run|up|down`: the whole product on one machine, touches from examples/ through a real Kafka."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
import sys
import time
from typing import TYPE_CHECKING, NoReturn

import httpx
import orjson
from aiokafka import AIOKafkaProducer
from rich.console import Console

from pipeline.engine.stop_client import stop_client
from pipeline.kafka.cluster import Cluster, CommandFailed
from pipeline.lab.demo.afterwards import click, findings_afterwards, script, until_suppressed
from pipeline.lab.demo.console_view import finding_of_console
from pipeline.lab.demo.findings import COLUMNS, findings, measure, table_of, why_not
from pipeline.lab.demo.sandbox_view import accepted_ids
from pipeline.lab.demo.stack import ROOT, DemoFailed, Stack, alone, stop_leftovers
from pipeline.lab.demo.tally import CHANNELS, Tally, watch
from pipeline.lab.local.kafka import KafkaFailed

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

DATA = ROOT / ".data"
EXAMPLES = ROOT / "examples" / "touches.ndjson"
AFTERWARDS = ROOT / "examples" / "afterwards.ndjson"
"""To those who have bounced, answered STOP or clicked meanwhile."""
GARBAGE = (b"\x00\xff\xfe no touch", b"{broken", b"\xc3\x01 of an unknown schema")
SETTLE_S = 90.0
"""How long touches may move before the demo gives up."""
QUIET_S = 1.5
"""How long nothing new must come before the count is believed."""
LATER_MS = 120_000
"""A touch deferred for longer than this is not waited for."""

# In a log nobody folds lines, and the table needs its room.
console = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 130)


def say(line: str) -> None:
    """Print one line."""
    console.print(line, markup=False)


def run(folder: Path) -> int:
    """Run the demo once and stop everything; 0 if all was shown and every count agrees."""
    began = time.monotonic()
    stack = Stack(folder, say)
    try:
        stack.start()
        code = _show(stack)
    finally:
        _stop(stack)
    say(f"done in {time.monotonic() - began:.0f} s")
    return code


def up(folder: Path) -> int:
    """Run the demo and leave everything running."""
    stack = Stack(folder, say)
    try:
        stack.start()
        code = _show(stack)
    except BaseException:
        _stop(stack)
        raise
    say(f"""
All of it is still running. Look at the touches in a browser:
  console   {stack.private_web}
Beside it:
  worker    {stack.web}/metrics   {stack.web}/ready
  web       {stack.private_web}/metrics   callbacks: {stack.public_web}
  sandbox   {stack.sandbox}
  Kafka     {stack.kafka}
  logs      {stack.folder}/*.log
Try:
  export PIPELINE_CONFIG={stack.config}
  {sys.executable} -m faust -A pipeline check
  {sys.executable} -m faust -A pipeline produce FILE
  {sys.executable} -m faust -A pipeline status --follow
Stop it with: make down""")
    return code


def down(folder: Path) -> int:
    """Stop what `up` has left running."""
    left = stop_leftovers(folder)
    say(str(left))
    if "worker" in left.dead:
        say(f"why the worker ended: {folder / 'worker.log'}")
    return 0


def _stop(stack: Stack) -> None:
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_IGN)  # a second Ctrl-C must leave nothing running
    say("stopping worker, sandbox, web process and Kafka")
    stack.stop()


def _show(stack: Stack) -> int:
    tally = Tally()
    script(stack.sandbox)
    _produce(stack, EXAMPLES)
    asyncio.run(_follow(stack, tally))
    measured, accepted = measure(stack.web), accepted_ids(stack.sandbox)
    console.print()
    console.print(table_of(tally, measured, {channel: len(ids) for channel, ids in accepted.items()}))
    console.print(f"Those that were not sent: {why_not(tally) or 'none'}", markup=False)
    shown = [*findings(tally, measured), *findings_afterwards(tally), finding_of_console(stack.private_web, tally)]
    for each in shown:
        say(f"{'✓' if each.proof else '✗'} {each.what}{': ' + each.proof if each.proof else ': NOT SEEN'}")
    disagreements = _disagreements(tally, accepted)
    for line in disagreements:
        say(f"✗ {line}")
    if not disagreements:
        say("✓ the statuses agree with what the sandbox accepted, message by message")
    return 0 if not disagreements and all(each.proof for each in shown) else 1


def _produce(stack: Stack, file: Path) -> None:
    say(f"producing {file.relative_to(ROOT)}: faust -A pipeline produce")
    stack.produce(file)


def _disagreements(tally: Tally, accepted: Mapping[str, frozenset[str]]) -> list[str]:
    """Return the differences between statuses and the sandbox's book."""
    lines = []
    for channel in CHANNELS:
        told = [each["provider_message_id"] for each in tally.told("sent") if each["channel"] == channel]
        if len(told) != len(set(told)) or set(told) != accepted[channel]:
            unknown, untold = set(told) - accepted[channel], accepted[channel] - set(told)
            lines.append(
                f"{channel}: {len(told)} sent, {len(accepted[channel])} accepted; "
                f"not accepted: {sorted(unknown)[:3]}, not told: {sorted(untold)[:3]}"
            )
    return lines


async def _follow(stack: Stack, tally: Tally) -> None:
    """Throw garbage in between, and show progress until nothing moves any more. Raises DemoFailed."""
    cluster = Cluster({"bootstrap_servers": [stack.kafka]})
    await _throw_garbage(cluster)
    watching = asyncio.create_task(watch(cluster, tally))
    expected = _expected_ids(EXAMPLES)
    try:
        await _until_quiet(stack, tally, expected, watching)
        say("one recipient has bounced, one has answered STOP, one clicks unsubscribe now: each is written to again")
        click(stack.sandbox)
        await until_suppressed(tally)
        await asyncio.to_thread(_produce, stack, AFTERWARDS)
        await _until_quiet(stack, tally, expected | _expected_ids(AFTERWARDS), watching)
    finally:
        watching.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watching


async def _until_quiet(stack: Stack, tally: Tally, expected: set[str], watching: asyncio.Task[None]) -> None:
    began = changed = time.monotonic()
    records, told = -1, ""
    while time.monotonic() - began < SETTLE_S:
        stack.check_alive()
        if watching.done():
            watching.result()
        if tally.records != records:
            records, changed = tally.records, time.monotonic()
        if (line := _progress(tally, expected)) != told:
            told = line
            say(f"  {time.monotonic() - began:4.1f} s  {line}")
        is_quiet = time.monotonic() - changed > QUIET_S
        if is_quiet and _moving(tally, expected) == 0 and len(tally.dead_letters) >= len(GARBAGE):
            return
        await asyncio.sleep(0.5)
    unsettled = sorted(each for each in expected if not tally.is_settled(each, _later_ms()))
    raise DemoFailed(f"still moving after {SETTLE_S:.0f} s: {', '.join(unsettled[:5])}; logs: {stack.folder}")


def _moving(tally: Tally, expected: set[str]) -> int:
    return sum(not tally.is_settled(each, _later_ms()) for each in expected)


def _progress(tally: Tally, expected: set[str]) -> str:
    states = tally.states()
    counts = [f"{sum(states[channel, state] for channel in CHANNELS)} {state}" for state in COLUMNS]
    moving = _moving(tally, expected)
    return (
        f"{moving} of {len(expected)} touches on their way; {', '.join(counts)}; {len(tally.dead_letters)} dead letters"
    )


def _later_ms() -> int:
    return int(time.time() * 1000) + LATER_MS


async def _throw_garbage(cluster: Cluster) -> None:
    producer = AIOKafkaProducer(**cluster.connection)
    await producer.start()
    try:
        for number, value in enumerate(GARBAGE):
            await producer.send_and_wait(cluster.topic_name("touches"), key=b"garbage-%d" % number, value=value)
    finally:
        await stop_client(producer.stop())
    say(f"  {len(GARBAGE)} records of garbage thrown in")


def _expected_ids(file: Path) -> set[str]:
    """Return the touch_ids in a file of examples/ that will have a story."""
    ids = set()
    for line in file.read_bytes().splitlines():
        with contextlib.suppress(orjson.JSONDecodeError, KeyError, TypeError):
            ids.add(orjson.loads(line)["touch_id"])
    return ids


def main() -> NoReturn:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.lab.demo", description=__doc__)
    parser.add_argument("what", choices=["run", "up", "down"])
    what = parser.parse_args().what
    folder = DATA / ("demo" if what == "run" else "up")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that everything is stopped on the way out
    try:
        with alone(folder):
            sys.exit({"run": run, "up": up, "down": down}[what](folder))
    except KeyboardInterrupt:
        sys.exit(130)
    except (DemoFailed, CommandFailed, KafkaFailed, httpx.HTTPError) as error:
        say(f"failed: {error}")
        sys.exit(1)


if __name__ == "__main__":
    main()
