"""The judge: compares the statuses and the accepted messages with the promise."""

from __future__ import annotations

from collections import Counter, defaultdict
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from pipeline.domain.order import Action, Order
from pipeline.domain.story import TERMINAL
from pipeline.domain.work import Channel
from pipeline.flow import STATUS, UNCONFIRMED
from pipeline.lab.simulation.orders import order_faults
from pipeline.lab.simulation.scenario import OTHER, PARTITIONS
from pipeline.records.single_object import decode

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pipeline.lab.simulation.log import Log
    from pipeline.lab.simulation.network import Providers
    from pipeline.lab.simulation.orders import Operator
    from pipeline.lab.simulation.scenario import Scenario
    from pipeline.sandbox.store import Message, Store

PROVIDER = {Channel.WHATSAPP: "waha", Channel.EMAIL: "resend", Channel.SMS: "twilio"}


class StatusReader:
    """Reads `touches.status` as it grows."""

    def __init__(self, log: Log) -> None:
        self.stories: dict[str, list[dict[str, Any]]] = defaultdict(list)
        self._log = log
        self._read = [0] * PARTITIONS
        self.ended: set[str] = set()

    def read(self) -> None:
        """Read what is new."""
        for partition in range(PARTITIONS):
            self._read[partition], records = self._log.read(STATUS, partition, self._read[partition], 1_000_000)
            for record in records:
                status = decode("status", record.value or b"")
                self.stories[status["touch_id"]].append(status)
                if status["state"] in TERMINAL:
                    self.ended.add(status["touch_id"])

    def left(self) -> Counter[str]:
        """Return the touches whose question stands in `touches.unconfirmed`, and how often."""
        found = [self._log.read(UNCONFIRMED, partition, 0, 1_000_000)[1] for partition in range(PARTITIONS)]
        return Counter((record.key or b"").decode() for records in found for record in records)


def judge(scenario: Scenario, reader: StatusReader, providers: Providers, operator: Operator) -> list[str]:
    """Return what is wrong, one line each."""
    touches = {touch["touch_id"]: touch for _, touch in scenario.touches}
    faults = [fault for touch_id in touches for fault in _story_faults(touch_id, reader.stories.get(touch_id, []))]
    unconfirmed = Counter(touch_id for touch_id, story in reader.stories.items() if story[-1]["state"] == "unconfirmed")
    if not scenario.may_stay_unconfirmed:
        faults += [
            f"{touch_id}: unconfirmed, though the provider could be asked"
            for touch_id in unconfirmed
            if not _may_be_left(scenario, touches[touch_id])
        ]
    if (left := reader.left()) != unconfirmed:
        faults.append(f"unconfirmed are {sorted(unconfirmed)}, questions are left of {sorted(left.elements())}")
    store = providers.store
    return [
        *faults,
        *_message_faults(touches, reader, store),
        *_limit_faults(scenario, providers),
        *_pause_faults(scenario, providers),
        *_window_faults(scenario, store),
        *order_faults(operator, scenario.harm.skew_ms, providers.latest_ms),
    ]


def _may_be_left(scenario: Scenario, touch: dict[str, Any]) -> bool:
    """Return whether a cancel may have kept the provider from being asked: a batch of mails is asked by sending it again."""
    return touch["channel"] == Channel.EMAIL and any(
        isinstance(said.what, Order) and said.what.action is Action.CANCEL for said in scenario.orders
    )


def _story_faults(touch_id: str, story: list[dict[str, Any]]) -> Iterable[str]:
    states = [status["state"] for status in story]
    if [status["sequence"] for status in story] != list(range(1, len(story) + 1)):
        yield f"{touch_id}: gap or repeat in {[status['sequence'] for status in story]}"
    if sum(state in TERMINAL for state in states) != 1 or states[-1] not in TERMINAL:
        yield f"{touch_id}: lost, or not one terminal, its last: {states}"
    if "accepted" in states[1:]:
        yield f"{touch_id}: accepted twice: {states}"


