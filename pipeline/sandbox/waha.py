"""WAHA 2026.7: sessions, sendText with the caller's message id, look-ups. A repeated id is sent again, as WAHA may do."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import orjson
from aiohttp import web

from pipeline.sandbox.rules import MAGIC, MAGIC_TIMES, after, before, hang_up, odd
from pipeline.sandbox.store import Message, Store

if TYPE_CHECKING:
    from pipeline.sandbox.caller import Caller
    from pipeline.sandbox.rules import Rule, Rules

CREATED = 201
OWN_IDS = ("NOWEB", "GOWS")
WAIT_S = 0.2
"""WAHA itself waits up to 5 s for a session before it answers 422."""


class Waha:
    """WAHA's API under a prefix."""

    def __init__(self, store: Store, rules: Rules, caller: Caller | None = None) -> None:
        self._store = store
        self._rules = rules
        self._caller = caller

    def routes(self, prefix: str) -> list[web.RouteDef]:
        """Return the routes."""
        return [
            web.post(f"{prefix}/api/sendText", self._send),
            web.get(f"{prefix}/api/sessions/{{session}}", self._session),
            web.get(f"{prefix}/api/{{session}}/new-message-id", self._new_id),
            web.get(f"{prefix}/api/{{session}}/chats/{{chat}}/messages", self._messages),
            web.get(f"{prefix}/api/{{session}}/chats/{{chat}}/messages/{{id}}", self._message),
            web.get(f"{prefix}/api/{{session}}/lids/{{lid}}", self._lid),
            web.get(f"{prefix}/api/contacts/check-exists", self._exists),
            web.get(f"{prefix}/ping", self._ping),
        ]

    def _of(self, name: str) -> dict[str, Any]:
        return self._store.sessions.setdefault(name, {"status": "WORKING", "engine": "NOWEB"})

    async def _send(self, request: web.Request) -> web.Response:
        try:
            body = orjson.loads(await request.read())
        except orjson.JSONDecodeError:
            body = {}
        chat, text = str(body.get("chatId", "")), str(body.get("text", ""))
        arrival = self._store.arrive("waha", str(body.get("session", "")))
        rule = self._rules.pick("waha", "send", chat, text, self._store.now_ms())
        if await before(rule):
            return hang_up(request)
        answer = await self._judge(request, body, rule)
        if self._caller is not None:
            await self._caller.before_answer()
        arrival.status = answer.status
        return await after(request, rule, answer) if answer.status == CREATED else answer

    async def _judge(self, request: web.Request, body: dict[str, Any], rule: Rule | None) -> web.Response:
        if not request.headers.get("X-Api-Key"):
            return web.json_response({"message": "Unauthorized", "statusCode": 401}, status=401)
        if (strange := odd(rule, status=CREATED)) is not None:
            return strange
        if rule is not None and rule.status is not None and rule.answer is None:
            return web.json_response(
                {"statusCode": rule.status, "message": "as told"}, status=rule.status, headers=rule.headers
            )
        chat, text, name = str(body.get("chatId", "")), body.get("text"), str(body.get("session", ""))
        if not chat.endswith(("@c.us", "@g.us", "@lid")) or not isinstance(text, str) or not text:
            # No validation there: what is missing breaks inside
            return web.json_response(
                {"statusCode": 500, "exception": {"message": "Cannot read properties of undefined"}}, status=500
            )
        session = self._of(name)
        if session["status"] != "WORKING":
            await asyncio.sleep(WAIT_S)
            return _not_working(name, session["status"])
        if (found := MAGIC.search(text)) is not None:
            mark = ("waha", chat + text)
            self._store.tries[mark] += 1
            if self._store.tries[mark] <= MAGIC_TIMES[found[1]]:
                return web.json_response({"statusCode": 500, "exception": {"message": "rate-overlimit"}}, status=500)
        given = body.get("id") if session["engine"] in OWN_IDS else None
        message = self._store.accept(
            Message(
                "waha",
                given or f"3EB0{self._store.new_id()[:18].upper()}",
                chat,
                text,
                name,
                self._store.now_ms(),
                key=body.get("id"),
            )
        )
        return web.json_response(_shown(message, session["engine"]), status=CREATED)

    async def _session(self, request: web.Request) -> web.Response:
        if not request.headers.get("X-Api-Key"):
            return web.json_response({"message": "Unauthorized", "statusCode": 401}, status=401)
        rule = self._rules.pick("waha", "session", "", "", self._store.now_ms())
        if await before(rule):
            return hang_up(request)
        if (strange := odd(rule)) is not None:
            return strange
        if rule is not None and rule.status is not None:
            return web.json_response({"statusCode": rule.status}, status=rule.status)
        name = request.match_info["session"]
        session = self._of(name)
        return web.json_response(
            {
                "name": name,
                "status": session["status"],
                "engine": {"engine": session["engine"]},
                "me": {"id": "12025550100@c.us"},
                "config": {"webhooks": [] if self._caller is None else self._caller.webhooks.at_waha()},
            }
        )

    async def _new_id(self, _: web.Request) -> web.Response:
        return web.json_response({"id": f"3EB0{self._store.new_id()[:18].upper()}"})

    async def _messages(self, request: web.Request) -> web.Response:
        self._store.asks["waha"] += 1
        rule = self._rules.pick("waha", "ask", request.match_info["chat"], "", self._store.now_ms())
        if await before(rule):
            return hang_up(request)
        if (strange := odd(rule)) is not None:
            return strange
        if rule is not None and rule.status is not None:
            return web.json_response({"statusCode": rule.status}, status=rule.status)
        query, chat = request.query, request.match_info["chat"]
        since_s = int(query.get("filter.timestamp.gte", 0))
        session = request.match_info["session"]  # its own account: it knows nothing of what others sent to that person
        found = [
            m
            for m in reversed(self._store.by_to.get(("waha", chat), []))
            if m.at_ms // 1000 >= since_s and m.sender == session
        ]
        start = int(query.get("offset", 0))
        part = found[start : start + int(query.get("limit", 10))]
        return web.json_response([_listed(m) for m in part])

    async def _message(self, request: web.Request) -> web.Response:
        self._store.asks["waha"] += 1
        rule = self._rules.pick("waha", "ask", request.match_info["chat"], "", self._store.now_ms())
        if await before(rule):
            return hang_up(request)
        if (strange := odd(rule)) is not None:
            return strange
        if rule is not None and rule.status is not None:
            return web.json_response({"statusCode": rule.status}, status=rule.status)
        message = self._store.by_id.get(request.match_info["id"].split("_")[-1])
        if message is None or (message.provider, message.sender) != ("waha", request.match_info["session"]):
            return web.json_response({"statusCode": 404, "message": "Message not found"}, status=404)
        return web.json_response(_listed(message))

    async def _lid(self, request: web.Request) -> web.Response:
        if not request.headers.get("X-Api-Key"):
            return web.json_response({"message": "Unauthorized", "statusCode": 401}, status=401)
        lid = request.match_info["lid"]
        number = None if self._caller is None else self._caller.lids.number(lid)
        return web.json_response({"lid": lid if "@" in lid else f"{lid}@lid", "pn": number})

    async def _exists(self, request: web.Request) -> web.Response:
        return web.json_response({"numberExists": True, "chatId": f"{request.query.get('phone', '').lstrip('+')}@c.us"})

    async def _ping(self, _: web.Request) -> web.Response:
        return web.json_response({"message": "pong"})


