"""Produces dead letters again: unchanged, to the partition they came from; or as new touches, under new ids."""

from __future__ import annotations

from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import orjson
from aiokafka.errors import MessageSizeTooLargeError

from pipeline.console.dead_letters.view import LetterFilter, ShownLetter
from pipeline.domain.audit import Acted
from pipeline.domain.rules import is_touch_id
from pipeline.flow import AUDIT, TOUCH_MESSAGE_BYTES, TOUCHES
from pipeline.kafka.audit import Auditor
from pipeline.kafka.cluster import CommandFailed, partition_count
from pipeline.kafka.transaction import Outgoing, open_short_writer
from pipeline.records.plain_json import read_json
from pipeline.records.undecodable import Undecodable
from pipeline.stages.forward import REPLAY_OF

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Container

    from pipeline.console.command_context import CommandContext
    from pipeline.domain.audit import Who
    from pipeline.domain.dead_letter import DeadReason
    from pipeline.kafka.cluster import Cluster
    from pipeline.kafka.topic import RecordPosition
    from pipeline.kafka.transaction import ShortWriter

    Refuse = Callable[[str, str], None]
    """Called with the position of a letter that cannot be replayed, and the reason."""


AT_ONCE: Final = 200
BYTES_AT_ONCE: Final = 4 * 1024 * 1024
"""Most letters of one transaction, and most bytes after which there is none more in it."""


class NotReplayable(Exception):
    """A letter that cannot be produced again; the message says why."""


@dataclass(slots=True)
class Chosen:
    """The letters to replay, in order of time."""

    letters: dict[RecordPosition, DeadReason] = field(default_factory=dict)
    taken: set[RecordPosition] = field(default_factory=set)
    """Those whose touch_id has statuses: its own, ended as `failed`, or those of another touch."""
    left_out: set[RecordPosition] = field(default_factory=set)
    """Those that were replayed before and came back for the same reason, as a newer letter."""

    def add(self, letter: ShownLetter) -> None:
        """Choose `letter`."""
        self.letters[letter.position] = letter.dead.reason
        if letter.dead.touch_id is not None:  # an undecodable one has none
            self.taken.add(letter.position)

    def leave_out(self, came_back: Container[tuple[str, DeadReason]]) -> None:
        """Leave out letters that came back: otherwise each replay of all letters would double them."""
        self.left_out = {position for position, reason in self.letters.items() if (str(position), reason) in came_back}
        self.letters = {position: reason for position, reason in self.letters.items() if position not in self.left_out}
        self.taken -= self.left_out

    @property
    def seen(self) -> set[RecordPosition]:
        """The positions of the letters."""
        return self.left_out | self.letters.keys()


async def choose(letters: AsyncGenerator[ShownLetter, None], wanted: LetterFilter) -> Chosen:
    """Return the letters to replay. Produces nothing."""
    chosen, came_back = Chosen(), set()
    async with aclosing(letters):
        async for letter in letters:
            if letter.replay_of is not None:
                came_back.add((letter.replay_of, letter.dead.reason))
            if letter in wanted:
                chosen.add(letter)
    chosen.leave_out(came_back)
    return chosen


async def replay(
    context: CommandContext,
    letters: AsyncGenerator[ShownLetter, None],
    who: Who,
    *,
    new_id: str | None,
    refuse: Refuse,
    progress: Callable[[int], None],
) -> list[RecordPosition]:
    """Produce `letters` again, each in one transaction with the record that `who` did so; return where they stand now.

    `refuse` gets the place of a letter that cannot be replayed, and why; `progress` how many are in so far. Raises
    CommandFailed when Kafka cannot be reached or refuses.
    """
    replaying = _Replaying(context, who, refuse)
    try:
        async for label, record in _records(context.cluster, letters, new_id, refuse):
            await replaying.take(label, Outgoing(TOUCHES, **record))
            progress(len(replaying.done))
        await replaying.commit()
    except CommandFailed as error:
        raise CommandFailed(
            f"{error}; {len(replaying.done):,} letters are replayed; replay again, repeats are dropped"
        ) from error
    finally:
        await replaying.close()
    progress(len(replaying.done))
    return replaying.done


