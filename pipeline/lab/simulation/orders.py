"""Orders and suppressions in a history: what is ordered and when, who reads it, and since when it is in force."""

from __future__ import annotations

import asyncio
import random
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from pipeline.domain.address_hash import address_hash
from pipeline.domain.order import Action, Order, Target
from pipeline.domain.sender import nothing_forbids
from pipeline.domain.suppression import Scope, Suppression, SuppressionReason, concerns
from pipeline.domain.work import Channel
from pipeline.flow import CONTROL, LANES, SUPPRESSIONS
from pipeline.lab.simulation.world import T0_MS
from pipeline.records.control import encode_order, encode_suppression
from pipeline.records.lane_report import decode_lane_report
from pipeline.records.writing import single_object
from pipeline.stage_io import Output

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from pipeline.agents.control import Control
    from pipeline.domain.callback import CallbackSetup
    from pipeline.domain.policy import ChannelPolicy
    from pipeline.domain.sender import LastLook, Sender
    from pipeline.domain.verdict import Resolution, Verdict
    from pipeline.domain.work import Claim, Request, Work
    from pipeline.engine.store import StorePosition
    from pipeline.lab.simulation.log import Broker
    from pipeline.lab.simulation.world import Process, World
    from pipeline.records.lane_report import LaneReport

DAY_MS = 86_400_000
LATEST_S = 45.0
"""When the last pause is resumed: every history must end."""
SENDING: ContextVar[Sending | None] = ContextVar("sending", default=None)
"""What this task sends."""


class Said(NamedTuple):
    """One thing that an operator does."""

    at_s: float
    what: Order | Suppression
    is_lifted: bool = False
    """The entry is deleted."""


@dataclass(slots=True)
class Obeyed:
    """What is ordered, from its commit on. Instants are seconds since the beginning."""

    offset: int
    what: Order | Suppression
    in_force_s: float | None = None
    over_s: float | None = None
    """When another record under its key was committed."""
    over_offset: int | None = None


@dataclass(slots=True)
class Begun:
    """A request whose body was written. Instants are seconds since the beginning."""

    at_s: float
    claim: Claim
    is_replay: bool
    control_offset: int
    """How far the worker knew orders, and entries."""
    suppressions_offset: int
    arrived_s: float | None = None
    """When it reached the provider; None: it never did."""


@dataclass(slots=True)
class Sending:
    """A request that may be written."""

    claim: Claim
    is_replay: bool
    control: Control
    """What its worker knows."""


def draw_orders(seed: int, channels: Mapping[Channel, ChannelPolicy]) -> list[Said]:
    """Return what is ordered in the history of a seed, in order of time."""
    dice = random.Random(f"orders {seed}")
    said: list[Said] = []
    for _ in range(dice.choice([0, 0, 1, 3, 6])):
        at_s = 0.3 + 20 * dice.random() ** 2
        said += _entry(dice, at_s) if dice.random() < 0.3 else _order(dice, at_s, channels)
    return sorted(said, key=lambda each: each.at_s)


def _order(dice: random.Random, at_s: float, channels: Mapping[Channel, ChannelPolicy]) -> Iterator[Said]:
    at_ms = T0_MS + round(at_s * 1000)
    target = _target(dice, [channel for channel, policy in channels.items() if policy.senders])
    if dice.random() < 0.5 and not target.is_all:
        until_ms = dice.choice([at_ms, at_ms + 3_000, at_ms + DAY_MS])
        yield Said(at_s, Order(Action.CANCEL, target, note="why", by="me", at_ms=at_ms, until_ms=until_ms))
        return
    ends_ms = dice.choice([None, None, at_ms + dice.randrange(1_000, 30_000)])
    yield Said(at_s, Order(Action.PAUSE, target, note="why", by="me", at_ms=at_ms, until_ms=ends_ms))
    resumed_s = at_s + 15 * dice.random() if dice.random() < 0.5 else LATEST_S
    resumed_ms = T0_MS + round(resumed_s * 1000)
    yield Said(resumed_s, Order(Action.PAUSE, target, note="go on", by="me", at_ms=resumed_ms, until_ms=resumed_ms))


