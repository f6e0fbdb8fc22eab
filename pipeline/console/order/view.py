"""How commands show an order: as a line, and as JSON."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from pipeline.console.printing import json_escaped
from pipeline.console.status.view import printable, time_of
from pipeline.domain.order import Action

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pipeline.domain.order import Order


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownOrder:
    """An order, and how far it has come."""

    order: Order
    offset: int | None
    """None: it is not written."""
    missing: Sequence[str]
    """The lanes, as `<channel>/<sender>`, that do not obey yet."""
    touches: int | None
    """Touches of its target that have not ended; None: not counted."""

    @property
    def is_in_force(self) -> bool:
        """Whether every lane concerned obeys."""
        return self.offset is not None and not self.missing


def members_of(shown: ShownOrder) -> dict[str, Any]:
    """Return the members of an order's JSON."""
    order = shown.order
    return {
        "key": order.key,
        "action": order.action,
        "target": order.target.as_json(),
        "note": order.note,
        "by": order.by,
        "at": order.at_ms,
        "until": order.until_ms,
        "offset": shown.offset,
        "in_force": shown.is_in_force,
        "missing": list(shown.missing),
        "touches": shown.touches,
    }


def json_of(shown: ShownOrder, **more: str) -> str:
    """Return one line of JSON."""
    return json_escaped(orjson.dumps({**members_of(shown), **more}).decode())


def done_line(shown: ShownOrder, what: str) -> str:
    """Return the line that ends a command: key, what became of it, until when, and how many touches it concerns."""
    order = shown.order
    is_open = order.until_ms is None or order.until_ms == order.at_ms
    until = "" if is_open else f", until {time_of(order.until_ms)}"
    return f"{order.key} {what}{until}{_touches(shown)}"


def _touches(shown: ShownOrder) -> str:
    match shown.touches:
        case None:
            return ""
        case 0 if shown.order.action is Action.CANCEL and shown.offset is not None:
            # Those that it has ended while it came into force are not counted any more.
            return "; no touch of it is left: each has ended, or none has come yet"
        case 0:
            return "; no touch that has not ended matches it yet"
        case 1:
            return "; 1 touch of it has not ended"
        case count:
            return f"; {count:,} touches of it have not ended"


def named_line(order: Order) -> str:
    """Return an order as others name it: key, by, at and note."""
    return f"{order.key}, {printable(order.by)}, {time_of(order.at_ms)}: {printable(order.note)}"


def list_line(order: Order, state: str) -> str:
    """Return the line of a list: key, state, at, until (`-` for none), by, note."""
    until = "-" if order.until_ms is None else time_of(order.until_ms)
    words = [order.key, f"{state:<8}", time_of(order.at_ms), until, one_word(order.by), printable(order.note)]
    return " ".join(words)


def one_word(text: str) -> str:
    """Return `text` as one word: quoted if it has blanks."""
    plain = printable(text)
    return orjson.dumps(plain).decode() if " " in plain or '"' in plain else plain
