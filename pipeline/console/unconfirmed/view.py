"""A touch that ended unconfirmed as the commands show it: as a line, as JSON, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson

from pipeline.console.printing import json_escaped
from pipeline.console.status.view import printable, time_of
from pipeline.domain.unconfirmed import Resolved, members_of

if TYPE_CHECKING:
    from pipeline.domain.unconfirmed import Unconfirmed

WORDS = {Resolved.SENT: "sent", Resolved.NOT_SENT: "not sent"}


def line_of(left: Unconfirmed) -> str:
    """Return the line: time, touch_id, channel, sender, to, what was found out later if anything, then the error."""
    work = left.work
    words = [
        time_of(left.occurred_at_ms),
        work.touch_id,
        f"{work.channel:<8}",
        printable(work.sender),
        printable(work.to),
    ]
    if left.resolution is not None:
        words += [f"{left.resolution}={time_of(left.resolved_at_ms)}"]
        words += [
            f"{name}={printable(said)}"
            for name, said in (("id", left.provider_message_id), ("again", left.resent_as))
            if said
        ]
    return " ".join([*words, printable(left.error)]).rstrip()


def json_of(left: Unconfirmed) -> str:
    """Return one line of JSON, absent members left out."""
    said = {name: value for name, value in members_of(left).items() if value is not None}
    return json_escaped(orjson.dumps(said).decode())


def told(left: Unconfirmed) -> str:
    """Return in words what is recorded of a resolved touch."""
    assert left.resolution is not None
    message = "" if left.provider_message_id is None else f" ({printable(left.provider_message_id)})"
    return f"{left.work.touch_id} is recorded as {WORDS[left.resolution]}{message}"