def _target(dice: random.Random, channels: list[Channel]) -> Target:
    channel = dice.choice(channels)
    return dice.choice(
        [
            Target(is_all=True),
            Target(channel=channel),
            Target(channel=channel, sender="s0"),
            Target(campaign=f"c{dice.randrange(2)}"),
            Target(campaign=f"c{dice.randrange(2)}", channel=channel),
            Target(lead=f"l{dice.randrange(2)}"),
            Target(touch=f"{channel}-{dice.randrange(6)}"),
        ]
    )


def _entry(dice: random.Random, at_s: float) -> Iterator[Said]:
    person = dice.randrange(2)
    phone = address_hash(Channel.SMS, f"+1212{5_550_000 + person:07d}")
    mail = address_hash(Channel.EMAIL, f"p{person}@example.com")
    scope, hashed, lead = dice.choice(
        [
            (Scope.PHONE, phone, None),
            (Scope.SMS, phone, None),
            (Scope.EMAIL, mail, None),
            (Scope.ANY, None, f"l{person}"),
        ]
    )
    reason = dice.choice([SuppressionReason.OPT_OUT, SuppressionReason.UNSUBSCRIBED])
    entry = Suppression(scope, address_hash=hashed, lead_id=lead, reason=reason, by="me", at_ms=T0_MS)
    yield Said(at_s, entry)
    if dice.random() < 0.2:
        yield Said(at_s + 10 * dice.random(), entry, is_lifted=True)


class Operator:
    """Writes what is ordered, and knows, as the command does, since when it is in force."""

    def __init__(self, world: World, broker: Broker, channels: Mapping[Channel, ChannelPolicy]) -> None:
        self.obeyed: list[Obeyed] = []
        self.begun: list[Begun] = []
        self._world = world
        self._broker = broker
        self._channels = channels
        self._reports: dict[str, LaneReport] = {}
        self._read = 0
        broker.overhear(self._news)

    def plan(self, said: Iterable[Said]) -> None:
        """Let all of it happen in its time."""
        for each in said:
            self._world.later(each.at_s, self.say, each)

    def say(self, said: Said) -> None:
        """Commit one order or entry."""
        what, now_s, log = said.what, self._world.now_s, self._broker.log
        topic = CONTROL if isinstance(what, Order) else SUPPRESSIONS
        value = encode_order(what) if isinstance(what, Order) else encode_suppression(single_object, what)
        for each in self.obeyed:
            if each.what.key == what.key and each.over_s is None:
                each.over_s, each.over_offset = now_s, log.end(topic, 0)
        self._world.tell(f"{'lifted' if said.is_lifted else 'ordered'}: {what.key} at {log.end(topic, 0)}")
        if not said.is_lifted:
            self.obeyed.append(Obeyed(log.end(topic, 0), what))
        log.append(Output(topic, 0, what.key.encode(), None if said.is_lifted else value), self._world.now_ms)
        self._look()

    def react(self) -> None:
        """Pause everything for a while, soon: a worker stands still."""
        at_s = self._world.now_s + 3 * self._world.dice.random()
        at_ms = T0_MS + round(at_s * 1000)
        pause = Order(Action.PAUSE, Target(is_all=True), note="why", by="me", at_ms=at_ms, until_ms=at_ms + 15_000)
        self._world.later(at_s - self._world.now_s, self.say, Said(at_s, pause))

    def wrote(self) -> Callable[[], None]:
        """Note that the body of a request is written; return what notes that it has arrived."""
        sent = SENDING.get()
        assert sent is not None, "only claims are sent"
        known = sent.control
        begun = Begun(self._world.now_s, sent.claim, sent.is_replay, known.control_offset, known.suppressions_offset)
        self.begun.append(begun)

        def arrived() -> None:
            begun.arrived_s = self._world.now_s

        return arrived

    def _news(self, topic: str) -> None:
        if topic == LANES:
            self._look()

    def _look(self) -> None:
        self._read, records = self._broker.log.read(LANES, 0, self._read, 1_000_000)
        for record in records:
            report = decode_lane_report(record.value or b"")
            self._reports[report.key] = report
        for each in self.obeyed:
            if each.in_force_s is None and self._is_in_force(each):
                self._world.tell(f"in force: {each.what.key}")
                each.in_force_s = self._world.now_s

    def _is_in_force(self, obeyed: Obeyed) -> bool:
        what = obeyed.what
        for channel, policy in self._channels.items():
            for sender in policy.senders:
                if isinstance(what, Order):
                    is_concerned = what.target.has_lane(channel, sender.name)
                else:
                    is_concerned = channel in what.scope.channels
                report = self._reports.get(f"{channel}/{sender.name}")
                if is_concerned and (report is None or _in_force(report, what) <= obeyed.offset):
                    return False
        return True