class _Replaying:
    """The letters that are read and not committed yet."""

    def __init__(self, context: CommandContext, who: Who, refuse: Refuse) -> None:
        self._cluster, self._auditor = context.cluster, Auditor(context.writer(), who, context.now_ms())
        self._refuse = refuse
        self._waiting: list[tuple[str, Outgoing]] = []
        self._bytes = 0
        self._open = AsyncExitStack()
        self._writer: ShortWriter | None = None
        self.done: list[RecordPosition] = []

    async def take(self, label: str, record: Outgoing) -> None:
        if record.size() > TOUCH_MESSAGE_BYTES:
            self._refuse(label, "too large for the topic")
            return
        self._waiting.append((label, record))
        self._bytes += record.size()
        if len(self._waiting) >= AT_ONCE or self._bytes >= BYTES_AT_ONCE:
            await self.commit()

    async def commit(self) -> None:
        letters, self._waiting, self._bytes = self._waiting, [], 0
        if not letters:
            return
        try:
            self.done += await self._write(letters)
        except MessageSizeTooLargeError:
            # Kafka has been told to take less. What a refused producer has sent before is not in order any more.
            await self.close()
            if len(letters) == 1:
                self._refuse(letters[0][0], "too large for the topic")
            for each in letters if len(letters) > 1 else []:
                self._waiting = [each]
                await self.commit()

    async def _write(self, letters: list[tuple[str, Outgoing]]) -> list[RecordPosition]:
        if self._writer is None:
            opening = open_short_writer(self._cluster, TOUCHES, AUDIT, largest=2 * TOUCH_MESSAGE_BYTES)
            self._writer = await self._open.enter_async_context(opening)
        audits = [self._auditor.record(Acted.REPLAY, label) for label, _ in letters]
        return (await self._writer([*(record for _, record in letters), *audits]))[: len(letters)]

    async def close(self) -> None:
        self._writer = None
        await self._open.aclose()


async def rehearse(
    cluster: Cluster, letters: AsyncGenerator[ShownLetter, None], *, new_id: str | None, refuse: Refuse
) -> int:
    """Return how many of `letters` would be produced. Produces nothing."""
    return len([label async for label, _ in _records(cluster, letters, new_id, refuse)])


async def _records(
    cluster: Cluster, letters: AsyncGenerator[ShownLetter, None], new_id: str | None, refuse: Refuse
) -> AsyncGenerator[tuple[str, dict[str, Any]], None]:
    partitions = cluster.partitions or await partition_count(cluster, TOUCHES)
    async with aclosing(letters):
        async for letter in letters:
            try:
                yield str(letter.position), record_of(letter, cluster.topic_name(TOUCHES), partitions, new_id)
            except NotReplayable as error:
                refuse(str(letter.position), str(error))


def record_of(letter: ShownLetter, topic: str, partitions: int, new_id: str | None) -> dict[str, Any]:
    """Return the record (key, value, partition, headers) that replays `letter` to `topic`.

    With `new_id` it is another touch: that is added to its touch_id, which is the key and chooses the partition as
    every client would. Raises NotReplayable.
    """
    dead = letter.dead
    headers = [*dead.headers, (REPLAY_OF, str(letter.position).encode())]
    if dead.source_topic != topic:
        raise NotReplayable(f"it came from {dead.source_topic}, not from {topic}")
    if new_id is not None:
        touch_id, value = _renamed(dead.value, new_id)
        return {"key": touch_id.encode(), "value": value, "headers": headers}
    if dead.key is None and dead.value is None:
        raise NotReplayable("it has neither key nor value")
    if dead.source_partition >= partitions:
        raise NotReplayable(f"it came from partition {dead.source_partition}, but {topic} has {partitions}")
    return {"key": dead.key, "value": dead.value, "headers": headers, "partition": dead.source_partition}


def _renamed(value: bytes | None, suffix: str) -> tuple[str, bytes]:
    try:
        touch = read_json(value or b"")  # numbers in its maps as they were written
    except Undecodable:
        touch = {}
    if not is_touch_id(touch.get("touch_id")):
        raise NotReplayable("only a JSON object with a touch_id can be given a new one")
    touch_id = touch["touch_id"] + suffix
    if not is_touch_id(touch_id):
        raise NotReplayable(f"{touch_id} is too long for a touch_id")
    return touch_id, orjson.dumps({**touch, "touch_id": touch_id})
