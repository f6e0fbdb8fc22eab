"""The judge: what the promise says, held against the statuses told and the messages accepted."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any

from pipeline.domain.story import TERMINAL
from pipeline.domain.work import Channel
from pipeline.flow import STATUS
from pipeline.records.codec import decode
from pipeline.simulation.scenario import PARTITIONS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pipeline.sandbox.store import Message, Store
    from pipeline.simulation.log import Log
    from pipeline.simulation.network import Providers
    from pipeline.simulation.scenario import Scenario

PROVIDER = {Channel.WHATSAPP: "waha", Channel.EMAIL: "resend", Channel.SMS: "twilio"}


class Reader:
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


def judge(scenario: Scenario, reader: Reader, providers: Providers) -> list[str]:
    """Return what is wrong, one line each."""
    touches = {touch["touch_id"]: touch for _, touch in scenario.touches}
    faults = [fault for touch_id in touches for fault in _story_faults(touch_id, reader.stories.get(touch_id, []))]
    store = providers.store
    return [*faults, *_message_faults(touches, reader, store), *_limit_faults(scenario, providers), *_window_faults(scenario, store)]


def _story_faults(touch_id: str, story: list[dict[str, Any]]) -> Iterable[str]:
    states = [status["state"] for status in story]
    if [status["sequence"] for status in story] != list(range(1, len(story) + 1)):
        yield f"{touch_id}: gap or repeat in {[status['sequence'] for status in story]}"
    if sum(state in TERMINAL for state in states) != 1 or states[-1] not in TERMINAL:
        yield f"{touch_id}: lost, or not one terminal, its last: {states}"
    if "accepted" in states[1:]:
        yield f"{touch_id}: accepted twice: {states}"
    if "unconfirmed" in states:
        yield f"{touch_id}: unconfirmed, though the provider could be asked"


def _message_faults(touches: dict[str, dict[str, Any]], reader: Reader, store: Store) -> Iterable[str]:
    """As many messages of each address and text as touches that were told to be sent, and the ids they were told."""
    accepted: dict[tuple[str, str, str], list[Message]] = defaultdict(list)
    for message in store.accepted:
        accepted[message.provider, _person(message.to), message.text].append(message)
    told: dict[tuple[str, str, str], list[str | None]] = defaultdict(list)
    for touch_id, touch in touches.items():
        story = reader.stories.get(touch_id)
        if story and story[-1]["state"] == "sent":
            key = (PROVIDER[Channel(touch["channel"])], _person(touch["to"]), touch["body"])
            told[key].append(story[-1]["provider_message_id"])
    for key in accepted.keys() | told.keys():
        if len(accepted[key]) > len(told[key]):
            yield f"twice, or sent and not told: {key}: accepted {[m.id for m in accepted[key]]}, told {told[key]}"
        if len(accepted[key]) < len(told[key]):
            yield f"told, but never accepted: {key}: accepted {len(accepted[key])}, told {told[key]}"
        ids = [each for each in told[key] if each is not None]
        if not set(ids) <= {m.id for m in accepted[key]} or max(Counter(ids).values(), default=0) > 1:
            yield f"wrong ids: {key}: accepted {[m.id for m in accepted[key]]}, told {told[key]}"


def _person(to: str) -> str:
    return to.removesuffix("@c.us").lstrip("+")


def _limit_faults(scenario: Scenario, providers: Providers) -> Iterable[str]:
    """No half-open window of `per` at the provider holds more than `rate`.

    Clocks may shorten it by what they differ, and a request that arrives after its caller gave it up by as much.
    """
    for channel, policy in scenario.channels.items():
        if policy.limit is None:
            continue
        per_ms = policy.limit.per_ms - 2 * scenario.harm.skew_ms - providers.latest_ms
        arrivals: dict[str, list[int]] = defaultdict(list)
        for each in providers.store.arrivals:
            if each.provider == PROVIDER[channel]:
                arrivals[each.sender].append(each.at_ms)
        for sender, times in arrivals.items():
            for first, last in zip(times, times[policy.limit.rate :], strict=False):
                if last - first < per_ms:
                    yield f"{channel} {sender}: more than {policy.limit.rate} calls within {last - first} ms"


def _window_faults(scenario: Scenario, store: Store) -> Iterable[str]:
    slack_ms = scenario.harm.skew_ms * 2 + 2_000  # a call begins inside the window; it arrives up to 2 s later
    for channel, policy in scenario.channels.items():
        window = policy.window
        if window is None:
            continue
        for each in store.arrivals:
            of_day_ms = each.at_ms % 86_400_000
            if each.provider == PROVIDER[channel] and window.closes_s * 1000 + slack_ms <= of_day_ms < window.opens_s * 1000 - slack_ms:
                yield f"{channel}: a call at {of_day_ms / 1000:.3f} s of the day, in a closed window"
