"""The limits from outside: every lane's arrivals by the sandbox's own clock, quiet and under harm, with 1, 2 and 4 workers.

Quiet, nearly all that is allowed must be used, latency deducted: the rule costs one latency per `per`, from the claim to
the answer, and one late awakening of the process. Under harm only the limit is demanded: nobody sends for a lane until
its successor knows that nothing of its predecessor can be under way any more.
"""

from __future__ import annotations

import asyncio
import signal
import statistics
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from tests.harness.judge import PROVIDER, Judgement, most_within
from tests.harness.reporting import LONG, MakeStack, Report
from tests.harness.stack import Stack, touch

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    Deed = Callable[[Stack], Awaitable[bool]]

PER_MS = 60_000 if LONG else 6_000
"""What is a minute in life; the rates are the same."""
BURST = 1 if LONG else 30
"""WhatsApp's. Six seconds are hardly longer than a take-over: a successor that knew nothing would show by a burst only."""
QUIET_S, HARMED_S = (310, 310) if LONG else (12, 10)
"""Seconds in which all could be sent if nobody did any harm."""
FREEZE_S = 8.0
"""Past the session of 6 s, so that the partitions move."""
LEAST_USED = 0.98
TOO_LATE_MS = 5.0
"""A process that wakes so late on average shares its core with others: then it is they that are measured."""


@dataclass(frozen=True, slots=True)
class Rule:
    """What one sender may do, and by what name the sandbox knows it."""

    name: str
    channel: str
    sender: str
    known_as: str
    lane: int
    rate: int
    per_ms: int

    def touches(self, seconds: int, first: int) -> list[dict[str, Any]]:
        """Return as many touches as may go in so many seconds, and one."""
        count = seconds * 1000 * self.rate // self.per_ms + 1
        return [touch(self.channel, first + n, sender=self.sender) for n in range(count)]

    def arrivals(self, stack: Stack) -> list[int]:
        """Return when its calls arrived, by the sandbox's clock, in order."""
        return sorted(
            each["at_ms"] for each in stack.arrivals(PROVIDER[self.channel]) if each["sender"] == self.known_as
        )

    def used(self, at: list[int]) -> float:
        """Return the part used of what is allowed in these calls' time, in whole turns of `rate` calls: bursts or not."""
        turns = (len(at) - 1) // self.rate
        return turns * self.per_ms / (at[turns * self.rate] - at[0])

    def times_ms(self, stack: Stack, until_ms: int) -> dict[str, float]:
        """Return means until then: `answered`, from a call's claim to its answer; `late`, how late the process woke for it.

        Without the first call: it connects, and most of that is over when it arrives.
        """
        times: dict[str, list[int]] = {"answered": [], "late": []}
        for line in (stack.folder / "times").read_text().splitlines():
            what, channel, lane, at_ms, took_ms = line.split()
            if (channel, int(lane)) == (self.channel, self.lane) and int(at_ms) < until_ms:
                times[what].append(int(took_ms))
        return {what: statistics.fmean(each[1:]) for what, each in times.items()}


RULES = (
    Rule("WhatsApp", "whatsapp", "default", "default", 0, 30, PER_MS),
    Rule("WhatsApp, warming up", "whatsapp", "young", "young", 3, 10, PER_MS),
    Rule("e-mail, requests", "email", "default", "re_k", 1, 10, 1_000),
    Rule("SMS, first number", "sms", "default", "+15005550006", 2, 1, 1_000),
    Rule("SMS, second number", "sms", "second", "+15005550009", 3, 1, 1_000),
)
SECOND_WHATSAPP = """
[[channels.whatsapp.senders]]
name = "young"
lane = 3
base_url = "{sandbox}/waha"
session = "young"
api_key = "k"
"""
SECOND_SMS = """
[[channels.sms.senders]]
name = "second"
lane = 3
base_url = "{sandbox}/twilio"
account_sid = "AC0"
auth_token = "t"
from = "+15005550009"
"""


def _stack(make_stack: MakeStack, workers: int) -> Stack:
    stack = make_stack(
        name=f"of-{workers}.",
        whatsapp_limit=f'{{ rate = 30, per = "{PER_MS}ms", burst = {BURST} }}',
        warm_up=f'{{ rate = 10, per = "{PER_MS}ms", lasts = "7d" }}',
        whatsapp_sender="started_on = 2025-01-01",
        email="batch = 1",
        email_limit='{ rate = 10, per = "1s" }',
        sms_limit='{ rate = 1, per = "1s" }',
    )
    stack.config.update(
        whatsapp=SECOND_WHATSAPP.format(sandbox=stack.sandbox), sms=SECOND_SMS.format(sandbox=stack.sandbox)
    )
    return stack


async def _kill(channel: str, stack: Stack) -> bool:
    return await stack.kill_owner(channel)


async def _freeze(channel: str, stack: Stack) -> bool:
    """Freeze the lane's owner until its session is over and its lanes are another's."""
    owner = (await stack.owners()).get(channel)
    if owner is None or not stack.is_at_work(owner):
        return False
    stack.send(owner, signal.SIGSTOP)
    await asyncio.sleep(FREEZE_S)
    stack.send(owner, signal.SIGCONT)
    return True


