"""Simulated worker processes: the real ownership, agents and senders; born, frozen, killed and born again."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from aiokafka import TopicPartition

from pipeline import flow
from pipeline.agents.control import Control, Entries, Orders, SkippedRecords
from pipeline.agents.factory import AgentFactory
from pipeline.channels.email.sender import ResendSender
from pipeline.channels.sms.sender import TwilioSender
from pipeline.channels.whatsapp.sender import WahaSender
from pipeline.domain.account import ResendAccount, WahaAccount
from pipeline.domain.suppression import Covers
from pipeline.engine.batch import Batch
from pipeline.engine.ownership import Ownership
from pipeline.lab.simulation.callbacks import rules_of
from pipeline.lab.simulation.group import SESSION_S
from pipeline.lab.simulation.log import SimulatedTables
from pipeline.lab.simulation.network import SimulatedTransport
from pipeline.lab.simulation.orders import MemoryEntries, OverheardSender, SimulatedViews
from pipeline.lab.simulation.scenario import LANES, PARTITIONS, as_restarted
from pipeline.lab.simulation.world import Process
from pipeline.metrics import Metrics
from pipeline.records.published import ValueReader
from pipeline.records.writing import single_object
from pipeline.stages.forward import Homes

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from pipeline.domain.sender import Sender
    from pipeline.domain.work import Channel
    from pipeline.lab.simulation.group import Group
    from pipeline.lab.simulation.log import Broker
    from pipeline.lab.simulation.network import Providers
    from pipeline.lab.simulation.scenario import Scenario
    from pipeline.lab.simulation.world import World

DEDUP_FOR_MS = 30 * 86_400_000
HEARTBEAT_S = 1.5
METRICS = Metrics()
"""The metrics of all workers: they are not read here, and creating them is slow."""


def input_partitions() -> list[TopicPartition]:
    """Return every partition that an agent reads."""
    counts = {flow.PartitionSetting.PARTITIONS: PARTITIONS, flow.PartitionSetting.LANES: LANES}
    return [
        TopicPartition(stretch.topic, number)
        for stretch in flow.ROAD
        if stretch.read_by is not None
        for number in range(counts[stretch.partitions])
    ]


class Fleet:
    """All workers of a history, and what is done to them."""

    def __init__(self, world: World, broker: Broker, group: Group, providers: Providers, scenario: Scenario) -> None:
        self.world, self.broker, self.group, self.providers, self.scenario = world, broker, group, providers, scenario
        self.is_harmed = True
        self.on_freeze: Callable[[], None] = lambda: None
        """Called when a worker was frozen between claim and call."""
        self.kills = self.freezes = 0
        self.workers: dict[int, SimulatedWorker] = {}

    def boot(self, number: int) -> None:
        """Start worker `number`, new or again."""
        self.world.tell(f"worker {number} starts")
        self.workers[number] = SimulatedWorker(self, number)

    def kill(self, number: int, why: str) -> None:
        """End worker `number` at once; its supervisor starts it again."""
        self.world.tell(f"worker {number} is killed: {why}")
        self.kills += 1
        self.workers[number].process.kill()
        self.gone(number)

    def gone(self, number: int) -> None:
        """Know that worker `number` has ended, and start it again in a while."""
        self.group.silent(number)
        self.world.later(self.world.dice.choice([0.2, 2.0, 9.0]), self.boot, number)

    def stop(self, number: int) -> None:
        """Ask worker `number` to stop, as SIGTERM does, and start it again."""
        if not self.workers[number].process.is_dead:
            self.world.tell(f"worker {number} is asked to stop")
            self.workers[number].spawn(self.workers[number].stop())

    def harm(self, process: Process) -> None:
        """With some probability, kill or freeze a worker between two turns of its loop."""
        if not self.is_harmed:
            return
        harm, roll = self.scenario.harm, self.world.dice.random()
        number = int(process.name)
        if roll < harm.kills:
            self.kill(number, "kill -9")
        elif roll < harm.kills + harm.freezes:
            self.freezes += 1
            self._freeze(process, number, harm.longest_freeze_s * self.world.dice.random())

    def harm_connecting(self, process: Process) -> None:
        """With some probability, freeze a worker that is about to call: its lane goes to another one, with an order."""
        self._harm_calling(process, self.scenario.harm.freezes_connecting)

    def harm_claiming(self, process: Process) -> None:
        """With some probability, the same for one that commits a claim, and learns of that when it wakes."""
        self._harm_calling(process, self.scenario.harm.freezes_claiming)

    def _harm_calling(self, process: Process, share: float) -> None:
        dice = self.world.dice
        if not self.is_harmed or not share or process.is_frozen or dice.random() >= share:
            return
        self.freezes += 1
        self._freeze(process, int(process.name), SESSION_S + self.scenario.harm.frozen_s * dice.random())
        self.on_freeze()

    def _freeze(self, process: Process, number: int, for_s: float) -> None:
        self.world.tell(f"worker {number} is frozen for {for_s:.1f} s")
        process.freeze(self.world.now_s + for_s)
        self.group.silent(number)
        self.world.later(for_s, self._thaw, self.workers[number])

    def _thaw(self, worker: SimulatedWorker) -> None:
        if worker.process.is_dead or worker.process.is_frozen:
            return
        self.world.tell(f"worker {worker.number} wakes")
        if self.group.is_member(worker.number):
            self.group.heard(worker.number)
        else:
            self.world.later(HEARTBEAT_S * self.world.dice.random(), worker.hear_of_expulsion)


class SimulatedWorker:
    """One life of a worker process."""

    def __init__(self, fleet: Fleet, number: int) -> None:
        self.number = number
        self._fleet = fleet
        self._world = world = fleet.world
        self.skew_ms = self._draw_skew()
        self.process = Process(world, str(number), fleet.harm)
        self._news = asyncio.Event()
        control = self._control()
        factory = AgentFactory(
            channels=as_restarted(fleet.scenario, world.dice),
            senders=self._senders(control),
            metrics=METRICS,
            dedup_for_ms=DEDUP_FOR_MS,
            templates=Path("templates"),
            prefix="",
            registry=None,
            writer=lambda: single_object,
            now_ms=self.now_ms,
            monotonic_ms=lambda: world.now_ms,
            draw=world.dice.random,
            homes=Homes(PARTITIONS),
            control=control,
            privacy_key=b"",
            suppression_covers=Covers.PHONE,
            deliveries=rules_of(fleet.scenario),
        )
        views = SimulatedViews(fleet.broker, self.process, control, self._wake_watching, world.dice)
        self.ownership = Ownership(
            SimulatedTables(fleet.broker, self.process, self.now_ms),
            factory.bindings(),
            self.now_ms,
            self._die,
            catch_up=views.catch_up,
        )
        self.spawn(views.run())
        fleet.broker.listen(self.process, self._news.set)
        self.spawn(self._live())
        self.process.post(fleet.world.later, 0.3 * world.dice.random(), self._join)

    def _control(self) -> Control:
        skipped = SkippedRecords(lambda _: None, self.now_ms)
        entries = Entries(MemoryEntries, ValueReader("suppression"), skipped)
        return Control(Orders(skipped, self.now_ms, DEDUP_FOR_MS), entries, b"", self.now_ms)

    def _wake_watching(self) -> None:
        self.ownership.wake_watching()

    def now_ms(self) -> int:
        """Return this worker's clock: never far from true time, and it may jump."""
        if self._fleet.is_harmed and self._world.dice.random() < 0.001:
            self.skew_ms = self._draw_skew()
        return self._world.now_ms + self.skew_ms

    def _draw_skew(self) -> int:
        most = self._fleet.scenario.harm.skew_ms
        return self._world.dice.randint(-most, most)

    def _senders(self, control: Control) -> dict[tuple[Channel, str], Sender]:
        on_claim = partial(self._fleet.harm_claiming, self.process)
        return {key: OverheardSender(self._sender(*key), control, on_claim) for key in self._fleet.scenario.accounts}

    def _sender(self, channel: Channel, name: str) -> Sender:
        policy, account = self._fleet.scenario.channels[channel], self._fleet.scenario.accounts[channel, name]
        own = policy.sender_named(name)
        assert own is not None
        way = SimulatedTransport(self._fleet.providers, self.process)
        timeout_ms = policy.request_timeout_ms
        if isinstance(account, WahaAccount):
            return WahaSender(account, request_timeout_ms=timeout_ms, now_ms=self.now_ms, transport=way)
        if isinstance(account, ResendAccount):
            return ResendSender(
                account, own.addresses, request_timeout_ms=timeout_ms, now_ms=self.now_ms, transport=way
            )
        return TwilioSender(account, request_timeout_ms=timeout_ms, now_ms=self.now_ms, transport=way)

    def spawn(self, coroutine: Coroutine[None, None, None]) -> None:
        """Let something run in this process; what escapes it ends the process."""

        def start() -> None:
            self.process.create_task(coroutine).add_done_callback(self._ended)

        if self.process.is_dead:
            coroutine.close()
        else:
            self.process.post(start)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._die(error)

    def _die(self, error: BaseException) -> NoReturn:
        self._world.tell(f"worker {self.number} ends: {error!r}")
        self._fleet.gone(self.number)
        self.process.end()
        raise AssertionError

    # --- the group ---------------------------------------------------------------------------------------------

    def _join(self) -> None:
        if not self.process.is_dead:
            self._fleet.group.join(self)

    def revoke(self, generation: int) -> None:
        """Stand still, then say so."""
        self.spawn(self._park(generation))

    async def _park(self, generation: int) -> None:
        await self.ownership.park()
        self._world.later(0.003, self._fleet.group.parked, self.number, generation)

    def assign(self, partitions: Sequence[TopicPartition]) -> None:
        """Own exactly these."""
        self.spawn(self._take(partitions))

    async def _take(self, partitions: Sequence[TopicPartition]) -> None:
        await self.ownership.take(partitions)
        self._news.set()

    def hear_of_expulsion(self) -> None:
        """Learn that the group went on without us."""
        self.spawn(self._rejoin())

    async def _rejoin(self) -> None:
        await self.ownership.park()
        self._world.later(0.003, self._join)

    async def stop(self) -> None:
        """End as on SIGTERM."""
        await self.ownership.park()
        self._fleet.group.leave(self.number)
        await self.ownership.close()
        self._fleet.gone(self.number)
        self.process.end()

    # --- records -----------------------------------------------------------------------------------------------

    async def _live(self) -> None:
        """Fetch new records until the worker ends."""
        while True:
            await self._news.wait()
            self._news.clear()
            await self._fetch()

    async def _fetch(self) -> None:
        wanted, epoch = self.ownership.expected(), self.ownership.epoch
        room = self.ownership.fetchable()
        starts = [(tp, start) for tp, start in wanted.items() if tp in room]
        if not starts:
            return
        broker = self._fleet.broker
        found = await broker.ask(
            self.process, lambda: [(tp, start, *broker.log.read(tp.topic, tp.partition, start)) for tp, start in starts]
        )
        for tp, start, end, records in found:
            if end > start:
                self.ownership.deliver(Batch(tp.topic, tp.partition, start, end, epoch=epoch, records=records))
        if self.ownership.epoch != epoch:
            self._news.set()
