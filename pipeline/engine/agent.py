"""What the engine asks of an agent and of its table: the two ports of one owned partition."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from pipeline.stage_io import Table

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterable, Sequence

    from pipeline.stage_io import Changes, Output, Record


class StepResult(Protocol):
    """What one step decided; the engine commits it as one transaction."""

    @property
    def changes(self) -> Changes:
        """State changes."""

    @property
    def outputs(self) -> Sequence[Output]:
        """Records to produce."""

    @property
    def wake_ms(self) -> int | None:
        """Latest time of the next step, in epoch milliseconds; None: only when a record arrives or the agent wakes."""

    @property
    def rest_ms(self) -> int:
        """Time from the beginning of this step in which records that arrive cause no step yet: more share a transaction."""


class TransactionalTable(Table, Protocol):
    """The committed state of an owned partition, and the only way to change it."""

    @property
    def next_offset(self) -> int:
        """The next input offset to apply; 0 before the first commit."""

    def note(self, last: Record) -> None:
        """Remember the last input record that the next commit applies."""

    async def commit(self, changes: Changes, outputs: Sequence[Output], next_offset: int | None) -> None:
        """Commit all of it, or nothing. Raises when the outcome is unknown or refused: the process must end."""

    def tasks(self) -> Iterable[tuple[str, asyncio.Future[Any] | None]]:
        """Yield (name for the log, task) of the background tasks that must not end."""

    async def close(self) -> None:
        """Release its connections and files."""


StepT = TypeVar("StepT", bound=StepResult)


class Agent(Protocol[StepT]):
    """The work on one owned partition: `step` decides, the engine commits, and only then may `committed` act."""

    def open(self, table: Table, now_ms: int, wake: Callable[[], None]) -> None:
        """Start on a partition just taken over; `wake` requests a step soon."""

    def step(self, records: Sequence[Record], table: Table, now_ms: int) -> StepT:
        """Decide what follows from `records` (maybe none) and the committed table. Raises NotReady."""

    def committed(self, step: StepT) -> None:
        """Act on a committed `step`: provider calls may start now."""

    async def drain(self) -> None:
        """Start no new calls, and return when those under way have ended; the next step records their results."""

    def resume(self) -> None:
        """Continue after `drain`: the partition stays with this worker."""

    async def close(self) -> None:
        """Release everything."""


class NotReady(Exception):
    """An agent cannot decide about its records now; it gets them again after a second, or sooner when it wakes."""


class FetchFirst(NotReady):
    """What is read cannot be decided about before something was fetched, which takes its time."""

    def __init__(self, what: str, fetch: Callable[[], str | None]) -> None:
        """`fetch` blocks, for a thread; it returns None, or why it could not be done now."""
        super().__init__(what)
        self.fetch = fetch
