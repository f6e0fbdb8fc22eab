"""The road with one of its safeguards taken out: the simulation must notice, or it proves nothing."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from pipeline.channels import http
from pipeline.domain.value import replace
from pipeline.domain.work import Phase
from pipeline.engine import partition
from pipeline.lab.simulation import log
from pipeline.lab.simulation.orders import SimulatedViews
from pipeline.stages import deliveries, route
from pipeline.stages.lane import claim, force, resolve, settle, table
from pipeline.stages.lane.lane import NEVER_MS
from pipeline.stages.lane.orders import LaneOrders
from pipeline.stages.lane.settlement import Settlement

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pipeline.domain.work import Claim, Request, Work
    from pipeline.engine.partition import Partition
    from pipeline.records.callbacks import TrackedTouch
    from pipeline.stage_io import Overlay
    from pipeline.stages.lane.draft import StepDraft
    from pipeline.stages.lane.settlement import Facts


def _claim_before_call() -> Iterator[Any]:
    """Calls start before their claims are committed."""

    async def cycle(self: Partition) -> None:
        records = self._inbox.take(len(self._inbox))
        step = self.agent.step(records, self.table, self._now_ms())
        next_offset = self._inbox.position_after(records[-1].offset) if records else None
        self._wake_ms = step.wake_ms
        self.agent.committed(step)
        await self._commit(step, next_offset)
        self.applied = next_offset or self.applied

    yield patch.object(partition.Partition, "_cycle", cycle)


def _fence() -> Iterator[Any]:
    """A worker that has lost a table may still commit to it."""
    yield patch.object(log.Log, "fences_hold", new=False)


def _lease() -> Iterator[Any]:
    """A request is begun, and written, even after its lease."""

    async def late(wire: http.Wire, request: Request, lease_until_ms: int, *args: Any, **options: Any) -> Any:
        del lease_until_ms
        return await post(wire, request, NEVER_MS, *args, **options)

    post = http.Wire.post
    yield patch.object(http.Wire, "post", late)


def _lease_in_resolution() -> Iterator[Any]:
    """A claim found open is looked up at once, while its call may still run."""

    def found_open(claim: Claim, facts: Facts) -> Settlement:
        after = replace(claim, phase=Phase.LOOKING_UP, next_look_ms=facts.now_ms)
        return Settlement(claim, after, (), facts.breaker)

    yield patch.object(resolve, "found_open", found_open)


def _frozen_batch() -> Iterator[Any]:
    """An e-mail batch whose outcome is unknown is taken apart and gathered anew."""

    def ask(draft: StepDraft, refuse: Callable[[Claim, Exception], object], *, is_stopping: bool) -> None:
        if not draft.config.replays:
            original(draft, refuse, is_stopping=is_stopping)
            return
        for each in resolve.looking_up(draft):
            if each.next_look_ms <= draft.now_ms:
                draft.apply(settle._absent(each, draft.facts))

    original = resolve.ask
    yield patch.object(resolve, "ask", ask)


def _ledger() -> Iterator[Any]:
    """Look-ups do not know which message ids belong to other touches."""

    def known_ids(view: object, work: Work) -> frozenset[str]:
        del view, work
        return frozenset()

    yield patch.object(table, "known_ids", known_ids)


def _twin_rule() -> Iterator[Any]:
    """Two touches with the same address and text may be open at once."""
    yield patch.object(claim, "_twins_of_open_claims", lambda _: _Nothing())


class _Nothing(set[bytes]):
    """A set that stays empty."""

    def __contains__(self, item: object) -> bool:
        return False


def _look_up() -> Iterator[Any]:
    """An unknown outcome counts as not sent."""

    def ask_later(claim: Claim, error: str, retry_after_s: float | None, facts: Facts, breaker: object) -> Settlement:
        del error, retry_after_s, breaker
        return settle._absent(claim, facts)

    def unknown(claim: Claim, answer: object, outcome: object, facts: Facts) -> Settlement:
        del answer, outcome
        return settle._absent(claim, facts)

    yield patch.object(settle, "_ask_later", ask_later)
    yield patch.object(settle, "_unknown", unknown)


def _repeats() -> Iterator[Any]:
    """Router and lane forget at once which touches they have taken in."""
    yield patch.object(route, "recall", lambda _, __: None)
    yield patch.object(table, "recall", lambda _, __: None)


def _homes() -> Iterator[Any]:
    """A touch is judged wherever it came to."""
    yield patch.object(route, "forwarded", lambda *_: None)


def _returns() -> Iterator[Any]:
    """A lane takes every touch that comes back from the scheduler for a new one."""
    yield patch.object(table.Memory, "is_repeat", lambda _, work: work.returns == 0)


def _view_of_a_new_owner() -> Iterator[Any]:
    """Who takes a lane over does not wait until it knows the orders that were known to the owner before."""

    async def catch_up(self: SimulatedViews) -> None:
        pass

    yield patch.object(SimulatedViews, "catch_up", catch_up)
    yield patch.object(force, "check_view", lambda _, __: None)


def _last_look() -> Iterator[Any]:
    """An order that comes between claim and call does not keep the call from beginning."""
    yield patch.object(LaneOrders, "may_begin", lambda _, __: True)


def _calls_of_a_dead_owner() -> Iterator[Any]:
    """A lane says that it obeys although a call of the owner before may still begin."""
    yield patch.object(force, "calls_at_large", lambda _, __: {})


def _seen_in_the_claim() -> Iterator[Any]:
    """A lane says that it obeys what it has seen, whatever its open claims had not."""
    yield patch.object(force, "_in_force", lambda looked, _: looked._replace(in_force=looked.seen))


def _early_facts() -> Iterator[Any]:
    """A fact that comes before its touch's `sent` is dropped."""
    yield patch.object(deliveries.Deliveries, "_hold", lambda *_: None)


def _told_facts() -> Iterator[Any]:
    """Which facts were told is not remembered."""

    def keep(self: deliveries.Deliveries, tracked: TrackedTouch, view: Overlay, now_ms: int) -> None:
        original(self, replace(tracked, told=()), view, now_ms)

    original = deliveries.Deliveries._keep
    yield patch.object(deliveries.Deliveries, "_keep", keep)


SAFEGUARDS: dict[str, Callable[[], Iterator[Any]]] = {
    "claim before call": _claim_before_call,
    "fence": _fence,
    "lease": _lease,
    "waiting for the lease": _lease_in_resolution,
    "frozen batch": _frozen_batch,
    "ledger": _ledger,
    "twin rule": _twin_rule,
    "look-up": _look_up,
    "dropped repeats": _repeats,
    "homes": _homes,
    "returns": _returns,
    "view of a new owner": _view_of_a_new_owner,
    "last look": _last_look,
    "calls of a dead owner": _calls_of_a_dead_owner,
    "seen in the claim": _seen_in_the_claim,
    "early facts": _early_facts,
    "told facts": _told_facts,
}


@contextmanager
def without(safeguard: str) -> Iterator[None]:
    """Run without one safeguard. Raises KeyError for one that does not exist."""
    with ExitStack() as stack:
        for each in SAFEGUARDS[safeguard]():
            stack.enter_context(each)
        yield
