"""A touch as a request to Twilio's Messages. Pure: the same bytes for the same arguments."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from pipeline.domain.value import replace
from pipeline.domain.work import Request, Work
from pipeline.secret import Address

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pipeline.domain.account import TwilioAccount

SHORTEST_S, LONGEST_S = 1, 36_000
"""`ValidityPeriod`, seconds. Source: Twilio's OpenAPI, `CreateMessage`."""


def build(works: Sequence[Work], account: TwilioAccount, lease_until_ms: int, window_closes_ms: int | None) -> Request:
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
        said["StatusCallback"] = account.status_callback.url.replace("{touch_id}", quote(work.touch_id, safe=""))
    if window_closes_ms is not None:
        said["ValidityPeriod"] = str(validity_s(lease_until_ms, window_closes_ms))
    path = f"/2010-04-01/Accounts/{quote(account.account_sid, safe='')}/Messages.json"
    return Request(path, urlencode(said).encode("ascii"), "application/x-www-form-urlencoded", "")


def with_login(request: Request, callback: Address | None) -> Request:
    """Return `request` as Twilio gets it: the callback's user and password are added on the wire, so no claim keeps them.

    A claim whose callback goes to another host, from an older configuration, is left as it is.
    """
    if callback is None or callback.login is None:
        return request
    said = dict(parse_qsl(request.body.decode("ascii"), keep_blank_values=True))
    kept = said.get("StatusCallback", "")
    if urlsplit(kept)[:2] != urlsplit(callback.url)[:2]:
        return request
    said["StatusCallback"] = Address(kept, callback.login).with_login()
    return replace(request, body=urlencode(said).encode("ascii"))


def validity_s(lease_until_ms: int, window_closes_ms: int) -> int:
    """Return how long Twilio may hold the message, so that its queue does not deliver after the window.

    Counted from the latest instant the call may begin: whenever it begins, the message ends with the window.
    """
    return min(max((window_closes_ms - lease_until_ms) // 1000, SHORTEST_S), LONGEST_S)
