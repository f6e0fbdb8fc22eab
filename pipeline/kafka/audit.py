"""The record of an act, as it goes into the transaction of its effect: `touches.audit`."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from pipeline.domain.audit import Acted, Audit, AuditResult, Who
from pipeline.flow import AUDIT
from pipeline.kafka.transaction import Outgoing, open_short_writer
from pipeline.records.audit import encode_audit

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pipeline.kafka.cluster import Cluster
    from pipeline.records.writing import Writer


class Auditor:
    """Makes the audit records of one who acts."""

    def __init__(self, write: Writer, who: Who, now_ms: int) -> None:
        """Encode with `write`; the act is done by `who` at `now_ms` (epoch milliseconds)."""
        self._write, self.who, self._now_ms = write, who, now_ms

    def record(
        self, action: Acted, target: str, note: str | None = None, result: AuditResult = AuditResult.DONE
    ) -> Outgoing:
        """Return the record that `who` did `action` to `target`, a key or an id."""
        audit = Audit(uuid.uuid4().hex, self._now_ms, self.who, action, target=target, note=note, result=result)
        return Outgoing(AUDIT, self.who.name.encode(), encode_audit(self._write, audit), partition=0)


async def write_audit(cluster: Cluster, records: Iterable[Outgoing]) -> None:
    """Commit audit records of what changes nothing: what was refused, and what was only read. Raises CommandFailed."""
    async with open_short_writer(cluster, AUDIT) as write:
        await write(records)
