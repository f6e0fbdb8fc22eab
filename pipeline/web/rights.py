"""Whether a role allows an act. What it does not allow is recorded, and so is what was unmasked."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from pipeline.domain.audit import Acted, AuditResult
from pipeline.kafka.audit import Auditor, write_audit
from pipeline.records.writing import single_object
from pipeline.web.problem import Code, Problem

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from pipeline.console.command_context import CommandContext
    from pipeline.domain.audit import Role, Who


class Rights:
    """Checks roles, and holds what every act needs."""

    def __init__(self, context: CommandContext) -> None:
        self._context = context
        self._ready: CommandContext | None = None

    async def context(self) -> CommandContext:
        """Return the context whose writer is at hand; while the registry is away that of single objects."""
        if self._ready is not None:
            return self._ready
        writer = await asyncio.to_thread(self._context.stopping_writer)  # it may ask the registry, and wait for it
        ready = replace(self._context, writer=lambda: writer)
        if writer is not single_object:
            self._ready = ready
        return ready

    async def demand(self, who: Who, needed: Role, acted: Acted, target: str, note: str | None = None) -> None:
        """Return if the role of `who` covers `needed`; else record the refusal and raise Problem `forbidden`."""
        if who.role is not None and who.role.covers(needed):
            return
        await self._record(who, acted, target, note, AuditResult.FORBIDDEN)
        raise Problem(Code.FORBIDDEN, f"this needs the role {needed}; {who.name} is {who.role}")

    @asynccontextmanager
    async def asking(self, who: Who, needed: Role, acted: Acted, target: str) -> AsyncIterator[None]:
        """Read inside what is asked for: what cannot be read is refused, to a role that may not act as that."""
        try:
            yield
        except Problem:
            await self.demand(who, needed, acted, target)
            raise

    async def unmasked(self, who: Who, needed: Role, topic: str) -> None:
        """Record that `who` sees what `topic` masks, or raise as `demand` does."""
        await self.demand(who, needed, Acted.UNMASK, topic)
        await self._record(who, Acted.UNMASK, topic, None, AuditResult.DONE)

    async def _record(self, who: Who, acted: Acted, target: str, note: str | None, result: AuditResult) -> None:
        context = await self.context()
        auditor = Auditor(context.writer(), who, context.now_ms())
        await write_audit(context.cluster, [auditor.record(acted, target, note, result)])