async def _hand_over(channel: str, stack: Stack) -> bool:
    """Let a new worker come and the lane's owner go, gently."""
    owner = (await stack.owners()).get(channel)
    if owner is None or not stack.is_at_work(owner):
        return False
    stack.start(max(stack.workers) + 1)
    assert await stack.stop_gently(owner) == 0
    return True


HARMS: list[tuple[float, Deed]] = (
    [
        (15, partial(_kill, "whatsapp")),
        (45, partial(_kill, "email")),
        (75, partial(_kill, "sms")),
        (105, partial(_freeze, "whatsapp")),
        (145, partial(_freeze, "email")),
        (190, partial(_hand_over, "sms")),
        (230, partial(_kill, "email")),
        (265, partial(_freeze, "sms")),
    ]
    if LONG
    else [(1, partial(_kill, "whatsapp")), (5, partial(_freeze, "email"))]
)
"""What is done, and how many seconds into the harmed time."""


async def _do_harm(stack: Stack, from_ms: int) -> None:
    for after_s, deed in HARMS:
        await asyncio.sleep(from_ms / 1000 + after_s - time.time())
        while not await deed(stack):
            await asyncio.sleep(0.2)


async def _make_ready(stack: Stack, workers: int) -> None:
    for number in range(workers):
        stack.start(number, program="tests.harness.workers.timing", TIMES=str(stack.folder / "times"))
    await stack.wait_for_topics()
    await stack.wait_for_work(*range(workers))


async def _live(stack: Stack, workers: int) -> int:
    """Send everything, in quiet first and then through every harm; return when the harm began."""
    await stack.produce(
        [each for at, rule in enumerate(RULES) for each in rule.touches(QUIET_S + HARMED_S, 10_000 * at)]
    )
    harmed_ms = time.time_ns() // 1_000_000 + QUIET_S * 1000
    harm = asyncio.create_task(_do_harm(stack, harmed_ms))

    async def restart() -> None:
        stack.restart_the_dead()

    ended = await stack.follow(
        lambda: harm.done() and stack.all_ended(), deadline_s=(QUIET_S + HARMED_S) * 1.5 + 60, meanwhile=restart
    )
    assert ended, f"{stack.ended()} of {len(stack.produced)} with {workers} workers"
    await harm
    return harmed_ms


@dataclass(frozen=True, slots=True)
class Measured:
    """What the sandbox saw of one rule."""

    rule: Rule
    most: int
    """Calls in any stretch of `per`."""
    raw: float
    """Used in quiet."""
    harmed: float
    """Used under harm."""
    answered: float
    late: float
    """Mean milliseconds in quiet; see `times_ms`."""

    @property
    def used(self) -> float:
        """Used in quiet, latency deducted."""
        return self.raw * (1 + (self.answered + self.late) / self.rule.per_ms)

    def wrongs(self) -> Iterator[str]:
        """Yield what is wrong with it."""
        rule = self.rule
        if self.most > rule.rate:
            yield f"{rule.name}: {self.most} in {rule.per_ms} ms, allowed are {rule.rate}"
        if self.used < LEAST_USED and self.late < TOO_LATE_MS:
            yield f"{rule.name}: only {self.used:.2%} of what is allowed was used in quiet"

    def __str__(self) -> str:
        rule = self.rule
        return (
            f"{rule.name:22}{rule.rate:3} in {rule.per_ms / 1000:.0f} s: most {self.most:3}; quiet {self.used:7.2%} used "
            f"({self.raw:.2%} before latency: answered in {self.answered:.0f} ms, woken {self.late:.1f} ms late); "
            f"under harm {self.harmed:.2%}"
        )


def _measure(stack: Stack, harmed_ms: int) -> Iterator[Measured]:
    for rule in RULES:
        at = rule.arrivals(stack)
        quiet = [each for each in at if each < harmed_ms]
        yield Measured(
            rule,
            most_within(at, rule.per_ms),
            rule.used(quiet),
            rule.used(at[len(quiet) - 1 :]),
            **rule.times_ms(stack, harmed_ms),
        )


async def test_the_limits_hold_at_the_provider_and_are_used_through_kill_freeze_and_take_over(
    make_stack: MakeStack, report: Report
) -> None:
    crews = (1, 2, 4) if LONG else (2,)
    stacks = [_stack(make_stack, workers) for workers in crews]
    for stack, workers in zip(stacks, crews, strict=True):
        # One after the other, all before the first touch: a worker that starts takes seconds of a core from the others.
        await _make_ready(stack, workers)
    harmed_ms = await asyncio.gather(*[_live(stack, workers) for stack, workers in zip(stacks, crews, strict=True)])
    judged = [
        (workers, Judgement(stack), list(_measure(stack, since_ms)))
        for workers, stack, since_ms in zip(crews, stacks, harmed_ms, strict=True)
    ]
    for workers, judgement, found in judged:
        judgement.wrongs += [wrong for each in found for wrong in each.wrongs()]
        title = (
            f"Limits with {workers} workers, {QUIET_S} s in quiet, then {HARMED_S} s' worth killed, frozen, taken over"
        )
        report(title, judgement, *map(str, found))
