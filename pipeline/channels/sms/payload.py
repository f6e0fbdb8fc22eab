"""A touch as a request to Twilio's Messages. Pure: the same bytes for the same arguments."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode

from pipeline.domain.work import Request, Work

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pipeline.domain.account import TwilioAccount

SHORTEST_S, LONGEST_S = 1, 36_000
"""`ValidityPeriod`, seconds. Source: Twilio's OpenAPI, `CreateMessage`."""


def build(
    works: Sequence[Work], account: TwilioAccount, lease_until_ms: int, window_closes_ms: int | None
) -> Request:
    """Return the request that sends the one touch of `works`. Raises ValueError for more than one.

    Source: Twilio's OpenAPI, `POST /2010-04-01/Accounts/{AccountSid}/Messages.json`.
    """
    (work,) = works
    said = {"To": work.to}
    if account.messaging_service_sid is not None:
        said["MessagingServiceSid"] = account.messaging_service_sid
    else:
        said["From"] = account.from_ or ""
    said["Body"] = work.content.body or ""
    if account.status_callback is not None:
        said["StatusCallback"] = account.status_callback.replace("{touch_id}", quote(work.touch_id, safe=""))
    if window_closes_ms is not None:
        said["ValidityPeriod"] = str(validity_s(lease_until_ms, window_closes_ms))
    path = f"/2010-04-01/Accounts/{quote(account.account_sid, safe='')}/Messages.json"
    return Request(path, urlencode(said).encode("ascii"), "application/x-www-form-urlencoded", "")


def validity_s(lease_until_ms: int, window_closes_ms: int) -> int:
    """Return how long Twilio may hold the message, so that its queue does not deliver after the window.

    Counted from the latest instant the call may begin: whenever it begins, the message ends with the window.
    """
    return min(max((window_closes_ms - lease_until_ms) // 1000, SHORTEST_S), LONGEST_S)
