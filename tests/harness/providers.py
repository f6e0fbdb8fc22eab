"""The three providers as servers on a loopback port: they accept, drop answers, delay, reset and refuse when told."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import ClassVar
from urllib.parse import parse_qs

import orjson
from aiohttp import web


@dataclass
class Mood:
    """What becomes of a request that sends. One mood is used up per request; afterwards all is well."""

    accepts: bool = True
    answers: bool = True
    status: int | None = None
    body: object = None
    headers: dict = field(default_factory=dict)
    late: asyncio.Event | None = None


DROPPED = Mood(answers=False)
"""Accepted, the answer lost."""
RESET = Mood(accepts=False, answers=False)
"""Read, not accepted, reset."""


def refusing(status, body=None, **headers):
    return Mood(accepts=False, status=status, body=body, headers={k.replace("_", "-"): v for k, v in headers.items()})


class FakeProvider:
    """What all three have in common. `accepted` are the messages; `posts` the raw requests that send."""

    key: ClassVar[dict[str, str]]
    accepted_status = 200

    def __init__(self, now_ms):
        self.now_ms = now_ms
        self.moods: list[Mood] = []
        self.accepted: list[dict] = []
        self.posts: list[tuple[str, dict, bytes]] = []
        self.gets: list[str] = []
        self.lookup: Mood | None = None
        """For questions; stays until taken back."""
        self.on_post = lambda: None
        self.stuck: asyncio.Event | None = None
        self.base_url = ""

    async def start(self):
        app = web.Application(client_max_size=64 * 2**20)
        app.router.add_post("/{path:.*}", self._post)
        app.router.add_get("/{path:.*}", self._get)
        self._runner = web.AppRunner(app, keepalive_timeout=30, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.port = self._runner.addresses[0][1]
        self.base_url = f"http://127.0.0.1:{self.port}"

    async def stop(self):
        await self._runner.cleanup()

    async def hang_up(self):
        """Close every idle connection, as servers do."""
        for connection in list(self._runner.server.connections):
            connection.force_close()
        for _ in range(20):  # turns of the loop: both ends see the end of the stream
            await asyncio.sleep(0)
        assert not self._runner.server.connections

    def has_key(self, request):
        return all(request.headers.get(name) == value for name, value in self.key.items())

    async def _post(self, request):
        body = await request.read()
        self.on_post()
        self.posts.append((request.path_qs, request.headers, body))
        mood = self.moods.pop(0) if self.moods else Mood()
        if not self.has_key(request):
            return answering(401, self.error(401))
        if mood.late is not None:
            await mood.late.wait()
        if mood.status is not None:
            return answering(mood.status, mood.body, mood.headers)
        answer = self.accept(request, body) if mood.accepts else None
        if not mood.answers:
            request.transport.abort()
            return web.Response()
        return answering(self.accepted_status, answer) if not isinstance(answer, web.Response) else answer

    async def _get(self, request):
        self.gets.append(request.path_qs)
        if self.stuck is not None:
            await self.stuck.wait()
        if not self.has_key(request):
            return answering(401, self.error(401))
        if self.lookup is not None and not self.is_state(request):
            if not self.lookup.answers:
                request.transport.abort()
            return answering(self.lookup.status or 200, self.lookup.body, self.lookup.headers)
        return self.look_up(request)

    def is_state(self, request):
        return False


def answering(status, body=None, headers=None):
    if isinstance(body, bytes):
        return web.Response(status=status, body=body, headers=headers)
    raw = b"" if body is None else orjson.dumps(body)
    return web.Response(status=status, body=raw, headers=headers, content_type="application/json")


class FakeWaha(FakeProvider):
    key: ClassVar = {"X-Api-Key": "waha-secret"}
    accepted_status = 201

    def __init__(self, now_ms, engine):
        super().__init__(now_ms)
        self.engine = engine
        self.status = "WORKING"

    def error(self, status):
        return {"message": "Unauthorized", "statusCode": status}

    def is_state(self, request):
        return request.path.startswith("/api/sessions/")

    def accept(self, request, body):
        said = orjson.loads(body)
        number = len(self.accepted)
        theirs = said.get("id") if self.engine in ("NOWEB", "GOWS") else None
        message = {
            "id": theirs or f"3EB0{number:018X}",
            "chat": said["chatId"],
            "body": said["text"],
            "fromMe": True,
            "timestamp": self.now_ms() // 1000,
        }
        self.accepted.append(message)
        full = f"true_{message['chat']}_{message['id']}"
        return {
            "GOWS": {"id": full, "_data": {}},
            "NOWEB": {
                "key": {"remoteJid": "1@s.whatsapp.net", "fromMe": True, "id": message["id"]},
                "status": "PENDING",
            },
            "WEBJS": {"id": {"fromMe": True, "remote": message["chat"], "id": message["id"], "_serialized": full}},
            "WPP": {"id": full, "body": message["body"], "fromMe": True, "ack": 0},
        }[self.engine]

    def look_up(self, request):
        parts = request.path.strip("/").split("/")
        if parts[1] == "sessions":
            return answering(200, {"name": parts[2], "status": self.status, "engine": {"engine": self.engine}})
        if parts[3] == "all":
            found = [each for each in self.accepted if each["id"] == parts[5]]
            return (
                answering(200, self.shown(found[0]))
                if found
                else answering(404, {"message": "Message not found", "error": "Not Found", "statusCode": 404})
            )
        query = request.query
        found = [
            self.shown(each)
            for each in reversed(self.accepted)
            if each["chat"] == parts[3] and each["timestamp"] >= int(query["filter.timestamp.gte"])
        ]
        start = int(query["offset"])
        return answering(200, found[start : start + int(query["limit"])])

    def shown(self, message):
        return {**message, "id": f"true_{message['chat']}_{message['id']}"}


class FakeResend(FakeProvider):
    key: ClassVar = {"Authorization": "Bearer re_secret"}

    def __init__(self, now_ms):
        super().__init__(now_ms)
        self.keys: dict[str, tuple[bytes, object]] = {}
        self.may_read = True

    def error(self, status):
        return {"statusCode": status, "name": "missing_api_key", "message": "Missing API key"}

    def accept(self, request, body):
        key = request.headers["Idempotency-Key"]
        if key in self.keys:
            known, answer = self.keys[key]
            if known != body:
                return answering(
                    409, {"statusCode": 409, "name": "invalid_idempotent_request", "message": "other payload"}
                )
            return answer
        said = orjson.loads(body)
        emails = said if isinstance(said, list) else [said]
        rows = []
        for email in emails:
            rows.append({"id": f"e-{len(self.accepted)}"})
            self.accepted.append({**email, **rows[-1]})
        answer = {"data": rows} if isinstance(said, list) else rows[0]
        self.keys[key] = (body, answer)
        return answer

    def look_up(self, request):
        if not self.may_read:
            return answering(401, {"statusCode": 401, "name": "restricted_api_key", "message": "sending only"})
        return answering(200, {"data": [{"name": "example.com", "status": "verified"}]})


class FakeTwilio(FakeProvider):
    key: ClassVar = {"Authorization": "Basic QUMxOnR3aWxpby1zZWNyZXQ="}
    accepted_status = 201
    page = 7

    def error(self, status):
        return {"code": 20003, "message": "Authenticate", "status": status}

    def accept(self, request, body):
        said = {name: values[0] for name, values in parse_qs(body.decode()).items()}
        message = {
            "sid": f"SM{len(self.accepted):032x}",
            "to": said["To"],
            "from": said.get("From"),
            "body": said["Body"],
            "messaging_service_sid": said.get("MessagingServiceSid"),
            "direction": "outbound-api",
            "status": "queued",
            "date_created": formatdate(self.now_ms() / 1000),
            "date_sent": None,
        }
        self.accepted.append(message)
        return message

    def look_up(self, request):
        if request.path == "/2010-04-01/Accounts/AC1.json":
            return answering(200, {"sid": "AC1", "status": "active"})
        found = [each for each in reversed(self.accepted) if each["to"] == request.query["To"]]
        start = int(request.query.get("Page", 0)) * self.page
        more = f"{request.path}?To=%2B{request.query['To'][1:]}&Page={start // self.page + 1}"
        return answering(
            200,
            {
                "messages": found[start : start + self.page],
                "page": start // self.page,
                "uri": request.path_qs,
                "next_page_uri": more if start + self.page < len(found) else None,
            },
        )
