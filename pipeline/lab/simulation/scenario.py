"""What one history is about, drawn from its seed: channels and their rules, senders, touches, and how much goes wrong."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from typing import Any

from pipeline.channels.registry import SPECS
from pipeline.domain.account import ResendAccount, TwilioAccount, WahaAccount
from pipeline.domain.limit import Gap, Limit, WarmUp, WarmUpStep
from pipeline.domain.policy import ChannelPolicy
from pipeline.domain.retry import Retry
from pipeline.domain.sender_policy import SenderPolicy, WahaEngine
from pipeline.domain.window import Window
from pipeline.domain.work import Channel
from pipeline.lab.simulation.orders import Said, draw_orders
from pipeline.lab.simulation.world import T0_MS
from pipeline.secret import Secret

LATEST_MS = 2_000
"""Most milliseconds between a request's body and its acceptance."""
PARTITIONS = 2
LANES = 2
OTHER = " other"
"""Ends the body of a touch that conflicts with one whose body is the same but for this."""
STRAYS = 0.3
"""Share of the records that do not come to their touch's home on purpose."""
OPENS_S = 12 * 3600
"""The wall clock at the beginning of a history, UTC."""


@dataclass(frozen=True, slots=True)
class Harm:
    """The rates of faults, per turn of a worker or per request."""

    lasts_s: float
    kills: float
    freezes: float
    longest_freeze_s: float
    requests: float
    """Share of requests to providers that something happens to."""
    broker: float
    """Share of broker answers that are lost."""
    reads_again: float
    """Share of take-overs after which an input is read from its beginning."""
    broker_away: bool
    rebalances: bool
    freezes_connecting: float
    """Share of requests before whose body the worker freezes, for longer than its session; then something is ordered."""
    freezes_claiming: float
    """Share of claims after whose commit, before their calls, the same happens: a call's timeout begins with the call."""
    frozen_s: float
    """How much longer than its session such a worker is frozen at most: it wakes within its lease, or long after."""
    skew_ms: int
    """No clock differs from true time by more; all jump within it."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """One history's cast."""

    workers: int
    channels: dict[Channel, ChannelPolicy]
    accounts: dict[tuple[Channel, str], WahaAccount | ResendAccount | TwilioAccount]
    touches: list[tuple[float, dict[str, Any]]]
    """(when it is produced, the touch)"""
    harm: Harm
    listing_delay_ms: int
    is_reconfigured: bool
    """Every start of a worker may bring another configuration."""
    may_stay_unconfirmed: bool
    """The provider is asked for so short a time that a touch may end unconfirmed."""
    orders: list[Said]

    def senders_of_whatsapp(self) -> tuple[SenderPolicy, ...]:
        """Return the WAHA sessions."""
        return self.channels[Channel.WHATSAPP].senders


def draw(seed: int) -> Scenario:
    """Return the scenario of a seed."""
    dice = random.Random(f"scenario {seed}")
    used = dice.choice([[Channel.SMS], [Channel.WHATSAPP], [Channel.EMAIL], list(Channel)])
    resolve_after_ms = dice.choice([4_000, 7_000])
    engine = dice.choice(list(WahaEngine))
    accounts: dict[tuple[Channel, str], WahaAccount | ResendAccount | TwilioAccount] = {}
    channels = {}
    for channel in Channel:
        count = dice.choice([1, 1, 2]) if channel in used else 0
        senders = tuple(_sender(channel, number, engine) for number in range(count))
        accounts |= {(channel, each.name): _account(channel, each, number) for number, each in enumerate(senders)}
        channels[channel] = _policy(dice, channel, senders, resolve_after_ms)
    may_stay_unconfirmed = dice.random() < 0.1
    if may_stay_unconfirmed:
        channels = {channel: replace(policy, resolve_for_ms=15_000) for channel, policy in channels.items()}
    workers, touches, harm = dice.choice([1, 2, 2, 3]), _touches(dice, used), _harm(seed, dice)
    if harm.freezes_claiming:  # somebody else has the lane, and says that it obeys, while the lease still runs
        workers, channels = (
            max(workers, 2),
            {each: replace(policy, lease_ms=12_000) for each, policy in channels.items()},
        )
    # What was accepted is listed before anybody asks, however the asker's clock jumps meanwhile.
    listing_delay_ms = dice.choice([0, resolve_after_ms - LATEST_MS - 2 * harm.skew_ms])
    return Scenario(
        workers,
        channels,
        accounts,
        touches,
        harm,
        listing_delay_ms,
        dice.random() < 0.5 and not harm.freezes_claiming,
        may_stay_unconfirmed,
        draw_orders(seed, channels),
    )


def as_restarted(scenario: Scenario, dice: random.Random) -> dict[Channel, ChannelPolicy]:
    """Return the channels of a worker's next start: values that must not matter may have changed."""
    if not scenario.is_reconfigured:
        return scenario.channels
    return {channel: _changed(policy, dice) for channel, policy in scenario.channels.items()}


def _changed(policy: ChannelPolicy, dice: random.Random) -> ChannelPolicy:
    first, *others = policy.senders or (None,)
    senders = (
        () if first is None else (first, *(replace(each, is_enabled=dice.random() < 0.7) for each in others if each))
    )
    return replace(
        policy,
        senders=senders,
        batch=dice.choice([policy.batch, 50, 3]) if policy.channel is Channel.EMAIL else 1,
        request_timeout_ms=dice.choice([3_000, 6_000]),
        lease_ms=dice.choice([1_000, 3_000, 12_000]),
        in_flight=dice.choice([1, 3, 10]),
    )


