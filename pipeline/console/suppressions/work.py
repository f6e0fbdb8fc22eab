"""Writes entries, lifts them, imports a file of them; and waits until every lane concerned obeys."""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from pipeline.console.lines import Broken, UnreadableInput
from pipeline.console.read_ahead import read_ahead
from pipeline.console.suppressions.rows import entry_rows
from pipeline.console.suppressions.target import lanes_of_scopes
from pipeline.domain.audit import Acted
from pipeline.flow import AUDIT, SUPPRESSIONS
from pipeline.kafka.audit import Auditor
from pipeline.kafka.cluster import CommandFailed
from pipeline.kafka.lanes import wait_for_lanes
from pipeline.kafka.suppressions import SuppressionLog, tombstone_headers
from pipeline.kafka.transaction import Outgoing, open_short_writer
from pipeline.records.control import encode_suppression

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from pipeline.console.command_context import CommandContext
    from pipeline.console.lines import Stream
    from pipeline.console.suppressions.rows import ImportDefaults
    from pipeline.domain.audit import Who
    from pipeline.domain.suppression import Scope, Suppression
    from pipeline.kafka.transaction import ShortWriter
    from pipeline.records.writing import Writer

AT_ONCE: Final = 1_000
"""Entries in one transaction of an import."""


@dataclass(slots=True)
class Imported:
    """What became of a file."""

    new: int = 0
    known: int = 0
    """Entries that were there already."""
    broken: int = 0
    scopes: set[Scope] = field(default_factory=set)
    offset: int | None = None
    """The last entry's; None: there is none."""


async def add(context: CommandContext, entry: Suppression, who: Who) -> int:
    """Write `entry` and its audit record, and return its offset. Raises CommandFailed when Kafka is away; nothing is written then."""
    writer = context.stopping_writer()
    audit = Auditor(writer, who, entry.at_ms).record(Acted.SUPPRESS, entry.key, entry.note)
    async with open_short_writer(context.cluster, SUPPRESSIONS, AUDIT) as write:
        return (await write([_written(writer, entry), audit]))[0].offset


async def lift(context: CommandContext, entries: Sequence[Suppression], who: Who, *, note: str | None) -> int:
    """Write the nulls that lift `entries`, an audit record of each, and return the last one's offset. Raises as `add` does."""
    headers = tombstone_headers({"by": who.name, "note": note})
    nulls = [Outgoing(SUPPRESSIONS, entry.key.encode(), None, headers, partition=0) for entry in entries]
    auditor = Auditor(context.stopping_writer(), who, context.now_ms())
    audits = [auditor.record(Acted.LIFT, entry.key, note) for entry in entries]
    async with open_short_writer(context.cluster, SUPPRESSIONS, AUDIT) as write:
        return (await write([*nulls, *audits]))[len(nulls) - 1].offset


def _written(writer: Writer, entry: Suppression) -> Outgoing:
    return Outgoing(SUPPRESSIONS, entry.key.encode(), encode_suppression(writer, entry), partition=0)


async def missing_lanes(
    context: CommandContext,
    scopes: Iterable[Scope],
    offset: int,
    *,
    patience_s: float | None,
    progress: Callable[[int], None],
    complain: Callable[[str], None],
) -> list[str]:
    """Wait until every lane that these scopes concern obeys the entry at `offset`; return those that do not."""
    lanes = lanes_of_scopes(scopes, context.policies)
    if patience_s is None:
        return lanes
    return await wait_for_lanes(
        context.cluster,
        lanes,
        lambda report: report.suppressions_in_force > offset,
        within_s=patience_s,
        progress=progress,
        complain=complain,
    )


async def import_file(
    context: CommandContext,
    stream: Stream,
    defaults: ImportDefaults,
    who: Who,
    *,
    complain: Callable[[str], None],
    progress: Callable[[int], None],
) -> Imported:
    """Write the entries of `stream` that are not there yet; `progress` gets how many lines are read.

    The first transaction holds the audit record: one for the whole import, and none where everything is there already.
    Raises CommandFailed when Kafka is away, or the file as a whole cannot be read; what was committed stands.
    """
    known = await SuppressionLog(context.cluster, context.read_suppression, complain).offsets()
    done = Imported(offset=max(known.values(), default=None))
    async with open_short_writer(context.cluster, SUPPRESSIONS, AUDIT) as write:
        importing = _Import(context, write, set(known), done, who)
        try:
            async with aclosing(read_ahead(lambda before_read: entry_rows(stream, defaults, before_read))) as batches:
                async for batch in batches:
                    for row in batch:
                        if isinstance(row, Broken):
                            done.broken += 1
                            complain(f"line {row.line}: {row.why}; skipped")
                        else:
                            await importing.take(row.entry)
                    progress(done.new + done.known + done.broken)
        except UnreadableInput as error:
            raise CommandFailed(str(error)) from None
        await importing.commit()
    return done


class _Import:
    """The entries that are read and not committed yet."""

    def __init__(
        self, context: CommandContext, write: ShortWriter, known: set[bytes], done: Imported, who: Who
    ) -> None:
        self._writer, self._write, self._known, self._done = context.stopping_writer(), write, known, done
        self._audits = [Auditor(self._writer, who, context.now_ms()).record(Acted.IMPORT, SUPPRESSIONS)]
        self._waiting: list[Outgoing] = []

    async def take(self, entry: Suppression) -> None:
        key = entry.key.encode()
        self._done.scopes.add(entry.scope)
        if key in self._known:
            self._done.known += 1
            return
        self._known.add(key)
        self._waiting.append(_written(self._writer, entry))
        if len(self._waiting) >= AT_ONCE:
            await self.commit()

    async def commit(self) -> None:
        if self._waiting:
            written = await self._write([*self._waiting, *self._audits])
            self._done.offset = written[len(self._waiting) - 1].offset
            self._done.new += len(self._waiting)
            self._waiting, self._audits = [], []
