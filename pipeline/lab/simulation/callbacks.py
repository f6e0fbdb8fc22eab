"""The providers' callbacks in a history: about every accepted message, repeated, in any order, early or late."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any, Final

from pipeline.domain.callback import DeliveryRules
from pipeline.domain.fact import Callback, FactKind, callback_partition
from pipeline.domain.work import Channel
from pipeline.flow import CALLBACKS, DELIVERIES
from pipeline.lab.simulation.scenario import PARTITIONS
from pipeline.records.callbacks import encode_callback
from pipeline.records.single_object import decode
from pipeline.stage_io import Output

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pipeline.lab.simulation.log import Log
    from pipeline.lab.simulation.scenario import Scenario
    from pipeline.lab.simulation.world import World
    from pipeline.sandbox.store import Message, Store

LONGER_MS: Final = 48 * 3_600_000
"""Longer than any history."""
COPIES: Final = (1, 1, 2, 5)
DELAYS_S: Final = (0.0, 0.05, 2.0, 30.0)
CHANNELS: Final = {"waha": Channel.WHATSAPP, "resend": Channel.EMAIL, "twilio": Channel.SMS}


def rules_of(scenario: Scenario) -> DeliveryRules:
    """Return rules under which every sender has callbacks."""
    return DeliveryRules(
        senders=frozenset(scenario.accounts), early_for_ms=LONGER_MS, remember_for_ms=LONGER_MS, silent_after_ms=5_000
    )


class Callbacks:
    """Who calls back, and what should be told of it."""

    def __init__(self, world: World, log: Log, store: Store, seed: int) -> None:
        self._world, self._log = world, log
        self._dice = random.Random(f"callbacks {seed}")
        self.facts: dict[str, set[str]] = defaultdict(set)
        """The kinds that the provider tells of a message, by its id."""
        accept = store.accept

        def accept_and_call(message: Message) -> Message:
            self._call(message)
            return accept(message)

        store.accept = accept_and_call  # type: ignore[method-assign]

    def _call(self, message: Message) -> None:
        for kind in self._dice.sample(list(FactKind), self._dice.choice([0, 1, 2, 4])):
            self.facts[message.id].add(kind.value)
            for _ in range(self._dice.choice(COPIES)):
                delay_s = self._dice.choice(DELAYS_S) * self._dice.random()
                self._world.later(delay_s, self._take, CHANNELS[message.provider], message.id, kind)

    def _take(self, channel: Channel, message_id: str, kind: FactKind) -> None:
        """Do what the web process does with a callback."""
        callback = Callback(channel, "s0", message_id, self._world.now_ms, kind)
        at = callback_partition(callback.place, PARTITIONS)
        self._log.append(Output(CALLBACKS, at, callback.place.encode(), encode_callback(callback)), self._world.now_ms)


def delivery_faults(callbacks: Callbacks, stories: dict[str, list[dict[str, Any]]], log: Log) -> Iterable[str]:
    """Of each touch that was told to be sent, every fact of its message is told once, and of no other touch any."""
    told = defaultdict(list)
    for partition in range(PARTITIONS):
        for record in log.read(DELIVERIES, partition, 0, 1_000_000)[1]:
            delivery = decode("delivery", record.value or b"")
            told[delivery["touch_id"]].append(delivery)
    for touch_id in told.keys() | stories.keys():
        end = stories[touch_id][-1] if touch_id in stories else {"state": None}
        message_id = end["provider_message_id"] if end["state"] == "sent" else None
        expected = callbacks.facts.get(message_id, set()) if message_id is not None else set()
        kinds = [each["kind"] for each in told[touch_id]]
        if Counter(kinds) != Counter(expected):
            yield f"{touch_id}: facts lost or told twice: {kinds}, not {sorted(expected)}"
        if [each["sequence"] for each in told[touch_id]] != list(range(1, len(kinds) + 1)):
            yield f"{touch_id}: gap or repeat in the sequence of its deliveries"
