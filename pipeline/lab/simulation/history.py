"""One history from its seed: scenario, faults, calm, judgement."""

from __future__ import annotations

from dataclasses import dataclass, field

import orjson

from pipeline.domain.home import home_of
from pipeline.domain.window import ANSWERS
from pipeline.flow import TOUCHES
from pipeline.lab.simulation import scenario as scenarios
from pipeline.lab.simulation.callbacks import Callbacks, delivery_faults
from pipeline.lab.simulation.fleet import Fleet, input_partitions
from pipeline.lab.simulation.group import Group
from pipeline.lab.simulation.harm import Whims, draw_fate
from pipeline.lab.simulation.judge import StatusReader, judge
from pipeline.lab.simulation.log import Broker
from pipeline.lab.simulation.network import Providers
from pipeline.lab.simulation.orders import Operator
from pipeline.lab.simulation.world import World
from pipeline.stage_io import Output

LONGEST_S = 26 * 3600.0
"""Seconds after which a touch without a terminal status counts as lost."""
AFTERMATH_S = 60.0
"""Time for late messages to show, once everybody has an answer."""


@dataclass(frozen=True, slots=True)
class HistoryResult:
    """What came of one seed."""

    seed: int
    touches: int
    sent: int
    kills: int
    freezes: int
    looked_up: int
    faults: list[str]
    story: list[str] = field(default_factory=list)


def run(seed: int, *, tells: bool = False) -> HistoryResult:
    """Live through the history of `seed` and judge it."""
    ANSWERS.clear()  # an answer about a window that never closes depends on when it was first asked
    scenario = scenarios.draw(seed)
    harm = scenario.harm
    world = World(seed, tells=tells)
    broker = Broker(world)
    whims = Whims(world, harm.requests)
    skew_ms = world.dice.randint(-harm.skew_ms, harm.skew_ms)
    providers = Providers(world, whims, skew_ms, lambda _: draw_fate(world, whims.share))
    providers.twilio.listing_delay_ms = scenario.listing_delay_ms
    for each in scenario.senders_of_whatsapp():
        providers.store.sessions[each.addresses[0]] = {"status": "WORKING", "engine": each.engine}
    operator = Operator(world, broker, scenario.channels)
    providers.on_written = operator.wrote
    operator.plan(scenario.orders)
    callbacks = Callbacks(world, broker.log, providers.store, seed)
    fleet = Fleet(world, broker, Group(world, input_partitions()), providers, scenario)
    fleet.on_freeze, providers.on_connect = operator.react, fleet.harm_connecting
    _produce(world, broker, scenario)
    _plan_harm(world, broker, fleet, scenario)
    reader = StatusReader(broker.log)
    world.run(lambda: False, harm.lasts_s)

    world.tell("--- calm")
    fleet.is_harmed, whims.share, broker.loses_answers, broker.reads_again = False, 0.0, 0.0, 0.0
    expected = {touch["touch_id"] for _, touch in scenario.touches}

    def all_ended() -> bool:
        reader.read()
        return reader.ended >= expected

    world.run(all_ended, LONGEST_S)
    world.run(lambda: False, world.now_s + AFTERMATH_S)
    reader.read()
    faults = [*world.faults, *judge(scenario, reader, providers, operator)]
    faults += delivery_faults(callbacks, reader.stories, broker.log)
    return _result(seed, world, fleet, reader, faults)


def _result(seed: int, world: World, fleet: Fleet, reader: StatusReader, faults: list[str]) -> HistoryResult:
    ends = [story[-1] for story in reader.stories.values()]
    looked_up = sum(any(s["reason"] == "looking_up" for s in story) for story in reader.stories.values())
    return HistoryResult(
        seed,
        len({touch["touch_id"] for _, touch in fleet.scenario.touches}),
        sum(end["state"] == "sent" for end in ends),
        fleet.kills,
        fleet.freezes,
        looked_up,
        faults,
        world.story or [],
    )


def _produce(world: World, broker: Broker, scenario: scenarios.Scenario) -> None:
    for at_s, touch in scenario.touches:
        key = touch["touch_id"].encode()
        strays = world.dice.random() < scenarios.STRAYS
        partition = (
            world.dice.randrange(scenarios.PARTITIONS) if strays else home_of(touch["touch_id"], scenarios.PARTITIONS)
        )
        output = Output(TOUCHES, partition, key, orjson.dumps(touch))
        world.later(at_s, lambda each=output: broker.log.append(each, world.now_ms))


def _plan_harm(world: World, broker: Broker, fleet: Fleet, scenario: scenarios.Scenario) -> None:
    harm, dice = scenario.harm, world.dice
    broker.loses_answers, broker.reads_again = harm.broker, harm.reads_again
    for number in range(scenario.workers):
        world.later(dice.random() * dice.choice([0.1, 5.0]), fleet.boot, number)
    if harm.broker_away:
        world.later(dice.random() * harm.lasts_s, _send_away, world, broker)
    if harm.rebalances:
        for _ in range(3):
            world.later(6.0 + dice.random() * harm.lasts_s, fleet.stop, dice.randrange(scenario.workers))


def _send_away(world: World, broker: Broker) -> None:
    for_s = world.dice.choice([0.5, 3.0, 15.0]) * world.dice.random()
    world.tell(f"the broker is away for {for_s:.1f} s")
    broker.away_until_s = world.now_s + for_s
