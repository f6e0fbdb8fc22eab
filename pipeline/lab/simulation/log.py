"""The log in memory: records, transactions of one table each, fences. Held to what Kafka does by tests/flow/test_conformance.py."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from pipeline.engine.ownership import OpenedTable
from pipeline.stage_io import LOCAL, MemoryTable, Output, Record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from aiokafka import TopicPartition

    from pipeline.lab.simulation.world import Process, World
    from pipeline.stage_io import Changes

T = TypeVar("T")

LOST_S = 10.0
"""Seconds after which a request to the broker is given up."""


class FencedOut(Exception):
    """Another owner has opened the table since."""


class NoAnswer(Exception):
    """The broker did not answer in time: what became of the request is unknown."""


class Committed(NamedTuple):
    """What is committed of one partition of a table."""

    epoch: int
    next_offset: int
    rows: dict[bytes, bytes]


class Log:
    """Every topic and every table, as committed."""

    fences_hold = True

    def __init__(self, on_append: Callable[[str, int], None] = lambda _, __: None) -> None:
        self._records: dict[tuple[str, int], list[Record | None]] = defaultdict(list)
        """None: an offset that holds the marker of a transaction."""
        self._tables: dict[tuple[str, int], Committed] = {}
        self._on_append = on_append

    def append(self, output: Output, now_ms: int) -> None:
        """Append a record outside any transaction."""
        self._put(output, now_ms)
        self._on_append(output.topic, output.partition)

    def _put(self, output: Output, now_ms: int) -> None:
        place = self._records[output.topic, output.partition]
        place.append(
            Record(output.topic, output.partition, len(place), now_ms, output.key, output.value, output.headers)
        )

    def read(self, topic: str, partition: int, start: int, most: int = 500) -> tuple[int, list[Record]]:
        """Return the offset behind what was read, and the records from `start` on, read committed."""
        place = self._records[topic, partition][start : start + most]
        return start + len(place), [record for record in place if record is not None]

    def end(self, topic: str, partition: int) -> int:
        """Return the offset behind the last."""
        return len(self._records[topic, partition])

    def fence(self, name: str, partition: int) -> Committed:
        """Fence the previous owner of a table; return its committed content and the epoch for commits."""
        known = self._tables.get((name, partition), Committed(0, 0, {}))
        taken = Committed(known.epoch + 1, known.next_offset, known.rows)
        self._tables[name, partition] = taken
        return Committed(taken.epoch, taken.next_offset, dict(known.rows))

    def commit(
        self,
        place: tuple[str, int],
        epoch: int,
        changes: Changes,
        outputs: Sequence[Output],
        *,
        next_offset: int | None,
        now_ms: int,
    ) -> None:
        """Commit all of it to the table at `place` (name, partition) as one, or raise FencedOut."""
        known = self._tables[place]
        if known.epoch != epoch and self.fences_hold:
            raise FencedOut(f"{place[0]}[{place[1]}]: epoch {epoch}, now {known.epoch}")
        for key, value in changes.items():
            if value is None:
                known.rows.pop(key, None)
            elif key[:1] != LOCAL:
                known.rows[key] = value
        position = known.next_offset if next_offset is None else next_offset
        self._tables[place] = Committed(known.epoch, position, known.rows)
        touched = dict.fromkeys((output.topic, output.partition) for output in outputs)
        for output in outputs:
            self._put(output, now_ms)
        for where in touched:
            self._records[where].append(None)
        for where in touched:
            self._on_append(*where)


class Broker:
    """When the log answers: delays, and times at which it is away."""

    def __init__(self, world: World) -> None:
        self.log = Log(self._news)
        self.away_until_s = 0.0
        self.loses_answers = 0.0
        """Probability that an answer is lost."""
        self.reads_again = 0.0
        """Probability that an input is found changed by who opens it, and is read from its beginning."""
        self._world = world
        self._listeners: list[tuple[Process, Callable[[], None]]] = []
        self._overhears: Callable[[str], None] = lambda _: None

    def changed(self) -> str | None:
        """Return why an input is to be read from its beginning, if it is."""
        return "is read again, as after an unclean election" if self._world.dice.random() < self.reads_again else None

    def listen(self, process: Process, call: Callable[[], None]) -> None:
        """Let `call` happen in `process` whenever something was appended."""
        self._listeners = [each for each in self._listeners if not each[0].is_dead]
        self._listeners.append((process, call))

    def overhear(self, call: Callable[[str], None]) -> None:
        """Let `call` happen, outside every process, with the topic to which something was appended."""
        self._overhears = call

    def _news(self, topic: str, partition: int) -> None:
        del partition
        self._overhears(topic)
        for process, call in self._listeners:
            self._world.later(self._delay_s(), process.post, call)

    async def ask(self, process: Process, do: Callable[[], T]) -> T:
        """Let the broker do something for `process`. Raises what it raises, or NoAnswer."""
        question = _Question(process, do, process.create_future())
        self._world.later(self._delay_s(), self._arrive, question)
        self._world.later(LOST_S, question.settle, None, NoAnswer("no answer from the broker"))
        result: T = await question.future
        return result

    def _arrive(self, question: _Question[Any]) -> None:
        if self.away_until_s > self._world.now_s:
            self._world.later(self.away_until_s - self._world.now_s + self._delay_s(), self._arrive, question)
            return
        result, error = None, None
        try:
            result = question.do()
        except FencedOut as fenced:
            error = fenced
        if self._world.dice.random() >= self.loses_answers:
            self._world.later(self._delay_s(), question.settle, result, error)

    def _delay_s(self) -> float:
        return 0.0005 + 0.004 * self._world.dice.random() ** 3


class _Question(Generic[T]):
    def __init__(self, process: Process, do: Callable[[], T], future: Any) -> None:
        self.do = do
        self.future = future
        self._process = process

    def settle(self, result: T | None, error: Exception | None) -> None:
        """Let the answer arrive; the first counts."""
        self._process.post(self._take, result, error)

    def _take(self, result: T | None, error: Exception | None) -> None:
        if self.future.done():
            return
        if error is None:
            self.future.set_result(result)
        else:
            self.future.set_exception(error)


class SimulatedTable:
    """One process's copy of a table it opened: changes when its commit is answered."""

    def __init__(
        self, broker: Broker, process: Process, place: tuple[str, int], found: Committed, *, now_ms: Callable[[], int]
    ) -> None:
        self._broker = broker
        self._process = process
        self._place = place
        self._epoch = found.epoch
        self._rows = MemoryTable(found.rows)
        self._next_offset = found.next_offset
        self._now_ms = now_ms

    @property
    def next_offset(self) -> int:
        """The next input offset to apply."""
        return self._next_offset

    def get(self, key: bytes) -> bytes | None:
        """Return the committed value under `key`, or None."""
        return self._rows.get(key)

    def scan(self, start: bytes, end: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Yield committed (key, value) with `start` <= key < `end`, in key order."""
        return self._rows.scan(start, end)

    async def commit(self, changes: Changes, outputs: Sequence[Output], next_offset: int | None) -> None:
        """Commit all of it as one. Raises FencedOut, or NoAnswer."""
        if not changes and not outputs and next_offset is None:
            return
        now_ms = self._now_ms()
        await self._broker.ask(
            self._process,
            lambda: self._broker.log.commit(
                self._place, self._epoch, changes, outputs, next_offset=next_offset, now_ms=now_ms
            ),
        )
        self._rows.apply(changes)
        self._next_offset = self._next_offset if next_offset is None else next_offset

    def note(self, last: Record) -> None:
        """Topics here are never created anew."""

    def tasks(self) -> tuple[tuple[str, Any], ...]:
        """Nothing runs behind it."""
        return ()

    async def close(self) -> None:
        """Nothing is open."""


class SimulatedTables:
    """Opens tables on the log, for one process."""

    def __init__(self, broker: Broker, process: Process, now_ms: Callable[[], int]) -> None:
        self._broker = broker
        self._process = process
        self._now_ms = now_ms

    def topic_name(self, logical: str) -> str:
        """Return the name itself: there is no prefix here."""
        return logical

    async def open(self, wanted: Mapping[TopicPartition, str]) -> Mapping[TopicPartition, OpenedTable]:
        """Fence every predecessor and copy what is committed."""
        log = self._broker.log
        found = await self._broker.ask(
            self._process, lambda: {tp: (log.fence(name, tp.partition), log.end(*tp)) for tp, name in wanted.items()}
        )
        return {
            tp: OpenedTable(
                SimulatedTable(self._broker, self._process, (wanted[tp], tp.partition), committed, now_ms=self._now_ms),
                0,
                end,
                self._broker.changed(),
            )
            for tp, (committed, end) in found.items()
        }
