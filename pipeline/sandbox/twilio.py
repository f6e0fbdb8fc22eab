"""Twilio Programmable Messaging, 2010-04-01: create, list, get (OpenAPI of 2026-04)."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any

from aiohttp import web

from pipeline.sandbox.rules import MAGIC, MAGIC_TIMES, after, before, hang_up, odd
from pipeline.sandbox.store import Message, Store

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline.sandbox.caller import Caller
    from pipeline.sandbox.rules import Rule, Rules

CREATED = 201
E164 = re.compile(r"\+[1-9]\d{6,14}")
BODY_CHARACTERS = 1_600
LONGEST_VALIDITY_S = 36_000
API = "/2010-04-01/Accounts/{sid}"


class Twilio:
    """Twilio's API under a prefix."""

    def __init__(self, store: Store, rules: Rules, caller: Caller | None = None) -> None:
        self._store = store
        self._rules = rules
        self._caller = caller
        self.listing_delay_ms = 0
        """A message is listed so long after it was created."""

    def routes(self, prefix: str) -> list[web.RouteDef]:
        """Return the routes."""
        return [
            web.post(f"{prefix}{API}/Messages.json", self._create),
            web.get(f"{prefix}{API}/Messages.json", self._list),
            web.get(f"{prefix}{API}/Messages/{{id}}.json", self._get),
            web.get(f"{prefix}{API}.json", self._account),
            web.get(f"{prefix}{API}/IncomingPhoneNumbers.json", self._numbers),
            web.get(f"{prefix}/v1/Services/{{service}}", self._service),
        ]

    async def _create(self, request: web.Request) -> web.Response:
        form = {k: str(v) for k, v in (await request.post()).items()}
        sender = form.get("From") or form.get("MessagingServiceSid", "")
        arrival = self._store.arrive("twilio", sender)
        rule = self._rules.pick("twilio", "send", form.get("To", ""), form.get("Body", ""), self._store.now_ms())
        if await before(rule):
            return hang_up(request)
        answer = self._judge(request, form, rule)
        if self._caller is not None:
            await self._caller.before_answer()
        arrival.status = answer.status
        return await after(request, rule, answer) if answer.status == CREATED else answer

    def _judge(self, request: web.Request, form: Mapping[str, str], rule: Rule | None) -> web.Response:
        if not request.headers.get("Authorization", "").startswith("Basic "):
            return _error(401, 20003, "Authenticate")
        if (strange := odd(rule, status=CREATED)) is not None:
            return strange
        if rule is not None and rule.status is not None and rule.answer is None:
            return _error(rule.status, _code(rule), "as told", rule.headers)
        if (wrong := _validate(form)) is not None:
            return wrong
        if (found := MAGIC.search(form["Body"])) is not None:
            mark = ("twilio", form["To"] + form["Body"])
            self._store.tries[mark] += 1
            if self._store.tries[mark] <= MAGIC_TIMES[found[1]]:
                return _error(400, 14107, "Message rate between these numbers is too high")
        message = self._store.accept(
            Message(
                "twilio",
                f"SM{self._store.new_id()}",
                form["To"],
                form["Body"],
                form.get("From") or form["MessagingServiceSid"],
                self._store.now_ms(),
                extra={
                    "status_callback": form.get("StatusCallback"),
                    "validity_s": form.get("ValidityPeriod"),
                    "account": request.match_info["sid"],
                },
            )
        )
        return web.json_response(_shown(message, request.match_info["sid"]), status=CREATED)

    async def _list(self, request: web.Request) -> web.Response:
        query = request.query
        self._store.asks["twilio"] += 1
        rule = self._rules.pick("twilio", "ask", query.get("To", ""), "", self._store.now_ms())
        if await before(rule):
            return hang_up(request)
        if (strange := odd(rule)) is not None:
            return strange
        if rule is not None and rule.status is not None:
            return _error(rule.status, 20500, "as told")
        seen_ms = self._store.now_ms() - self.listing_delay_ms
        found = [m for m in reversed(self._store.by_to.get(("twilio", query.get("To", "")), [])) if m.at_ms <= seen_ms]
        if query.get("From"):
            found = [m for m in found if m.sender == query["From"]]
        size, page = min(int(query.get("PageSize", 50)), 1000), int(query.get("Page", 0))
        part, sid = found[page * size : (page + 1) * size], request.match_info["sid"]
        more = len(found) > (page + 1) * size
        path = f"{request.path}?To={query.get('To', '').replace('+', '%2B')}&PageSize={size}&Page={page + 1}"
        return web.json_response(
            {
                "messages": [_shown(m, sid) for m in part],
                "page": page,
                "page_size": size,
                "next_page_uri": path if more else None,
            }
        )

    async def _get(self, request: web.Request) -> web.Response:
        message = self._store.by_id.get(request.match_info["id"])
        return (
            _error(404, 20404, "not found")
            if message is None
            else web.json_response(_shown(message, request.match_info["sid"]))
        )

    async def _account(self, request: web.Request) -> web.Response:
        if not request.headers.get("Authorization", "").startswith("Basic "):
            return _error(401, 20003, "Authenticate")
        return web.json_response(
            {"sid": request.match_info["sid"], "status": "active", "friendly_name": "sandbox", "type": "Full"}
        )

    async def _numbers(self, request: web.Request) -> web.Response:
        number = request.query.get("PhoneNumber", "")
        row = {"sid": "PN" + "0" * 32, "phone_number": number, "sms_url": self._inbound_url(), "sms_method": "POST"}
        return web.json_response({"incoming_phone_numbers": [row] if number else [], "page": 0, "next_page_uri": None})

    async def _service(self, request: web.Request) -> web.Response:
        return web.json_response(
            {
                "sid": request.match_info["service"],
                "inbound_request_url": self._inbound_url() or None,
                "inbound_method": "POST",
                "use_inbound_webhook_on_number": False,
                "status_callback": None,
            }
        )

    def _inbound_url(self) -> str:
        return "" if self._caller is None else self._caller.webhooks.url("twilio", "/inbound") or ""


