"""Makes the agent of every partition that a worker may own."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from pipeline import flow
from pipeline.agents.deliveries import DeliveriesAgent
from pipeline.agents.lane import LaneAgent
from pipeline.agents.router import RouterAgent
from pipeline.agents.scheduler import SchedulerAgent
from pipeline.agents.stage_agent import StageAgent
from pipeline.composer import TemplateComposer
from pipeline.domain.sender import RevealsNumbers
from pipeline.domain.work import Channel
from pipeline.engine.ownership import AgentBinding
from pipeline.records.callbacks import delivery_value
from pipeline.records.control import encode_suppression
from pipeline.records.framing import TouchReader
from pipeline.records.writing import dead_letter_value, status_value
from pipeline.stages.dead_letters import DeadLetterWriter
from pipeline.stages.dedup import Dedup
from pipeline.stages.deliveries import Deliveries, SentMarks
from pipeline.stages.lane import Lane
from pipeline.stages.lane.opt_outs import AutoSuppression
from pipeline.stages.route import Router, RouterDeps
from pipeline.stages.schedule import Scheduler

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from pipeline.agents.control import Control
    from pipeline.domain.callback import DeliveryRules
    from pipeline.domain.policy import ChannelPolicy
    from pipeline.domain.sender import Sender
    from pipeline.domain.suppression import Covers
    from pipeline.domain.unsubscribe import UnsubscribeLinks
    from pipeline.domain.work import Request, Work
    from pipeline.engine.agent import Agent
    from pipeline.metrics import Metrics
    from pipeline.records.registry import Registry
    from pipeline.records.writing import Writer
    from pipeline.stages.forward import Homes

DRAIN_SLACK_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentFactory:
    """What agents need, whatever their partition."""

    channels: Mapping[Channel, ChannelPolicy]
    senders: Mapping[tuple[Channel, str], Sender]
    metrics: Metrics
    dedup_for_ms: int
    templates: Path
    prefix: str
    """Prefix of topic names; a dead letter names its source topic in full."""
    registry: Registry | None
    writer: Callable[[], Writer]
    now_ms: Callable[[], int]
    monotonic_ms: Callable[[], int]
    """Monotonic clock, milliseconds."""
    draw: Callable[[], float]
    """A random number, 0 <= x < 1."""
    homes: Homes
    privacy_key: bytes = field(repr=False)
    control: Control
    """What this worker knows of orders and suppressions."""
    suppression_covers: Covers
    deliveries: DeliveryRules | None = None
    """None: no sender's callbacks are on."""
    unsubscribe: UnsubscribeLinks | None = None
    """None: e-mails get no link of ours."""

    def bindings(self) -> list[AgentBinding]:
        """Return one binding for each topic that an agent reads."""
        composer = TemplateComposer(self.templates)
        agents: dict[str, Callable[[int], Agent[Any]]] = {
            "router": partial(self._router, composer),
            "scheduler": self._scheduler,
            "dedup": self._dedup,
            "deliveries": self._deliveries,
            **{f"{channel.value} lanes": partial(self._lane, channel) for channel in Channel},
        }
        return [
            AgentBinding(
                topic=stretch.topic,
                table=stretch.table,
                name=stretch.read_by,
                make_agent=agents[stretch.read_by],
                on_commit=partial(self.metrics.committed, stretch.read_by),
                on_missed=partial(self.metrics.missed, stretch.topic),
                trims=stretch.trims,
                watches=stretch.topic == flow.SCHEDULED or stretch.partitions is flow.PartitionSetting.LANES,
            )
            for stretch in flow.ROAD
            if stretch.read_by is not None
            and stretch.table is not None
            and (self.deliveries is not None or not stretch.for_callbacks)
        ]

    def _router(self, composer: TemplateComposer, _: int) -> RouterAgent:
        deps = RouterDeps(
            policies=self.channels,
            decoder=TouchReader(self.registry),
            composer=composer,
            dead_letters=self._dead_letters(),
            dedup_for_ms=self.dedup_for_ms,
            homes=self.homes,
            privacy_key=self.privacy_key,
            unsubscribe=self.unsubscribe,
        )
        return RouterAgent(Router(deps), self.registry, self.metrics)

    def _dead_letters(self) -> DeadLetterWriter:
        return DeadLetterWriter(lambda letter: dead_letter_value(self.writer(), letter), self.prefix)

    def _scheduler(self, number: int) -> SchedulerAgent:
        return SchedulerAgent(Scheduler(self._dead_letters(), number, self.control), self.metrics, number)

    def _dedup(self, _: int) -> StageAgent:
        before = self.homes.before or self.homes.partitions
        return StageAgent(
            Dedup(
                lambda event, sequence: status_value(self.writer(), event, sequence),
                self.dedup_for_ms,
                self._dead_letters(),
                None if self.deliveries is None else SentMarks(self.deliveries.senders, before),
            ),
            self.metrics,
        )

    def _deliveries(self, number: int) -> DeliveriesAgent:
        assert self.deliveries is not None
        stage = Deliveries(
            self.deliveries,
            self.homes.partitions,
            lambda touch, fact, sequence: delivery_value(self.writer(), touch, fact, sequence),
            lambda entry: encode_suppression(self.writer(), entry),
            self._dead_letters(),
            before=self.homes.before,
        )
        return DeliveriesAgent(stage, self.metrics, number, self._people_behind)

    async def _people_behind(self, sender: str, lid: str) -> tuple[str, ...]:
        """Ask the provider for the number behind a WhatsApp account."""
        asked = self.senders.get((Channel.WHATSAPP, sender))
        return await asked.people_behind(lid, self.privacy_key) if isinstance(asked, RevealsNumbers) else ()

    def _lane(self, channel: Channel, number: int) -> LaneAgent:
        policy = self.channels[channel]
        at_work = policy.sender_on(number)
        sender = None if at_work is None else self.senders[channel, at_work.name]
        lane = Lane(
            policy,
            number,
            _no_request if sender is None else sender.request,
            replays=policy.spec.replays,
            by_text=policy.asks_by_text(at_work),
            dedup_for_ms=self.dedup_for_ms,
            dead_letters=self._dead_letters(),
            auto_suppression=AutoSuppression(
                spec=policy.spec,
                covers=self.suppression_covers,
                privacy_key=self.privacy_key,
                encode=lambda entry: encode_suppression(self.writer(), entry),
            ),
        )
        return LaneAgent(
            lane,
            sender,
            channel=channel.value,
            name="" if at_work is None else at_work.name,
            now_ms=self.now_ms,
            monotonic_ms=self.monotonic_ms,
            draw=self.draw,
            drain_s=policy.request_timeout_ms / 1000 + DRAIN_SLACK_S,
            metrics=self.metrics,
            control=self.control,
            forces=self.control.forces,
        )


def _no_request(works: tuple[Work, ...], claim_id: str, lease_until_ms: int, closes_ms: int | None) -> Request:
    del works, claim_id, lease_until_ms, closes_ms
    raise AssertionError("a lane without a sender claims nothing")
