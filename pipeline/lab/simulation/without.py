"""The road with one of its safeguards taken out: the simulation must notice, or it proves nothing."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from pipeline.channels import http
from pipeline.domain.work import Phase
from pipeline.engine import partition
from pipeline.lab.simulation import log
from pipeline.stages import route
from pipeline.stages.lane import claims, settle, shelf

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from pipeline.domain.work import Claim, Work
    from pipeline.engine.partition import Partition
    from pipeline.stages.lane.cycle import Cycle


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
    """Whoever lost a table may still commit to it."""
    yield patch.object(log.Log, "fences_hold", new=False)


def _lease() -> Iterator[Any]:
    """A request is written whenever its worker gets to it."""

    async def write(self: http.LeasedBody) -> AsyncIterator[bytes]:
        self.progress = http.Progress.GIVEN
        yield self._body

    yield patch.object(http.LeasedBody, "__aiter__", write)


def _lease_in_resolution() -> Iterator[Any]:
    """Whoever finds an open claim asks at once, while its call may still run."""

    def found_open(cycle: Cycle, claim: Claim) -> None:
        cycle.keep(replace(claim, phase=Phase.LOOKING_UP, next_look_ms=cycle.now_ms))

    yield patch.object(settle, "found_open", found_open)


def _frozen_batch() -> Iterator[Any]:
    """An e-mail batch whose outcome is unknown is taken apart and gathered anew."""

    def ask_what_is_open(cycle: Cycle, refuse: Callable[[Claim, Exception], object], *, hold: bool) -> None:
        if not cycle.mind.replays:
            original(cycle, refuse, hold=hold)
            return
        for claim in claims._looking_up(cycle):
            if claim.next_look_ms <= cycle.now_ms:
                settle._absent(cycle, claim)

    original = claims.ask_what_is_open
    yield patch.object(claims, "ask_what_is_open", ask_what_is_open)


def _ledger() -> Iterator[Any]:
    """Nobody writes down which message is whose."""

    def known_ids(view: object, work: Work) -> frozenset[str]:
        del view, work
        return frozenset()

    yield patch.object(shelf, "known_ids", known_ids)


def _twin_rule() -> Iterator[Any]:
    """Two touches with the same address and text may be open at once."""
    yield patch.object(claims, "_open_twins", lambda _: _Nothing())


class _Nothing(set[bytes]):
    """A set that has nothing, whatever was put in."""

    def __contains__(self, item: object) -> bool:
        return False


def _look_up() -> Iterator[Any]:
    """An unknown outcome counts as not sent."""

    def ask_later(cycle: Cycle, claim: Claim, *_: object) -> None:
        settle._absent(cycle, claim)

    def unknown(cycle: Cycle, claim: Claim, *_: object) -> None:
        settle._absent(cycle, claim)

    yield patch.object(settle, "_ask_later", ask_later)
    yield patch.object(settle, "_unknown", unknown)


def _repeats() -> Iterator[Any]:
    """Router and lane forget at once who has had what."""
    yield patch.object(route, "recall", lambda _, __: None)
    yield patch.object(shelf, "recall", lambda _, __: None)


def _homes() -> Iterator[Any]:
    """A touch is judged wherever it came to."""
    yield patch.object(route, "sent_on", lambda *_: None)


def _returns() -> Iterator[Any]:
    """A lane takes whatever comes back from the scheduler for news."""
    yield patch.object(shelf, "is_known", lambda memory, work: memory is not None and work.returns == 0)


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
}


@contextmanager
def without(safeguard: str) -> Iterator[None]:
    """Run without one safeguard. Raises KeyError for one that does not exist."""
    with ExitStack() as stack:
        for each in SAFEGUARDS[safeguard]():
            stack.enter_context(each)
        yield
