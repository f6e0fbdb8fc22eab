"""The account's webhooks at Resend. Source: Resend's OpenAPI, `GET /webhooks`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from pipeline.channels.callback_body import member
from pipeline.channels.callback_setup import compared, read_setup, shown_url, unreadable
from pipeline.channels.email.callback import KINDS

if TYPE_CHECKING:
    from pipeline.channels.http import Wire
    from pipeline.domain.callback import CallbackSetup

PATH: Final = "/webhooks"
MOST: Final = 100
"""Webhooks of a page; an account has a few."""


async def look(wire: Wire, url: str) -> CallbackSetup:
    """Return how the webhooks agree with `url`, our path."""
    wanted = f"a webhook of {url} with the events {', '.join(KINDS)}"
    answer = await read_setup(wire, PATH, {"limit": MOST})
    if isinstance(answer, str):
        return unreadable(answer, wanted)
    rows = answer.member("data")
    if not isinstance(rows, list):
        return unreadable("cannot be read: no list of webhooks in the answer", wanted)
    ours = [each for each in rows if member(each, "endpoint") == url]
    if not ours:
        others = ", ".join(shown_url(member(each, "endpoint")) for each in rows)
        return compared("", [f"no webhook calls us; there: {others or 'none'}"], wanted)
    faults = min((_faults(each) for each in ours), key=len)
    return compared(f"a webhook calls {url}", faults, wanted)


def _faults(row: Any) -> list[str]:
    said = member(row, "events")
    missing = [each for each in KINDS if not isinstance(said, list) or each not in said]
    faults = [] if member(row, "status") == "enabled" else ["the webhook is disabled"]
    return [*faults, f"the webhook lacks {', '.join(missing)}"] if missing else faults
