"""Resend: batches with idempotency keys, single e-mails with attachments (providers: resend.com/docs, OpenAPI 1.5)."""

from __future__ import annotations

import re
import uuid
from typing import TYPE_CHECKING, Any

import orjson
from aiohttp import web

from pipeline.sandbox.rules import MAGIC, MAGIC_TIMES, after, before, hang_up, odd
from pipeline.sandbox.store import Message, Store

if TYPE_CHECKING:
    from pipeline.sandbox.caller import Caller
    from pipeline.sandbox.rules import Rule, Rules

MOST = 100
KEY_MS = 24 * 3_600_000
JUDGES_BYTES = (400, 422)
"""Bytes that were accepted once are not wrong now: such a refusal cannot answer a replay."""
TAG = re.compile(r"[A-Za-z0-9_-]{1,256}")
STATUS_NAMES = {
    400: "validation_error",
    401: "missing_api_key",
    403: "invalid_api_key",
    404: "not_found",
    409: "resource_locked",
    422: "validation_error",
    429: "rate_limit_exceeded",
    500: "application_error",
    503: "service_unavailable",
}


class Resend:
    """Resend's API under a prefix."""

    def __init__(self, store: Store, rules: Rules, caller: Caller | None = None) -> None:
        self._store = store
        self._rules = rules
        self._caller = caller

    def routes(self, prefix: str) -> list[web.RouteDef]:
        """Return the routes."""
        return [
            web.post(f"{prefix}/emails/batch", self._batch),
            web.post(f"{prefix}/emails", self._single),
            web.get(f"{prefix}/emails/{{id}}", self._get),
            web.get(f"{prefix}/domains", self._domains),
            web.get(f"{prefix}/webhooks", self._webhooks),
        ]

    async def _batch(self, request: web.Request) -> web.Response:
        return await self._send(request, is_batch=True)

    async def _single(self, request: web.Request) -> web.Response:
        return await self._send(request, is_batch=False)

    async def _send(self, request: web.Request, *, is_batch: bool) -> web.Response:
        body = await request.read()
        mails = _parse(body, is_batch=is_batch)
        count = len(mails) if isinstance(mails, list) else 0
        arrival = self._store.arrive("resend", _key_of(request), count, request.headers.get("Idempotency-Key"))
        first: Any = mails[0] if mails else {}
        text = body.decode("utf-8", "replace")
        rule = self._rules.pick("resend", "send", _first_to(first), text, self._store.now_ms())
        if await before(rule):
            return hang_up(request)
        answer = self._judge(request, body, mails, rule, is_batch=is_batch)
        if self._caller is not None:
            await self._caller.before_answer()
        arrival.status = answer.status
        return await after(request, rule, answer) if answer.status == 200 else answer  # noqa: PLR2004

    def _judge(
        self, request: web.Request, body: bytes, mails: list[Any] | None, rule: Rule | None, *, is_batch: bool
    ) -> web.Response:
        if not _key_of(request):
            return _error(401, "missing_api_key", "Missing API key in the authorization header")
        if (strange := odd(rule)) is not None:
            return strange
        key = request.headers.get("Idempotency-Key")
        known = None if key is None else self._store.by_key.get(key)
        if (
            rule is not None
            and rule.status is not None
            and rule.answer is None
            and not (known is not None and rule.status in JUDGES_BYTES)
        ):
            return _error(
                rule.status, rule.code or STATUS_NAMES.get(rule.status, "application_error"), "as told", rule.headers
            )
        if (refused := self._magic(mails or [])) is not None:
            return refused
        if key is not None and not 1 <= len(key) <= 256:  # noqa: PLR2004
            return _error(400, "invalid_idempotency_key", "The key must be between 1-256 chars")
        if known is not None and self._store.now_ms() - known[0] < KEY_MS:
            if known[1] != body:
                return _error(
                    409, "invalid_idempotent_request", "Same idempotency key used with a different request payload"
                )
            return web.json_response(known[2])
        wrong = _validate(mails, is_batch=is_batch)
        if wrong is not None:
            return wrong
        answer = self._accept(mails or [], key, is_batch=is_batch)
        if key is not None:
            self._store.by_key[key] = (self._store.now_ms(), body, answer)
        return web.json_response(answer)

    def _magic(self, mails: list[Any]) -> web.Response | None:
        for mail in mails:
            said = (
                f"{mail.get('subject', '')} {mail.get('html', '')} {mail.get('text', '')}"
                if isinstance(mail, dict)
                else ""
            )
            if (found := MAGIC.search(said)) is not None:
                mark = ("resend", said)
                self._store.tries[mark] += 1
                if self._store.tries[mark] <= MAGIC_TIMES[found[1]]:
                    return _error(409, "resource_locked", "The resource is locked, try again")
        return None

    def _accept(self, mails: list[Any], key: str | None, *, is_batch: bool) -> Any:
        ids = []
        for mail in mails:
            to = mail["to"] if isinstance(mail["to"], str) else mail["to"][0]
            message = Message(
                "resend",
                str(uuid.UUID(self._store.new_id())),
                to,
                mail.get("html") or mail.get("text") or "",
                mail["from"],
                self._store.now_ms(),
                mail["subject"],
                key,
                {tag["name"]: tag["value"] for tag in mail.get("tags", [])},
                {
                    "attachments": [a.get("filename") for a in mail.get("attachments", [])],
                    "text": mail.get("text"),
                    "headers": mail.get("headers"),
                    "reply_to": mail.get("reply_to"),
                },
            )
            ids.append({"id": self._store.accept(message).id})
        return {"data": ids} if is_batch else ids[0]

    async def _get(self, request: web.Request) -> web.Response:
        message = self._store.by_id.get(request.match_info["id"])
        if message is None:
            return _error(404, "not_found", "Email not found")
        return web.json_response(
            {
                "object": "email",
                "id": message.id,
                "to": [message.to],
                "from": message.sender,
                "subject": message.subject,
                "last_event": "sent",
            }
        )

    async def _domains(self, request: web.Request) -> web.Response:
        if not _key_of(request):
            return _error(401, "missing_api_key", "Missing API key")
        return web.json_response({"data": [{"id": "d1", "name": "example.com", "status": "verified"}]})

    async def _webhooks(self, request: web.Request) -> web.Response:
        if not _key_of(request):
            return _error(401, "missing_api_key", "Missing API key")
        rows = [] if self._caller is None else self._caller.webhooks.at_resend()
        return web.json_response({"object": "list", "has_more": False, "data": rows})


