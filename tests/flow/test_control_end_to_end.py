"""Orders and suppressions with real workers: after a command has said done, the provider sees no call for its target."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

from tests.harness.stack import ROOT, Stack, touch

if TYPE_CHECKING:
    from tests.harness.reporting import MakeStack

NOTE = ("--note", "wrong price")


def start(stack: Stack, *command: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "faust", "-A", "pipeline", *command],
        cwd=ROOT,
        env={**os.environ, "PIPELINE_CONFIG": str(stack.folder / "worker-0.toml")},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


async def run(stack: Stack, *command: str) -> tuple[int, str, str]:
    process = start(stack, *command)
    out, err = await asyncio.to_thread(process.communicate, timeout=90)
    return process.returncode, out, err


async def done(stack: Stack, *command: str) -> dict[str, Any]:
    """Run a command with --json that must say done."""
    code, out, err = await run(stack, "--json", *command)
    assert code == 0, (out, err)
    return json.loads(out)


def arrived(stack: Stack) -> list[str]:
    """The touches whose messages the provider has taken, in order."""
    return [re.search(r"this is (\S+)\.", json.dumps(message))[1] for message in stack.accepted()]


def last(stack: Stack, touch_id: str) -> tuple[str, str | None, str | None]:
    told = stack.stories[touch_id][-1]
    return told["state"], told["reason"], told["order"]


async def sending(make_stack: MakeStack, count: int, **config: str) -> Stack:
    """A worker that has many SMS to send, four a second; a third of them in each of c0, c1 and c2."""
    stack = make_stack(limit='{ rate = 4, per = "1s" }', **config)
    stack.start(0)
    await stack.wait_for_work(0)
    await stack.produce([touch("sms", number) for number in range(count)])
    assert await stack.follow(lambda: len(stack.stories) == count and stack.ended() >= 3, deadline_s=40)
    return stack


async def test_a_paused_campaign_is_parked_through_a_kill_and_goes_on_when_it_is_resumed(make_stack: MakeStack) -> None:
    stack = await sending(make_stack, 90)
    began = time.monotonic()
    shown = await done(stack, "pause", "--campaign", "c1", *NOTE)
    assert (shown["in_force"], shown["missing"]) == (True, [])
    assert time.monotonic() - began < 15
    before = arrived(stack)
    parked = {f"sms-{n}" for n in range(90) if n % 3 == 1} - set(before)
    assert parked
    await stack.kill_owner("sms")
    await stack.wait_for_work(0)
    stack.start(1)
    assert await stack.follow(
        lambda: (
            all(last(stack, each) == ("deferred", "paused", "pause:campaign=c1") for each in parked)
            and stack.ended() == 90 - len(parked)
        ),
        deadline_s=90,
    )
    assert not parked & set(arrived(stack)), "after done no call began"
    code, out, err = await run(stack, "status", min(parked))
    assert (code, err.startswith("held by pause:campaign=c1, ")) == (0, True), out
    await done(stack, "resume", "--campaign", "c1", *NOTE)
    assert await stack.follow(stack.all_ended, deadline_s=60)
    assert sorted(arrived(stack)) == sorted(stack.produced), "each went once"


async def test_a_cancelled_campaign_ends_and_the_others_go_on(make_stack: MakeStack) -> None:
    stack = await sending(make_stack, 60)
    await done(stack, "cancel", "--campaign", "c1", *NOTE)
    before = arrived(stack)
    cancelled = {f"sms-{n}" for n in range(60) if n % 3 == 1} - set(before)
    await stack.produce([touch("sms", 100, campaign_id="c1"), touch("sms", 101, campaign_id="c0")])
    assert await stack.follow(stack.all_ended, deadline_s=60)
    assert not (cancelled | {"sms-100"}) & set(arrived(stack))
    for each in cancelled | {"sms-100"}:
        assert last(stack, each) == ("cancelled", "campaign", "cancel:campaign=c1")
        assert stack.stories[each][-1]["error"] == "wrong price"
    assert last(stack, "sms-101")[0] == "sent"


async def test_a_held_channel_is_silent_while_another_goes_on(make_stack: MakeStack) -> None:
    stack = await sending(make_stack, 30)
    await done(stack, "pause", "--channel", "sms", *NOTE)
    count = stack.accepted_from("twilio")
    await stack.produce([touch("email", 1)])
    assert await stack.follow(
        lambda: stack.stories["email-1"][-1:] and last(stack, "email-1")[0] == "sent", deadline_s=30
    )
    assert stack.accepted_from("twilio") == count
    assert all(story[-1]["reason"] != "paused" for story in stack.stories.values()), "nothing is told per touch"
    _, out, _ = await run(stack, "orders")
    assert out.split()[:2] == ["pause:channel=sms", "in_force"]
    await done(stack, "resume", "--channel", "sms", *NOTE)
    assert await stack.follow(stack.all_ended, deadline_s=40)


async def test_who_is_suppressed_gets_no_call_and_a_transactional_touch_passes_an_unsubscription_only(
    make_stack: MakeStack,
) -> None:
    stack = make_stack()
    stack.start(0)
    await stack.wait_for_work(0)
    await done(
        stack, "suppressions", "add", "--address", "p1@example.com", "--reason", "unsubscribed", "--note", "by mail"
    )
    await done(stack, "suppressions", "add", "--address", "+12125550001", "--reason", "opt_out")
    await done(stack, "suppressions", "add", "--lead", "l3")
    await stack.produce(
        [
            touch("email", 1),
            touch("email", 2, to="P1@example.com", purpose="transactional"),
            touch("sms", 1, purpose="transactional"),
            touch("whatsapp", 1),
            touch("email", 3),
            touch("email", 4),
        ]
    )
    assert await stack.follow(stack.all_ended, deadline_s=40)
    assert {each: last(stack, each)[:2] for each in stack.produced} == {
        "email-1": ("suppressed", "unsubscribed"),
        "email-2": ("sent", None),
        "sms-1": ("suppressed", "opt_out"),
        "whatsapp-1": ("suppressed", "opt_out"),
        "email-3": ("suppressed", "manual"),
        "email-4": ("sent", None),
    }
    assert stack.stories["email-1"][-1]["error"] == "by mail"
    assert sorted(arrived(stack)) == ["email-2", "email-4"]
    code, out, _ = await run(stack, "status", "--address", "p1@example.com")
    assert (code, {line.split()[1] for line in out.splitlines()}) == (0, {"email-1", "email-2"})
    await done(stack, "suppressions", "remove", "--address", "+12125550001")
    await stack.produce([touch("sms", 11, to="+12125550001")])
    assert await stack.follow(lambda: stack.stories["sms-11"][-1:] and stack.all_ended(), deadline_s=30)
    assert last(stack, "sms-11")[0] == "sent"
