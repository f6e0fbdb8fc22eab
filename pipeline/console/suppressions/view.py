"""How commands show an entry: as a line, and as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from pipeline.console.order.view import one_word
from pipeline.console.printing import json_escaped
from pipeline.console.status.view import printable, time_of
from pipeline.records.control import suppression_datum

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pipeline.console.suppressions.work import Imported
    from pipeline.domain.suppression import Suppression


def json_of(entry: Suppression, **more: Any) -> str:
    """Return one line of JSON: the key, the schema's names, and `more`."""
    return json_escaped(orjson.dumps({"key": entry.key, **suppression_datum(entry), **more}).decode())


def imported_json(done: Imported, missing: Sequence[str]) -> str:
    """Return what became of a file as one line of JSON."""
    members = {
        "added": done.new,
        "known": done.known,
        "skipped": done.broken,
        "offset": done.offset,
        "in_force": not missing,
        "missing": list(missing),
    }
    return orjson.dumps(members).decode()


def imported_line(done: Imported) -> str:
    """Return what became of a file."""
    skipped = f"; {done.broken:,} lines skipped" if done.broken else ""
    return f"{done.new:,} entries added; {done.known:,} were there already{skipped}"


def line_of(entry: Suppression) -> str:
    """Return the line: key, at, by, note (`-` for none)."""
    return f"{entry.key} {time_of(entry.at_ms)} {one_word(entry.by)} {printable(entry.note or '-')}"
