"""A mixed backlog on the whole road in simulated time, without harm: what is foreseen of it, and what then happens."""

from __future__ import annotations

import random
from dataclasses import dataclass
from itertools import count
from typing import Any

import orjson

from pipeline.channels.registry import SPECS
from pipeline.domain.account import ResendAccount, TwilioAccount, WahaAccount
from pipeline.domain.limit import Gap, Limit, WarmUp, WarmUpStep
from pipeline.domain.policy import ChannelPolicy
from pipeline.domain.sender_policy import SenderPolicy
from pipeline.domain.story import TERMINAL
from pipeline.domain.window import Window
from pipeline.domain.work import Channel
from pipeline.engine.table import INPUT_POSITION
from pipeline.flow import ROAD, SCHEDULED, TOUCHES, channel_topic
from pipeline.forecast import Backlog, Forecast, LaneRows, forecast
from pipeline.lab.simulation.fleet import Fleet, input_partitions
from pipeline.lab.simulation.group import Group
from pipeline.lab.simulation.judge import StatusReader
from pipeline.lab.simulation.log import Broker
from pipeline.lab.simulation.network import Fate, Providers
from pipeline.lab.simulation.scenario import LANES, OPENS_S, PARTITIONS, Harm, Scenario
from pipeline.lab.simulation.world import T0_MS, World
from pipeline.records import decode_scheduled
from pipeline.sandbox.rules import Rules
from pipeline.secret import Secret
from pipeline.stage_io import Output

CALM = Harm(
    0.0,
    0.0,
    0.0,
    0.0,
    0.0,
    0.0,
    0.0,
    broker_away=False,
    rebalances=False,
    freezes_connecting=0.0,
    freezes_claiming=0.0,
    frozen_s=0.0,
    skew_ms=0,
)
LONGEST_S = 40 * 3600.0
TABLES = {stretch.topic: stretch.table for stretch in ROAD}
MINUTE = 60


@dataclass
class Lived:
    """One backlog: what was foreseen, and when (epoch ms) each lane and campaign was done then."""

    foreseen: Forecast
    lanes: dict[tuple[str, str], int]
    campaigns: dict[str, int]
    ends: dict[str, int]


def live(seed: int, foresee_at_s: float) -> Lived:
    """Let a mixed backlog be, foresee its end at `foresee_at_s`, and see it end."""
    dice = random.Random(f"backlog {seed}")
    scenario = draw(dice)
    world = World(seed)
    broker = Broker(world)
    slow_s = dice.choice([0.02, 0.2, 4.0])
    providers = Providers(world, Rules(), 0, lambda _: Fate(0.005, slow_s * (0.9 + 0.2 * world.dice.random()), 0.01))
    for each in scenario.senders_of_whatsapp():
        providers.store.sessions[each.addresses[0]] = {"status": "WORKING", "engine": each.engine}
    fleet = Fleet(world, broker, Group(world, input_partitions()), providers, scenario)
    fleet.is_harmed = False
    for number in range(scenario.workers):
        world.later(0.1 * number, fleet.boot, number)
    for at_s, touch in scenario.touches:
        key = touch["touch_id"].encode()
        output = Output(TOUCHES, sum(key) % PARTITIONS, key, orjson.dumps(touch))
        world.later(at_s, lambda each=output: broker.log.append(each, world.now_ms))
    world.run(lambda: False, foresee_at_s)
    foreseen = forecast(backlog_of(broker), scenario.channels, world.now_ms)
    reader = StatusReader(broker.log)

    def all_ended() -> bool:
        reader.read()
        return len(reader.ended) == len(scenario.touches)

    assert world.run(all_ended, LONGEST_S), "it never ends"
    assert world.faults == []
    return _as_it_was(foreseen, reader, scenario)


def _as_it_was(foreseen: Forecast, reader: StatusReader, scenario: Scenario) -> Lived:
    lived = Lived(foreseen, {}, {}, {})
    for story in reader.stories.values():
        end = story[-1]
        assert end["state"] in TERMINAL
        at_ms = end["occurred_at"]
        lane = end["channel"], end["sender"]
        lived.lanes[lane] = max(at_ms, lived.lanes.get(lane, 0))
        lived.campaigns[end["campaign_id"]] = max(at_ms, lived.campaigns.get(end["campaign_id"], 0))
        lived.ends[end["state"]] = lived.ends.get(end["state"], 0) + 1
    return lived