def _in_force(report: LaneReport, what: Order | Suppression) -> int:
    return report.control_in_force if isinstance(what, Order) else report.suppressions_in_force


def order_faults(operator: Operator, skew_ms: int, latest_ms: int) -> Iterator[str]:
    """Yield what is wrong: an order or entry never in force; a call against one that was in force, or known, or came to be.

    `latest_ms` is how long after its caller had seen its connection break a request arrived, at most.
    """
    for each in operator.obeyed:
        if each.in_force_s is None:
            yield f"{each.what.key}: never in force"
        for begun in operator.begun:
            why = _why_wrong(each, begun, latest_ms / 1000)
            against = why and [work for work in begun.claim.works if _is_against(each.what, work, begun, skew_ms)]
            if against:
                yield f"{against[0].touch_id}: a call began at {begun.at_s:.3f}, against {each.what.key}, {why}"


def _why_wrong(obeyed: Obeyed, begun: Begun, late_s: float) -> str | None:
    """Return why a call should not have begun if what is ordered concerns it; None: it was free to begin."""
    known = begun.control_offset if isinstance(obeyed.what, Order) else begun.suppressions_offset
    over_s, over_offset = obeyed.over_s, obeyed.over_offset
    if over_offset is not None and known > over_offset:
        return None  # its worker knew that it was over, though lanes told of the order and of its end only later
    if obeyed.in_force_s is not None and obeyed.in_force_s < begun.at_s and (over_s is None or begun.at_s < over_s):
        return f"which was in force at {obeyed.in_force_s:.3f}"
    if obeyed.offset < known:
        return "which its worker knew"
    if obeyed.in_force_s is not None and begun.at_s < obeyed.in_force_s < (begun.arrived_s or 0.0) - late_s:
        return f"and arrived at {begun.arrived_s:.3f}, when it was in force since {obeyed.in_force_s:.3f}"
    return None


def _is_against(what: Order | Suppression, work: Work, begun: Begun, skew_ms: int) -> bool:
    if isinstance(what, Suppression):
        is_whom = (
            what.lead_id == work.lead_id if what.lead_id else what.address_hash == address_hash(work.channel, work.to)
        )
        return is_whom and not begun.is_replay and concerns(what, work.channel, work.purpose)
    is_target = what.target.matches(
        campaign_id=work.campaign_id,
        lead_id=work.lead_id,
        touch_id=work.touch_id,
        channel=work.channel,
        sender=work.sender,
    )
    if what.action is Action.CANCEL:
        return is_target and what.takes(work.accepted_ms)
    return is_target and not what.is_over(T0_MS + round(begun.at_s * 1000) + skew_ms)