def _not_working(name: str, status: str) -> web.Response:
    error = "Session status is not as expected. Try again later or restart the session"
    return web.json_response({"error": error, "session": name, "status": status, "expected": ["WORKING"]}, status=422)


def _shown(message: Message, engine: str) -> dict[str, Any]:
    """Return sendText's answer: every engine has its own format."""
    if engine == "NOWEB":
        return {
            "key": {"remoteJid": message.to.replace("@c.us", "@s.whatsapp.net"), "fromMe": True, "id": message.id},
            "message": {"extendedTextMessage": {"text": message.text}},
            "messageTimestamp": str(message.at_ms // 1000),
            "status": "PENDING",
        }
    if engine == "GOWS":
        return {"id": f"true_{message.to}_{message.id}", "_data": {}}
    return {
        "id": {
            "fromMe": True,
            "remote": message.to,
            "id": message.id,
            "_serialized": f"true_{message.to}_{message.id}",
        },
        "body": message.text,
    }


def _listed(message: Message) -> dict[str, Any]:
    return {
        "id": f"true_{message.to}_{message.id}",
        "timestamp": message.at_ms // 1000,
        "from": "12025550100@c.us",
        "fromMe": True,
        "to": message.to,
        "body": message.text,
        "ack": 1,
        "ackName": "SERVER",
        "hasMedia": False,
    }
