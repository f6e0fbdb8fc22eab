"""Records of `touches.audit`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pipeline.masking import masked

if TYPE_CHECKING:
    from pipeline.domain.audit import Audit
    from pipeline.records.writing import Writer


def encode_audit(write: Writer, audit: Audit) -> bytes:
    """Return `audit` as a value of `touches.audit`."""
    return write("audit", audit_datum(audit))


def audit_datum(audit: Audit) -> dict[str, Any]:
    """Return `audit` with the schema's names; addresses and secrets in its note are masked."""
    who = audit.who
    return {
        "id": audit.id,
        "at": audit.at_ms,
        "by": who.name,
        "role": None if who.role is None else who.role.value,
        "door": who.door.value,
        "action": audit.action.value,
        "target": audit.target,
        "note": None if audit.note is None else masked(audit.note),
        "result": audit.result.value,
        "remote": who.remote,
    }