def _code(rule: Rule) -> int:
    """Return the code to answer with; a rule for all providers may have Resend's name in its place."""
    if rule.code is not None and rule.code.isdigit():
        return int(rule.code)
    return {429: 20429, 401: 20003}.get(rule.status or 0, 20500)


def _validate(form: Mapping[str, str]) -> web.Response | None:
    checks = [
        (not form.get("To"), 21604, "A 'To' phone number is required"),
        (E164.fullmatch(form.get("To", "")) is None, 21211, "Invalid 'To' Phone Number"),
        (not (form.get("From") or form.get("MessagingServiceSid")), 21603, "A 'From' phone number is required"),
        (not form.get("Body"), 21602, "Message body is required"),
        (
            len(form.get("Body", "")) > BODY_CHARACTERS,
            21617,
            "The concatenated message body exceeds the 1600 character limit",
        ),
    ]
    for is_wrong, code, message in checks:
        if is_wrong:
            return _error(400, code, message)
    validity = form.get("ValidityPeriod")
    if validity is not None and not (validity.isdigit() and 1 <= int(validity) <= LONGEST_VALIDITY_S):
        return _error(400, 21620, "ValidityPeriod must be 1 to 36000")
    return None


def _shown(message: Message, account: str) -> dict[str, Any]:
    created = format_datetime(datetime.fromtimestamp(message.at_ms // 1000, UTC))
    service = message.sender if message.sender.startswith("MG") else None
    return {
        "sid": message.id,
        "account_sid": account,
        "status": "accepted" if service else "queued",
        "to": message.to,
        "from": None if service else message.sender,
        "messaging_service_sid": service,
        "body": message.text,
        "direction": "outbound-api",
        "num_segments": "1",
        "date_created": created,
        "date_updated": created,
        "date_sent": None,
        "error_code": None,
        "error_message": None,
        "price": None,
        "uri": f"/2010-04-01/Accounts/{account}/Messages/{message.id}.json",
    }


def _error(status: int, code: int, message: str, headers: dict[str, str] | None = None) -> web.Response:
    body = {
        "code": code,
        "message": message,
        "more_info": f"https://www.twilio.com/docs/errors/{code}",
        "status": status,
    }
    return web.json_response(body, status=status, headers=headers)
