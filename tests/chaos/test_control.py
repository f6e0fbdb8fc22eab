"""Orders and suppressions with real workers: told, obeyed, taken back, and kept over a restart of everything."""

from __future__ import annotations

import asyncio

import pytest

from tests.harness.judge import CHANNELS
from tests.harness.operators import arrived_after, command, order
from tests.harness.stack import Stack, touch


def ends(stack: Stack, *touch_ids: str) -> list[tuple[str, str | None]]:
    return [(stack.stories[each][-1]["state"], stack.stories[each][-1]["reason"]) for each in touch_ids]


async def test_what_is_ordered_is_obeyed_told_and_taken_back(stack: Stack) -> None:
    stack.start(0)
    await stack.wait_for_topics()
    await stack.wait_for_work(0)
    held = await order(stack, "pause", "--channel", "sms")
    parked = await order(stack, "pause", "--campaign", "c1")
    print(f"in force after {held.took_s:.1f} s and {parked.took_s:.1f} s, the start of the command included")
    await stack.produce([touch(channel, n) for n in range(3) for channel in CHANNELS])
    assert await stack.follow(lambda: stack.ended() == 4, deadline_s=40)
    assert ends(stack, "email-0", "email-2", "whatsapp-0", "whatsapp-2") == [("sent", None)] * 4
    assert ends(stack, "email-1", "whatsapp-1", "sms-1") == [("deferred", "paused")] * 3
    assert stack.stories["email-1"][-1]["order"] == "pause:campaign=c1"
    cancelled = await order(stack, "cancel", "--touch", "email-1")
    await order(stack, "resume", "--campaign", "c1")
    await order(stack, "resume", "--channel", "sms")
    assert await stack.follow(stack.all_ended, deadline_s=60)
    assert (
        ends(stack, "email-1", "whatsapp-1", "sms-0", "sms-1", "sms-2")
        == [("cancelled", "touch")] + [("sent", None)] * 4
    )
    assert stack.stories["email-1"][-1]["order"] == cancelled.said["key"]
    assert not stack.exits


async def test_an_entry_and_a_providers_refusal_suppress_the_next_touch(stack: Stack) -> None:
    stack.start(0)
    await stack.wait_for_topics()
    await stack.wait_for_work(0)
    done = await command(stack, "suppressions", "add", "--address", "p7@example.com", "--reason", "unsubscribed")
    assert done.code == 0, done.error
    stack.rule(provider="twilio", status=400, code="21610", times=1)
    await stack.produce(
        [touch("sms", 1), touch("email", 7), touch("email", 7, touch_id="email-t", purpose="transactional")]
    )
    assert await stack.follow(stack.all_ended, deadline_s=40)
    assert ends(stack, "sms-1", "email-7", "email-t") == [
        ("failed", "rejected"),
        ("suppressed", "unsubscribed"),
        ("sent", None),
    ]
    await asyncio.sleep(2)  # an entry is obeyed within a second of its commit
    stack.behave()
    await stack.produce([touch("sms", 1, touch_id="sms-again"), touch("whatsapp", 1)])
    assert await stack.follow(stack.all_ended, deadline_s=40)
    assert ends(stack, "sms-again", "whatsapp-1") == [("suppressed", "opt_out")] * 2
    assert not arrived_after(stack, done.at_ms + 60_000)


@pytest.mark.parametrize("channel", CHANNELS)
async def test_a_pause_survives_the_restart_of_everything(stack: Stack, channel: str) -> None:
    stack.start(0)
    await stack.wait_for_topics()
    await stack.wait_for_work(0)
    done = await order(stack, "pause", "--campaign", "c1", "--channel", channel)
    await stack.produce([touch(channel, n) for n in range(30)])
    assert await stack.follow(lambda: stack.ended() == 20, deadline_s=60)
    stack.kill(0)
    await stack.wait_for_work(0)
    await stack.produce([touch(channel, n) for n in range(30, 60)])
    assert await stack.follow(lambda: stack.ended() == 40, deadline_s=60)
    await asyncio.sleep(2)
    assert stack.ended() == 40
    await order(stack, "resume", "--campaign", "c1", "--channel", channel)
    assert await stack.follow(stack.all_ended, deadline_s=60)
    counts = stack.judge()[channel]
    assert counts["sent"] == counts["touches"] == 60
    assert len(stack.accepted()) == 60
    assert done.said["in_force"] is True
