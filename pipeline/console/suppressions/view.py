"""How commands show an entry: as a line, and as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from pipeline.console.order.view import one_word
from pipeline.console.printing import json_escaped
from pipeline.console.status.view import printable, time_of
from pipeline.records.control import suppression_datum

if TYPE_CHECKING:
    from pipeline.domain.suppression import Suppression


def json_of(entry: Suppression, **more: Any) -> str:
    """Return one line of JSON: the key, the schema's names, and `more`."""
    return json_escaped(orjson.dumps({"key": entry.key, **suppression_datum(entry), **more}).decode())


def line_of(entry: Suppression) -> str:
    """Return the line: key, at, by, note (`-` for none)."""
    return f"{entry.key} {time_of(entry.at_ms)} {one_word(entry.by)} {printable(entry.note or '-')}"
