"""Records of `touches.control` and `touches.suppressions`: orders, entries, and the fingerprint of `privacy.key`."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from pipeline.domain.instant import FARTHEST_MS, NotAnInstant, instant_ms
from pipeline.domain.order import Action, Order, Target
from pipeline.domain.rules import is_name, is_touch_id
from pipeline.domain.suppression import UNKNOWN_BY, Scope, Suppression, SuppressionReason
from pipeline.records.published import UndecodableValue
from pipeline.records.single_object import decode, encode
from pipeline.records.writing import Writer

PRIVACY_KEY: Final = b"privacy.key"
"""The one key of `touches.control` that is no order's; its value is the fingerprint of the configured key."""
LONGEST_NOTE: Final = 500
LONGEST_BY: Final = 128
_HASH: Final = re.compile(r"[0-9a-f]{32}")

ReadValue = Callable[[bytes | None], Mapping[str, Any]]
"""Decodes a Suppression in any of the three framings; raises UndecodableValue."""


def encode_order(order: Order) -> bytes:
    """Return `order` as a value of `touches.control`."""
    return encode(
        "order",
        {
            "action": order.action.value,
            "target": order.target.written,
            "note": order.note,
            "by": order.by,
            "at": order.at_ms,
            "until": order.until_ms,
        },
    )


def decode_order(key: bytes | None, value: bytes) -> Order:
    """Return the order of a record. Raises UndecodableValue, also for one whose key is not its value's."""
    try:
        datum = decode("order", value)
    except Exception as error:
        raise UndecodableValue(f"no order: {error}") from error
    try:
        order = Order(
            Action(datum["action"]),
            Target.parse(datum["target"]),
            note=datum["note"][:LONGEST_NOTE],
            by=datum["by"][:LONGEST_BY],
            at_ms=_meant_ms(datum["at"]),
            until_ms=None if datum["until"] is None else _meant_ms(datum["until"]),
        )
    except ValueError as error:
        raise UndecodableValue(f"no order: {error}") from error
    _check_key(key, order.key)
    return order


def encode_suppression(write: Writer, entry: Suppression) -> bytes:
    """Return `entry` as a value of `touches.suppressions`."""
    return write("suppression", suppression_datum(entry))


def suppression_datum(entry: Suppression) -> dict[str, Any]:
    """Return `entry` with the schema's names."""
    return {
        "scope": entry.scope.value,
        "address_hash": entry.address_hash,
        "lead_id": entry.lead_id,
        "reason": entry.reason.value,
        "note": entry.note,
        "touch_id": entry.touch_id,
        "by": entry.by,
        "at": entry.at_ms,
    }


def decode_suppression(read: ReadValue, key: bytes | None, value: bytes | None, timestamp_ms: int) -> Suppression:
    """Return the entry of a record; `timestamp_ms` is the record's. Raises UndecodableValue, also for a wrong key.

    An `at` in another unit (seconds, microseconds) decides nothing, so that entry is obeyed, with the record's time.
    """
    datum = read(value)
    try:
        entry = suppression_of(_with_meant_at(datum), at_ms=timestamp_ms)
    except ValueError as error:
        raise UndecodableValue(f"no suppression: {error}") from error
    _check_key(key, entry.key)
    return entry


def _with_meant_at(datum: Mapping[str, Any]) -> Mapping[str, Any]:
    said = datum.get("at")
    if not isinstance(said, int) or isinstance(said, bool):
        return datum
    try:
        instant_ms(said)
    except NotAnInstant:
        return {**datum, "at": None}
    return datum


def suppression_of(datum: Mapping[str, Any], *, at_ms: int, by: str = UNKNOWN_BY) -> Suppression:
    """Return the entry that `datum` describes; `at_ms` and `by` stand in where it says neither. Raises ValueError."""
    hashed, lead = _text(datum, "address_hash"), _text(datum, "lead_id")
    if hashed is not None and _HASH.fullmatch(hashed) is None:
        raise ValueError("address_hash must be 32 lower-case hexadecimal digits")
    if lead is not None and not is_name(lead):
        raise ValueError("lead_id must be 1 to 256 characters, none a control character")
    note, touch_id, said_at = _text(datum, "note"), _text(datum, "touch_id"), datum.get("at")
    return Suppression(
        scope_of(datum.get("scope")),
        address_hash=hashed,
        lead_id=lead,
        reason=_reason_of(datum.get("reason")),
        note=None if note is None else note[:LONGEST_NOTE],
        touch_id=touch_id if is_touch_id(touch_id) else None,
        by=(_text(datum, "by") or by)[:LONGEST_BY],
        at_ms=at_ms if said_at is None else instant_ms(said_at),
    )


def scope_of(said: object) -> Scope:
    """Return the scope. Raises ValueError, whose message does not repeat what was said: it may be an address."""
    try:
        return Scope(said)  # type: ignore[arg-type]
    except ValueError:
        raise ValueError(f"scope must be one of {', '.join(Scope)}") from None


def _reason_of(said: object) -> SuppressionReason:
    try:
        return SuppressionReason(said)  # type: ignore[arg-type]
    except ValueError:
        raise ValueError(f"reason must be one of {', '.join(SuppressionReason)}") from None


def _text(datum: Mapping[str, Any], name: str) -> str | None:
    value = datum.get(name)
    if value is not None and not isinstance(value, str):
        raise ValueError(f"{name} must be text")
    return value


def _meant_ms(instant_ms: int) -> int:
    """Return an instant of an order, within what can be reckoned with: whoever wrote it beyond meant for ever."""
    return min(max(instant_ms, 0), FARTHEST_MS)


def _check_key(key: bytes | None, expected: str) -> None:
    if key != expected.encode():
        raise UndecodableValue("its key is not the one that its value gives")
