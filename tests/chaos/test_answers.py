"""Answers that never come, and questions that are answered late: looked up, never guessed, and nobody else waits."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from tests.harness.judge import CHANNELS, PROVIDER, TERMINAL
from tests.harness.reporting import LONG, MakeStack, Report
from tests.harness.stack import Stack, touch

if TYPE_CHECKING:
    from collections.abc import Iterable


async def test_answers_dropped_after_acceptance_become_no_second_message(make_stack: MakeStack, report: Report) -> None:
    """Two in a hundred answers are lost, one in a hundred connections is reset before; e-mail in batches of 5, for more answers."""
    touches = 5_000 if LONG else 1_000
    stack = make_stack(email="batch = 5")
    stack.start(0)
    await stack.wait_for_topics()
    for provider in PROVIDER.values():
        stack.rule(provider=provider, drop="after", times=1)
    stack.rule(drop="after", probability=0.02, seed=1)
    stack.rule(drop="before", probability=0.01)
    await stack.produce([touch(channel, n) for n in range(touches) for channel in CHANNELS])
    assert await stack.follow(stack.all_ended, deadline_s=120 + touches / 10), (
        f"{stack.ended()} of {len(stack.produced)}"
    )
    figures = report("Answers dropped after acceptance (2 %), connections reset before it (1 %)", stack).figures
    assert all(f["sent"] == touches for f in figures.values())
    assert all(f["looked up"] > 0 for f in figures.values())


ASKED_IN_VAIN_S = 6.0
LISTING_LAG_S = 4.0
BOUND_S = 3.0


async def test_slow_and_failing_look_ups_send_nothing_twice_and_hold_nobody_up(
    make_stack: MakeStack, report: Report
) -> None:
    """WAHA's look-ups are answered 500 for a while, half of Twilio's always, all are slow; Twilio's list lags by 4 s.

    `resolve_after` of SMS is 6 s: half of those who asked at once would be told that nothing is there.
    """
    stack = make_stack(sms_resolve_after="6s", email="batch = 5")
    stack.settings(listing_delay_ms=int(LISTING_LAG_S * 1000))
    stack.start(0)
    await stack.wait_for_topics()
    _trouble_look_ups(stack)
    stack.rule(drop="after", probability=0.05, seed=2)
    early = [touch(channel, n) for n in range(200) for channel in CHANNELS]
    await stack.produce(early)
    assert await stack.follow(lambda: stack.ended() >= len(early) * 0.9, deadline_s=60)
    began = time.monotonic()
    stack.behave()
    _trouble_look_ups(stack)
    late = [touch(channel, 200 + n) for n in range(50) for channel in CHANNELS]
    await stack.produce(late)
    assert await stack.follow(lambda: _have_ended(stack, late), deadline_s=30)
    open_questions = len(stack.produced) - stack.ended()
    await stack.follow(lambda: time.monotonic() - began > ASKED_IN_VAIN_S, deadline_s=ASKED_IN_VAIN_S)
    stack.behave()
    stack.rule(what="ask", delay_ms=1_000)
    assert await stack.follow(stack.all_ended, deadline_s=120)
    slowest_s = max(_took_s(stack, each["touch_id"]) for each in late)
    figures = report(
        "Look-ups slow (1 s), WAHA's 500 for a while, half of Twilio's 500, Twilio's list 4 s behind",
        stack,
        f"{open_questions} touches were open questions while 150 others went: the slowest of those took {slowest_s:.1f} s",
    ).figures
    assert open_questions > 0
    assert slowest_s < BOUND_S
    assert all(f["unconfirmed"] == 0 and f["failed"] == 0 for f in figures.values())


def _trouble_look_ups(stack: Stack) -> None:
    stack.rule(provider="waha", what="ask", status=500, delay_ms=1_000)
    stack.rule(provider="twilio", what="ask", status=500, delay_ms=1_000, probability=0.5, seed=6)
    stack.rule(provider="twilio", what="ask", delay_ms=1_000)


def _have_ended(stack: Stack, touches: Iterable[dict[str, str]]) -> bool:
    return all(stack.stories.get(each["touch_id"], [{"state": ""}])[-1]["state"] in TERMINAL for each in touches)


def _took_s(stack: Stack, touch_id: str) -> float:
    story = stack.stories[touch_id]
    return float(story[-1]["occurred_at"] - story[0]["occurred_at"]) / 1000


ODD = ("page", "other", "empty", "cut", "list")
"""What no provider says. (What says failure is not believed to have accepted.)"""


async def test_what_no_provider_says_is_neither_sent_nor_absent(make_stack: MakeStack, report: Report) -> None:
    """One in fifty calls is answered by a web page and the like, after acceptance or without; so is one in ten look-ups.

    At the beginning all of Resend's answers are 403, the domain is not verified, and nothing of it may fail.
    """
    stack = make_stack(email="batch = 5")
    stack.rule(provider="resend", status=403, code="validation_error", times=13)
    for number, answer in enumerate(ODD):
        stack.rule(answer=answer, accept=number % 2 == 0, probability=0.01, seed=7)
        stack.rule(answer=answer, accept=number % 2 == 1, probability=0.01)
        stack.rule(answer=answer, what="ask", probability=0.02)
    stack.rule(answer="error", probability=0.01)
    stack.rule(answer="false", probability=0.01)
    stack.start(0)
    await stack.wait_for_topics()
    await stack.produce([touch(channel, n) for n in range(200) for channel in CHANNELS])
    assert await stack.follow(stack.all_ended, deadline_s=150), f"{stack.ended()} of {len(stack.produced)}"
    figures = report(
        "Answers that no provider gives (10 %), errors inside a success (2 %), a domain not verified at first", stack
    ).figures
    assert all(f["sent"] == 200 for f in figures.values())
    assert figures["sms"]["looked up"] > 0
    assert "verify the domain" in stack._log(0).read_text()
