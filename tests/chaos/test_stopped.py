"""What was answered `done` holds through kills, freezes, rebalances and a restart of everything: nothing arrives any more."""

from __future__ import annotations

import asyncio
import signal
import time
from collections import defaultdict
from statistics import median
from typing import TYPE_CHECKING, Any

from pipeline import flow
from pipeline.domain.audit import Acted, Door, Who
from pipeline.domain.order import Action, Order, Target
from pipeline.domain.suppression import Scope, Suppression, SuppressionReason
from pipeline.domain.work import Channel
from pipeline.kafka.audit import Auditor
from pipeline.kafka.cluster import Cluster
from pipeline.kafka.control import write_order
from pipeline.kafka.lanes import wait_for_lanes
from pipeline.kafka.transaction import Outgoing, open_short_writer
from pipeline.records.control import encode_suppression
from pipeline.records.writing import single_object
from tests.harness.judge import CHANNELS, Judgement
from tests.harness.operators import arrived_after, order
from tests.harness.reporting import LONG
from tests.harness.stack import Stack, touch

if TYPE_CHECKING:
    from collections.abc import Callable

    from pipeline.records.lane_report import LaneReport
    from tests.harness.reporting import MakeStack

ROUNDS = 12 if LONG else 4
ORDERS = 84 if LONG else 24
"""In each round, and in a quiet one before."""
RATE = 40
FAR_MS = 4_000_000_000_000
LANES = [f"{channel}/default" for channel in CHANNELS]


def audit_of(order: Order) -> Outgoing:
    who = Who("me", None, Door.CLI)
    return Auditor(single_object, who, order.at_ms).record(Acted.PAUSE, order.key, order.note)


class Campaign:
    """Four touches of a campaign of their own, an order or an entry about it, and from when on it was done."""

    def __init__(self, number: int) -> None:
        self.number, self.name = number, f"k{number}"
        self.kind = ("pause", "cancel", "lead", "channel")[number % 4]
        """A cancel of the campaign, an entry for its lead, a pause of it, or of one channel of it."""
        self.channel = CHANNELS[number % 3]
        if self.kind == "lead" and self.channel == "email":
            self.channel = "sms"  # a batch whose outcome is unknown may be repeated with a suppressed recipient
        self.done_ms = 0
        self.resumed_ms = 2**62

    def touches(self, half: int) -> list[dict[str, Any]]:
        """One half is produced before the order, the other once it is done."""
        return [
            touch(self.channel, 4 * self.number + 2 * half + n, campaign_id=self.name, lead_id=self.name)
            for n in range(2)
        ]

    def order(self, *, is_resumed: bool = False) -> Order:
        at_ms = time.time_ns() // 1_000_000
        if self.kind == "cancel":
            return Order(Action.CANCEL, Target(campaign=self.name), note="test", by="me", at_ms=at_ms, until_ms=FAR_MS)
        target = Target(campaign=self.name, channel=Channel(self.channel) if self.kind == "channel" else None)
        return Order(Action.PAUSE, target, note="test", by="me", at_ms=at_ms, until_ms=at_ms if is_resumed else None)

    async def stop(self, cluster: Cluster) -> float:
        """Order it, and wait until it is done, as the commands do; return how long that took, in seconds."""
        began = time.monotonic()
        if self.kind == "lead":
            entry = Suppression(
                Scope.ANY,
                lead_id=self.name,
                reason=SuppressionReason.MANUAL,
                by="me",
                at_ms=time.time_ns() // 1_000_000,
            )
            value = encode_suppression(single_object, entry)
            async with open_short_writer(cluster, flow.SUPPRESSIONS) as write:
                [placed] = await write([Outgoing(flow.SUPPRESSIONS, entry.key.encode(), value, partition=0)])
                offset = placed.offset
            missing = await self._wait(cluster, LANES, lambda report: report.suppressions_in_force > offset)
        else:
            order = self.order()
            offset = await write_order(cluster, order, audit_of(order))
            lanes = [lane for lane in LANES if order.target.has_lane(*lane.split("/"))]
            missing = await self._wait(cluster, lanes, lambda report: report.control_in_force > offset)
        assert missing == [], (self.kind, self.name, missing)
        self.done_ms = time.time_ns() // 1_000_000
        return time.monotonic() - began

    async def resume(self, cluster: Cluster) -> None:
        if self.kind in ("pause", "channel"):
            self.resumed_ms = time.time_ns() // 1_000_000
            resumed = self.order(is_resumed=True)
            await write_order(cluster, resumed, audit_of(resumed))

    async def _wait(self, cluster: Cluster, lanes: list[str], obeys: Callable[[LaneReport], bool]) -> list[str]:
        return await wait_for_lanes(
            cluster, lanes, obeys, within_s=180, progress=lambda _: None, complain=lambda _: None
        )

    def faults(self, stack: Stack, at_ms: dict[str, list[int]]) -> list[str]:
        """Return what was sent although it was stopped, and what has not ended as it must."""
        found = []
        for half, each in [(0, each) for each in self.touches(0)] + [(1, each) for each in self.touches(1)]:
            touch_id = each["touch_id"]
            found += [
                f"{touch_id} of {self.kind} arrived {at - self.done_ms} ms after it was done"
                for at in at_ms.get(touch_id, [])
                if self.done_ms < at < self.resumed_ms
            ]
            end = stack.stories[touch_id][-1]["state"]
            stopped = {"cancel": "cancelled", "lead": "suppressed"}.get(self.kind)
            is_right = end == stopped if stopped and half else end in ("sent", stopped)
            if end == "unconfirmed" and self.channel == "email" and not half:
                continue  # its call was lost, and an order on a touch of its batch kept it from being repeated
            if not is_right or len(at_ms.get(touch_id, [])) != (end == "sent"):
                found.append(f"{touch_id} of {self.kind}, half {half}: {end}, arrived {at_ms.get(touch_id, [])}")
        return found