def _sender(channel: Channel, number: int, engine: WahaEngine) -> SenderPolicy:
    addresses = {
        Channel.EMAIL: (f"me{number}@example.com",),
        Channel.SMS: (f"+1500555000{number}",),
        Channel.WHATSAPP: (f"session{number}",),
    }
    return SenderPolicy(
        f"s{number}", number, addresses[channel], engine=engine if channel is Channel.WHATSAPP else None
    )


def _account(channel: Channel, sender: SenderPolicy, number: int) -> WahaAccount | ResendAccount | TwilioAccount:
    match channel:
        case Channel.WHATSAPP:
            return WahaAccount(
                sender.addresses[0], "http://providers/waha", Secret("key"), sender.engine or WahaEngine.NOWEB
            )
        case Channel.EMAIL:
            return ResendAccount(Secret(f"re_{number}"), "http://providers/resend")
        case Channel.SMS:
            return TwilioAccount(
                f"AC{number}", Secret("simulated-token"), sender.addresses[0], None, "http://providers/twilio", None
            )


def _policy(
    dice: random.Random, channel: Channel, senders: tuple[SenderPolicy, ...], resolve_after_ms: int
) -> ChannelPolicy:
    closes_s = dice.randrange(3, 25)
    gap = Window(OPENS_S + closes_s + dice.randrange(5, 30), OPENS_S + closes_s, "UTC")
    is_mail = channel is Channel.EMAIL
    return ChannelPolicy(
        spec=SPECS[channel],
        senders=senders,
        window=dice.choice([None, None, gap]),
        limit=dice.choice([None, None, Limit(4, 2_000), Limit(10, 5_000, 3), Limit(3, 6_000, 3)]),
        warm_up=dice.choice(
            [None, None, WarmUp((WarmUpStep(Limit(2, 2_000), 4_000), WarmUpStep(Limit(2, 1_000), 12_000)))]
        ),
        gap=dice.choice([None, None, None, Gap(100, 1_500)]),
        attempts=dice.choice([2, 5]),
        retry=Retry(500, 5_000),
        retry_for_ms=dice.choice([10_000, 259_200_000]),
        request_timeout_ms=dice.choice([3_000, 6_000]),
        lease_ms=dice.choice([1_000, 3_000, 12_000]),
        resolve_after_ms=0 if is_mail else resolve_after_ms,
        resolve_for_ms=20 * 3_600_000,
        in_flight=dice.choice([1, 3, 10]),
        batch=dice.choice([2, 7, 100]) if is_mail else 1,
        gather_ms=dice.choice([0, 50]),
    )


def _touches(dice: random.Random, used: list[Channel]) -> list[tuple[float, dict[str, Any]]]:
    count = dice.choice([6, 12, 24])
    people, texts = dice.choice([(100, 100), (2, 2), (1, 1)])
    over_s = dice.choice([0.5, 5.0, 20.0])
    produced = []
    for number in range(count):
        channel = dice.choice(used)
        at_s = 0.5 + dice.random() * over_s
        touch = _touch(
            dice, channel, number, dice.randrange(people), dice.randrange(texts) if texts < count else number
        )
        produced.append((at_s, touch))
        if dice.random() < 0.1:
            produced.append((at_s + dice.random() * 5, touch))
        if dice.random() < 0.05:
            touch["body"] = f"{touch['body']} {number}"
            produced.append((at_s + dice.random() * 5, {**touch, "body": touch["body"] + OTHER}))
    return sorted(produced, key=lambda each: each[0])


def _touch(dice: random.Random, channel: Channel, number: int, person: int, text: int) -> dict[str, Any]:
    touch: dict[str, Any] = {
        "touch_id": f"{channel}-{number}",
        "campaign_id": f"c{dice.randrange(2)}",
        "lead_id": f"l{person}",
        "channel": channel.value,
        "body": f"text {text}",
        "priority": dice.choice([5, 5, 0]),
        "to": f"p{person}@example.com" if channel is Channel.EMAIL else f"+1212{5_550_000 + person:07d}",
    }
    if channel is Channel.EMAIL:
        touch["subject"] = "hello"
        touch["body"] = f"mail {number}"  # which of two equal mails was accepted, nobody could tell
    if dice.random() < 0.2:
        touch["purpose"] = "transactional"
    if dice.random() < 0.1:
        touch["not_before"] = T0_MS + dice.randrange(30_000)
    if dice.random() < 0.1:
        touch["expires_at"] = T0_MS + dice.randrange(5_000, 60_000)
    return touch


def _harm(seed: int, dice: random.Random) -> Harm:
    return Harm(
        lasts_s=dice.choice([10.0, 30.0]),
        kills=dice.choice([0.0, 0.002, 0.008]),
        freezes=dice.choice([0.0, 0.002, 0.008]),
        longest_freeze_s=dice.choice([3.0, 40.0]),
        requests=dice.choice([0.0, 0.1, 0.4, 0.8]),
        broker=dice.choice([0.0, 0.0, 0.003]),
        reads_again=dice.choice([0.0, 0.0, 0.1]),
        broker_away=dice.random() < 0.2,
        rebalances=dice.random() < 0.4,
        freezes_connecting=dice.choice([0.0, 0.0, 0.2]),
        freezes_claiming=random.Random(f"claiming {seed}").choice([0.0, 0.0, 0.2]),
        frozen_s=random.Random(f"frozen {seed}").choice([6.0, 6.0, 40.0]),
        skew_ms=dice.choice([0, 0, 1_000]),
    )