def _message_faults(touches: dict[str, dict[str, Any]], reader: StatusReader, store: Store) -> Iterable[str]:
    """As many messages of each address and text as touches that were told to be sent, and the ids they were told.

    Of touches that are unconfirmed nobody knows: there may be a message for each.
    """
    accepted: dict[tuple[str, str, str], list[Message]] = defaultdict(list)
    for message in store.accepted:
        accepted[message.provider, _person(message.to), _text(message.text)].append(message)
    told: dict[tuple[str, str, str], list[str | None]] = defaultdict(list)
    open_: Counter[tuple[str, str, str]] = Counter()
    for touch_id, touch in touches.items():
        story = reader.stories.get(touch_id)
        key = (PROVIDER[Channel(touch["channel"])], _person(touch["to"]), _text(touch["body"]))
        if story and story[-1]["state"] == "sent":
            told[key].append(story[-1]["provider_message_id"])
        elif story and story[-1]["state"] == "unconfirmed":
            open_[key] += 1
    for key in accepted.keys() | told.keys():
        yield from _key_faults(key, [m.id for m in accepted[key]], told[key], open_[key])


def _key_faults(
    key: tuple[str, str, str], accepted: list[str], told: list[str | None], unconfirmed: int
) -> Iterable[str]:
    if len(accepted) > len(told) + unconfirmed:
        yield f"twice, or sent and not told: {key}: accepted {accepted}, told {told}"
    if len(accepted) < len(told):
        yield f"told, but never accepted: {key}: accepted {len(accepted)}, told {told}"
    ids = [each for each in told if each is not None]
    if not set(ids) <= set(accepted) or max(Counter(ids).values(), default=0) > 1:
        yield f"wrong ids: {key}: accepted {accepted}, told {told}"


def _person(to: str) -> str:
    return to.removesuffix("@c.us").lstrip("+")


def _text(body: str) -> str:
    """Return what a touch and the one that conflicts with it share: one of the two may be sent."""
    return body.removesuffix(OTHER)


def _limit_faults(scenario: Scenario, providers: Providers) -> Iterable[str]:
    """No half-open window of `per` at the provider holds more than `rate`.

    Clocks may shorten it by what they differ, and a request that arrives after its caller gave it up by as much.
    """
    for channel, policy in scenario.channels.items():
        if policy.limit is None:
            continue
        per_ms = policy.limit.per_ms - 2 * scenario.harm.skew_ms - providers.latest_ms
        for sender, times in _arrivals(channel, providers).items():
            for first, last in zip(times, times[policy.limit.rate :], strict=False):
                if last - first < per_ms:
                    yield f"{channel} {sender}: more than {policy.limit.rate} calls within {last - first} ms"


def _pause_faults(scenario: Scenario, providers: Providers) -> Iterable[str]:
    """No two calls of a sender are closer than its shortest gap."""
    for channel, policy in scenario.channels.items():
        if policy.gap is None:
            continue
        least_ms = policy.gap.least_ms - 2 * scenario.harm.skew_ms - providers.latest_ms
        for sender, times in _arrivals(channel, providers).items():
            for first, last in pairwise(times):
                if last - first < least_ms:
                    yield f"{channel} {sender}: two calls within {last - first} ms, the gap is {policy.gap}"


def _arrivals(channel: Channel, providers: Providers) -> dict[str, list[int]]:
    found: dict[str, list[int]] = defaultdict(list)
    for each in providers.store.arrivals:
        if each.provider == PROVIDER[channel]:
            found[each.sender].append(each.at_ms)
    return found


def _window_faults(scenario: Scenario, store: Store) -> Iterable[str]:
    slack_ms = scenario.harm.skew_ms * 2 + 2_000  # a call begins inside the window; it arrives up to 2 s later
    for channel, policy in scenario.channels.items():
        window = policy.window
        if window is None:
            continue
        for each in store.arrivals:
            of_day_ms = each.at_ms % 86_400_000
            if (
                each.provider == PROVIDER[channel]
                and window.closes_s * 1000 + slack_ms <= of_day_ms < window.opens_s * 1000 - slack_ms
            ):
                yield f"{channel}: a call at {of_day_ms / 1000:.3f} s of the day, in a closed window"