def _parse(body: bytes, *, is_batch: bool) -> list[Any] | None:
    try:
        datum = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    return (datum if isinstance(datum, list) else None) if is_batch else [datum]


def _validate(mails: list[Any] | None, *, is_batch: bool) -> web.Response | None:
    if not mails or not all(isinstance(mail, dict) for mail in mails):
        return _error(
            422,
            "validation_error",
            "The body must be an array of e-mails" if is_batch else "The body must be an e-mail",
        )
    if len(mails) > MOST:
        return _error(422, "validation_error", "The batch must contain at most 100 e-mails")
    for at, mail in enumerate(mails):
        for field in ("from", "to", "subject"):
            if not mail.get(field):
                return _error(422, "missing_required_field", f"Missing `{field}` field at {at}")
        if not (mail.get("html") or mail.get("text")):
            return _error(422, "missing_required_field", f"Missing `html` or `text` field at {at}")
        if is_batch and mail.get("attachments"):
            return _error(422, "validation_error", "Attachments are not supported in a batch")
        if "@" not in str(mail["from"]):
            return _error(422, "invalid_from_address", "Invalid `from` field")
        to = mail["to"] if isinstance(mail["to"], list) else [mail["to"]]
        if not all(isinstance(each, str) and "@" in each for each in to):
            return _error(422, "validation_error", f"Invalid `to` field at {at}")
        for tag in mail.get("tags", []):
            if not (TAG.fullmatch(tag.get("name", "")) and TAG.fullmatch(tag.get("value", ""))):
                return _error(
                    422, "validation_error", "Tags should only contain ASCII letters, numbers, underscores, or dashes"
                )
    return None


def _key_of(request: web.Request) -> str:
    kind, _, key = request.headers.get("Authorization", "").partition(" ")
    return key if kind == "Bearer" else ""


def _first_to(mail: Any) -> str:
    to = mail.get("to", "") if isinstance(mail, dict) else ""
    return str(to[0] if isinstance(to, list) and to else to)


def _error(status: int, name: str, message: str, headers: dict[str, str] | None = None) -> web.Response:
    return web.json_response({"statusCode": status, "message": message, "name": name}, status=status, headers=headers)