class MemoryEntries:
    """Where a simulated worker keeps entries: it forgets them when it dies."""

    def __init__(self) -> None:
        self.identity = b""
        self._rows: dict[bytes, bytes] = {}

    def get(self, key: bytes) -> bytes | None:
        """Return the value under `key`, or None."""
        return self._rows.get(key)

    def write(self, changes: Iterable[tuple[bytes, bytes | None]], position: int) -> None:
        """Apply `changes`."""
        del position
        for key, value in changes:
            if value is None:
                self._rows.pop(key, None)
            else:
                self._rows[key] = value

    def position(self) -> StorePosition | None:
        """Return that nothing is known."""
        return None

    def wipe(self) -> None:
        """Delete everything."""
        self._rows.clear()


class SimulatedViews:
    """Reads orders and entries for one process, as late as it pleases."""

    def __init__(
        self, broker: Broker, process: Process, control: Control, on_move: Callable[[], None], dice: random.Random
    ) -> None:
        self._broker, self._process, self._control, self._on_move, self._dice = broker, process, control, on_move, dice
        self._positions = dict.fromkeys(control.keepers, 0)
        self._news = asyncio.Event()
        self._lag_s = dice.choice([0.0, 0.0, 0.1, 3.0, 20.0])
        self._news.set()
        for keeper in control.keepers.values():
            keeper.begin(b"")
        broker.listen(process, self._news.set)

    async def run(self) -> None:
        """Read for ever."""
        while True:
            await self._news.wait()
            self._news.clear()
            await asyncio.sleep(self._lag_s * self._dice.random())
            await self._read_on()

    async def catch_up(self) -> None:
        """Wait until everything is read that is committed now."""
        log = self._broker.log
        ends = await self._broker.ask(self._process, lambda: {topic: log.end(topic, 0) for topic in self._positions})
        while any(self._positions[topic] < end for topic, end in ends.items()):
            await self._read_on()

    async def _read_on(self) -> None:
        log, starts = self._broker.log, dict(self._positions)
        found = await self._broker.ask(
            self._process, lambda: {topic: log.read(topic, 0, start) for topic, start in starts.items()}
        )
        has_moved = False
        for topic, (end, records) in found.items():
            if end > self._positions[topic] == starts[topic]:
                has_moved |= self._control.keepers[topic].apply(records, end)
                self._positions[topic] = end
        if has_moved:
            self._on_move()


@dataclass(frozen=True, slots=True)
class OverheardSender:
    """A sender whose requests can be told apart: the transport knows which claim they belong to."""

    inner: Sender
    control: Control
    on_claim: Callable[[], None]
    """Called when a request is made for a claim, whose commit follows."""
    replays: bool = field(init=False)

    def __post_init__(self) -> None:
        """Take the inner sender's way of being asked."""
        object.__setattr__(self, "replays", self.inner.replays)

    async def open(self) -> None:
        """Open."""
        await self.inner.open()

    async def close(self) -> None:
        """Close."""
        await self.inner.close()

    def request(
        self, works: Sequence[Work], claim_id: str, lease_until_ms: int, window_closes_ms: int | None
    ) -> Request:
        """Return the request."""
        self.on_claim()
        return self.inner.request(works, claim_id, lease_until_ms, window_closes_ms)

    async def call(self, claim: Claim, may_begin: LastLook = nothing_forbids) -> Verdict:
        """Call."""
        SENDING.set(Sending(claim, is_replay=False, control=self.control))
        return await self.inner.call(claim, may_begin)

    async def ask(self, claim: Claim, known_ids: frozenset[str], may_begin: LastLook = nothing_forbids) -> Resolution:
        """Ask."""
        SENDING.set(Sending(claim, is_replay=True, control=self.control))
        return await self.inner.ask(claim, known_ids, may_begin)

    async def check(self) -> str:
        """Check."""
        return await self.inner.check()

    async def callback_setup(self, url: str) -> CallbackSetup:
        """Look."""
        return await self.inner.callback_setup(url)
