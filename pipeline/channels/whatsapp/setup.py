"""The webhooks of a session at WAHA. Source: WAHA's documentation, "Webhooks" and "Sessions"."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from pipeline.channels.callback_body import member
from pipeline.channels.callback_setup import compared, read_setup, shown_url, unreadable
from pipeline.domain.sender_policy import WahaEngine

if TYPE_CHECKING:
    from pipeline.channels.http import Wire
    from pipeline.domain.account import WahaAccount
    from pipeline.domain.callback import CallbackSetup

EVENTS: Final = ("message", "message.ack")
MORE: Final = {"message": ("message", "message.any", "*"), "message.ack": ("message.ack", "*")}
"""Each event, and what includes it."""


async def look(wire: Wire, account: WahaAccount, url: str) -> CallbackSetup:
    """Return how the session's webhooks agree with `url`, our path. Those of the server's environment are not told."""
    wanted = f"a webhook of {url} with the events {', '.join(EVENTS)} and hmac.key"
    answer = await read_setup(wire, f"/api/sessions/{quote(account.session, safe='')}")
    if isinstance(answer, str):
        return unreadable(answer, wanted)
    config = answer.member("config")
    said = member(config, "webhooks")
    rows = said if isinstance(said, list) else []
    ours = [each for each in rows if member(each, "url") == url]
    if not ours:
        others = ", ".join(shown_url(member(each, "url")) for each in rows)
        fault = f"no webhook of the session calls us; there: {others or 'none'} (WHATSAPP_HOOK_URL is not told)"
        return compared("", [fault], wanted)
    faults = min((_faults(each) for each in ours), key=len)
    if account.engine is WahaEngine.WEBJS and member(config, "webjs", "tagsEventsOn") is not True:
        faults.append("config.webjs.tagsEventsOn is not true: no acknowledgements come")
    return compared(f"a webhook of the session calls {url}", faults, wanted)


def _faults(row: Any) -> list[str]:
    said = member(row, "events")
    events = said if isinstance(said, list) else []
    missing = [each for each in EVENTS if not any(more in events for more in MORE[each])]
    faults = [] if member(row, "hmac", "key") else ["the webhook has no hmac.key"]
    return [*faults, f"the webhook lacks {', '.join(missing)}"] if missing else faults