def backlog_of(broker: Broker) -> Backlog:
    """Return what is committed, as the command reads it from Kafka."""
    log = broker.log

    def table(topic: str, number: int) -> tuple[int, dict[bytes, bytes]]:
        known = log._tables[TABLES[topic], number]
        return known.next_offset, {**known.rows, INPUT_POSITION: known.next_offset.to_bytes(8, "big")}

    def beyond(topic: str, number: int) -> list[bytes]:
        return [record.value for record in log.read(topic, number, table(topic, number)[0], 1_000_000)[1]]

    lanes = [
        LaneRows(channel, number, table(topic, number)[1], beyond(topic, number))
        for channel in Channel
        for number in range(LANES)
        if (topic := channel_topic(channel))
    ]
    deferred = [
        value
        for number in range(PARTITIONS)
        for value in [
            *(v for k, v in table(SCHEDULED, number)[1].items() if k.startswith(b"d")),
            *beyond(SCHEDULED, number),
        ]
    ]
    return Backlog(lanes, [decode_scheduled(value) for value in deferred])


# --- the cast --------------------------------------------------------------------------------------------------


def draw(dice: random.Random) -> Scenario:
    """Three channels, five senders; limits, windows that close and open again, a warm-up, pauses, caps; campaigns of any size."""
    closes_s = OPENS_S + dice.randrange(3, 8) * MINUTE
    gap = Window(closes_s + dice.randrange(4, 15) * MINUTE, closes_s, "UTC")
    whatsapp = ChannelPolicy(
        spec=SPECS[Channel.WHATSAPP],
        senders=(_waha(0), _waha(1)),
        window=gap,
        limit=dice.choice([Limit(6, 60_000), Limit(4, 60_000, 3), Limit(60, 60_000, 60)]),
        warm_up=None,
        gap=dice.choice([None, Gap(9_000, 11_000)]),
        in_flight=1,
    )
    email = ChannelPolicy(
        spec=SPECS[Channel.EMAIL],
        senders=(SenderPolicy("mail", 0, ("me@example.com",)),),
        window=None,
        limit=Limit(2, 20_000),
        warm_up=None,
        resolve_after_ms=0,
        in_flight=10,
        batch=5,
        gather_ms=50,
    )
    sms = ChannelPolicy(
        spec=SPECS[Channel.SMS],
        senders=tuple(SenderPolicy(f"n{n}", n, (f"+1500555000{n}",)) for n in range(2)),
        window=dice.choice([None, gap]),
        limit=Limit(1, 10_000),
        in_flight=10,
        warm_up=dice.choice([None, WarmUp((WarmUpStep(Limit(3, 60_000), 5 * MINUTE * 1000),))]),
    )
    accounts: dict[tuple[Channel, str], Any] = {
        (Channel.EMAIL, "mail"): ResendAccount(Secret("re_0"), "http://providers/resend")
    }
    accounts |= {
        (Channel.WHATSAPP, each.name): WahaAccount(each.addresses[0], "http://providers/waha", Secret("key"), "NOWEB")
        for each in whatsapp.senders
    }
    accounts |= {
        (Channel.SMS, each.name): TwilioAccount(
            f"AC{each.lane}", Secret("simulated-token"), each.addresses[0], None, "http://providers/twilio", None
        )
        for each in sms.senders
    }
    channels = {Channel.WHATSAPP: whatsapp, Channel.EMAIL: email, Channel.SMS: sms}
    return Scenario(
        2, channels, accounts, _touches(dice), CALM, 0, is_reconfigured=False, may_stay_unconfirmed=False, orders=[]
    )


def _waha(number: int) -> SenderPolicy:
    return SenderPolicy(f"w{number}", number, (f"session{number}",), engine="NOWEB")


def _touches(dice: random.Random) -> list[tuple[float, dict[str, Any]]]:
    numbers = count()
    campaigns = [("small", 20, 0), ("middle", 120, 5), ("large", 400, 5), ("last", 60, 9)]
    touches = [_touch(dice, next(numbers), name, priority) for name, size, priority in campaigns for _ in range(size)]
    dice.shuffle(touches)
    return [(0.5 + 5 * dice.random(), touch) for touch in touches]


def _touch(dice: random.Random, number: int, campaign: str, priority: int) -> dict[str, Any]:
    channel = dice.choice([Channel.WHATSAPP, Channel.EMAIL, Channel.EMAIL, Channel.SMS])
    touch: dict[str, Any] = {
        "touch_id": f"t{number}",
        "campaign_id": campaign,
        "lead_id": f"l{number}",
        "channel": channel.value,
        "priority": priority,
        "body": f"text {number}",
        "to": f"p{number}@example.com" if channel is Channel.EMAIL else f"+1212{5_550_000 + number:07d}",
    }
    if channel is Channel.EMAIL:
        touch["subject"] = "hello"
    if dice.random() < 0.1:
        touch["not_before"] = T0_MS + dice.randrange(60_000, 300_000)
    if dice.random() < 0.05:
        touch["expires_at"] = T0_MS + dice.randrange(60_000, 900_000)
    return touch