async def test_no_call_begins_after_a_pause_was_answered_through_kills_freezes_and_restarts(
    make_stack: MakeStack,
) -> None:
    stack = make_stack(limit=f'{{ rate = {RATE}, per = "1s" }}', email='resolve_for = "20s"')
    stack.rule(delay_ms=100, delay_after_ms=100)
    for number in range(2):
        stack.start(number)
    await stack.wait_for_topics(deadline_s=120)
    await both_at_work(stack)
    cluster = Cluster({"bootstrap_servers": stack.servers}, stack.prefix)
    took: dict[str, list[float]] = defaultdict(list)
    campaigns = [Campaign(number) for number in range(ORDERS * (ROUNDS + 1))]
    for number in range(ROUNDS + 1):
        mine = campaigns[number * ORDERS : (number + 1) * ORDERS]
        harm = HARMS[(number - 1) % len(HARMS)] if number else quiet
        harming = asyncio.create_task(harm(stack, number % 2))
        await stack.produce([each for campaign in mine for each in campaign.touches(0)])
        took[harm.__name__] += await stop_all(mine, cluster)
        await stack.produce([each for campaign in mine for each in campaign.touches(1)])
        await harming
        await both_at_work(stack)
    held = await order(stack, "pause", "--all", "--timeout", "120s")
    await asyncio.sleep(1)
    faults = [f"{each} after {held.at_ms}" for each in arrived_after(stack, held.at_ms)]
    await order(stack, "resume", "--all", "--timeout", "120s")
    for campaign in campaigns:
        await campaign.resume(cluster)

    async def supervise() -> None:
        stack.restart_the_dead()

    is_over = await stack.follow(stack.all_ended, deadline_s=120 + len(campaigns), meanwhile=supervise)
    assert is_over, f"{stack.ended()} of {len(stack.produced)}"
    for name, figures in took.items():
        print(f"{name}: {len(figures)} done after {median(figures):.1f} s, most {max(figures):.1f} s")
    at_ms: dict[str, list[int]] = defaultdict(list)
    for message in stack.accepted():
        at_ms[message["text"].removeprefix("Hello, this is ").rstrip(".")].append(message["at_ms"])
    faults += [fault for campaign in campaigns for fault in campaign.faults(stack, at_ms)]
    assert faults == [], f"{len(faults)}: {faults[:5]}"
    judgement = Judgement(stack)
    for channel in CHANNELS:
        judgement.demand_limit(channel, RATE, 1_000)
    judgement.demand_innocence()
    print(judgement.table(f"{len(campaigns)} orders and entries"))


async def both_at_work(stack: Stack) -> None:
    """Wait until both workers are at work; one that ends meanwhile is started again, as its supervisor would."""
    async with asyncio.timeout(180):
        while not all(stack.is_at_work(number) for number in (0, 1)):
            stack.restart_the_dead()
            await asyncio.sleep(0.2)


async def stop_all(campaigns: list[Campaign], cluster: Cluster) -> list[float]:
    """Order them, a few operators at a time."""
    operators = asyncio.Semaphore(8)

    async def one(campaign: Campaign) -> float:
        async with operators:
            return await campaign.stop(cluster)

    return await asyncio.gather(*(one(each) for each in campaigns))


async def quiet(stack: Stack, number: int) -> None:
    """Do nothing."""
    del stack, number


async def killed(stack: Stack, number: int) -> None:
    """Kill one worker, which comes back."""
    await asyncio.sleep(0.5)
    stack.kill(number)


async def frozen(stack: Stack, number: int) -> None:
    """Freeze one worker for longer than its session; it ends when it wakes, and comes back."""
    await asyncio.sleep(0.5)
    stack.send(number, signal.SIGSTOP)
    await asyncio.sleep(60 if LONG else 10)
    stack.send(number, signal.SIGCONT)
    await asyncio.sleep(3)


async def rebalanced(stack: Stack, number: int) -> None:
    """Stop one worker, and start it again: its partitions move twice."""
    await stack.stop_gently(number)
    stack.start(number)


async def restarted(stack: Stack, number: int) -> None:
    """Kill everything, and start it again."""
    del number
    await asyncio.sleep(0.5)
    stack.kill(0)
    stack.kill(1)


HARMS = (killed, frozen, rebalanced, restarted)
