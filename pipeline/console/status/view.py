"""One status record, or delivery, as a line for people: time, id, state or kind, reason, and what else is known."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import orjson

from pipeline.console.printing import json_escaped
from pipeline.domain.story import TERMINAL

if TYPE_CHECKING:
    from collections.abc import Mapping

ENDS = frozenset(str(state) for state in TERMINAL)

COLOURS = {
    "sent": "green",
    "failed": "red",
    "expired": "red",
    "unconfirmed": "yellow",
    "cancelled": "red",
    "suppressed": "red",
    "deferred": "cyan",
    "retrying": "yellow",
    "delivered": "green",
    "bounced": "red",
    "complained": "red",
    "undelivered": "red",
    "suppressed_by_provider": "red",
}

EXTRAS = {
    "next_attempt_at": "next",
    "attempt": "attempt",
    "sender": "sender",
    "provider_message_id": "id",
    "error_code": "code",
    "error": "error",
}

DELIVERY_EXTRAS = {
    "sender": "sender",
    "provider_message_id": "id",
    "detail": "detail",
    "error_code": "code",
    "error": "error",
}


def occurred_ms(told: Mapping[str, Any]) -> int:
    """Return `occurred_at` as epoch milliseconds."""
    return epoch_ms(told["occurred_at"])


def line_of(told: Mapping[str, Any]) -> str:
    """Return the line; its first four words are always time, id, state and reason (`-` for none)."""
    words = [
        time_of(told["occurred_at"]),
        printable(told["touch_id"]),
        f"{told['state']:<11}",
        f"{told.get('reason') or '-':<11}",
    ]
    extras = [f"{name}={_extra(member, told[member])}" for member, name in EXTRAS.items() if told.get(member)]
    return " ".join([*words, *extras]).rstrip()


def happened_ms(told: Mapping[str, Any]) -> int:
    """Return when what a delivery tells happened, or when its callback came, as epoch milliseconds."""
    return epoch_ms(told.get("occurred_at") or told["received_at"])


def delivery_line(told: Mapping[str, Any]) -> str:
    """Return the line of a delivery; its first four words are time, id, kind and `-`."""
    words = [time_of(happened_ms(told)), printable(told["touch_id"]), f"{told['kind']:<11}", f"{'-':<11}"]
    extras = [f"{name}={_extra(member, told[member])}" for member, name in DELIVERY_EXTRAS.items() if told.get(member)]
    return " ".join([*words, *extras]).rstrip()


def json_of(told: Mapping[str, Any]) -> str:
    """Return the record as one line of JSON; instants as integer milliseconds, absent members left out."""
    plain = {k: epoch_ms(v) if isinstance(v, datetime) else v for k, v in told.items() if v is not None}
    return json_escaped(orjson.dumps(plain).decode())


def _extra(member: str, value: Any) -> str:
    if member == "next_attempt_at":
        return time_of(value)
    text = printable(str(value))
    return orjson.dumps(text).decode() if " " in text or '"' in text else text


def printable(text: str) -> str:
    """Return `text` on one line with nothing in it that could steer a terminal: errors are quoted from others."""
    return "".join(c if c.isprintable() else "?" for c in text)


def epoch_ms(instant: Any) -> int:
    """Return an instant as epoch milliseconds; it is one already, an aware datetime, or ISO 8601."""
    if isinstance(instant, str):
        instant = datetime.fromisoformat(instant)
    return round(instant.timestamp() * 1000) if isinstance(instant, datetime) else int(instant)


def time_of(instant: Any) -> str:
    """Return an instant for people: ISO 8601 in UTC, to the millisecond; one that no calendar has, as its number."""
    try:
        at = datetime.fromtimestamp(epoch_ms(instant) / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        return f"{epoch_ms(instant)} ms"
    return f"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03d}Z"
