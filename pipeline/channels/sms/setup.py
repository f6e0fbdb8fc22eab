"""Where Twilio sends what people answer: the number's setting, or the Messaging Service's.

Sources: Twilio's OpenAPI, `IncomingPhoneNumber` and messaging/v1 `Service`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlsplit

from pipeline.channels.callback_body import member
from pipeline.channels.callback_setup import compared, read_setup, shown_url, unreadable

if TYPE_CHECKING:
    from pipeline.channels.http import HttpAnswer, Wire
    from pipeline.domain.account import TwilioAccount
    from pipeline.domain.callback import CallbackSetup

OWN: Final = ".twilio.com"


def service_url(base_url: str) -> str:
    """Return the API of Messaging Services that belongs to an API of messages: Twilio has it at a host of its own."""
    host = urlsplit(base_url).hostname or ""
    return base_url.replace("://api.", "://messaging.", 1) if host.endswith(OWN) else base_url


async def look(wire: Wire, account: TwilioAccount, url: str) -> CallbackSetup:
    """Return how the settings agree with `url`, our path; `wire` leads to `service_url` for a Messaging Service."""
    inbound, status = f"{url}/inbound", f"{url}/status"
    service = account.messaging_service_sid
    where = f"the number {account.from_}" if service is None else f"the Messaging Service {service}"
    wanted = f"{where}: a message comes in: {inbound}, HTTP POST; statuses to {status}"
    if service is not None:
        answer = await read_setup(wire, f"/v1/Services/{quote(service, safe='')}")
    else:
        path = f"/2010-04-01/Accounts/{quote(account.account_sid, safe='')}/IncomingPhoneNumbers.json"
        answer = await read_setup(wire, path, {"PhoneNumber": account.from_ or "", "PageSize": 1})
    faults = _status_faults(account, status)
    if isinstance(answer, str):
        return compared("", [*faults, answer], wanted) if faults else unreadable(answer, wanted)
    said = _of_service(answer) if service is not None else _of_number(answer)
    if said is None:
        return compared("", [*faults, f"{where} is not one of the account's"], wanted)
    faults += _inbound_faults(where, *said, inbound)
    return compared(f"{where} calls {inbound}, each SMS names {status}", faults, wanted)


def _of_service(answer: HttpAnswer) -> tuple[Any, Any]:
    if answer.member("use_inbound_webhook_on_number") is True:
        return "its numbers' own webhooks", None
    return answer.member("inbound_request_url"), answer.member("inbound_method")


def _of_number(answer: HttpAnswer) -> tuple[Any, Any] | None:
    rows = answer.member("incoming_phone_numbers")
    if not isinstance(rows, list) or not rows:
        return None
    if member(rows[0], "sms_application_sid"):
        return "a TwiML app", None
    return member(rows[0], "sms_url"), member(rows[0], "sms_method")


def _inbound_faults(where: str, found: Any, method: Any, wanted: str) -> list[str]:
    if found == wanted:
        return [] if method == "POST" else [f"{where} calls us by {method}"]
    shown = shown_url(found) if not isinstance(found, str) or "://" in found else found or "nothing"
    return [f"{where} sends answers to {shown}"]


def _status_faults(account: TwilioAccount, wanted: str) -> list[str]:
    said = "" if account.status_callback is None else account.status_callback.url
    is_ours = said.partition("#")[0].partition("?")[0] == wanted
    return [] if is_ours else [f"status_callback names {shown_url(said)}"]
