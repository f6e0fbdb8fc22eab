"""Rules that make the sandbox delay, refuse, lose or garble answers; the first rule that matches applies."""

from __future__ import annotations

import asyncio
import random  # noqa: TID251 - seeded, so that a run can be repeated
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from pipeline.sandbox.plans import FORGERIES, LIDS, MOST_REPEATS, OUTCOMES, CallbackPlan, any_of

if TYPE_CHECKING:
    from collections.abc import Mapping

MAGIC = re.compile(r"#fail-(once|twice|always)\b")
"""A mark in a message's text: its first attempts are refused with a transient error."""
MAGIC_TIMES = {"once": 1, "twice": 2, "always": 1_000_000}


@dataclass(slots=True)
class Rule:
    """One fault and the requests it applies to; see `docs/sandbox.md`."""

    provider: str | None = None
    what: str = "send"
    """`send`, `ask` for look-ups, `session`, or `callback` for what is called back about an accepted message."""
    to: str | None = None
    text: str | None = None
    """A part of the message's text."""
    probability: float = 1.0
    times: int | None = None
    """Number of requests it still applies to; None: until it is deleted."""
    delay_ms: int = 0
    """Delay before the request is validated."""
    status: int | None = None
    """Status of the answer; the request is not accepted."""
    code: str | None = None
    """The provider's error code or name."""
    headers: dict[str, str] | None = None
    drop: str | None = None
    """`before`: close the connection, accept nothing. `after`: accept, then close it."""
    status_after: int | None = None
    """Status of the answer after the request was accepted."""
    delay_after_ms: int = 0
    """Delay between acceptance and answer."""
    limit: int | None = None
    """Requests accepted per `per_ms`; the others get `status` (default 429)."""
    per_ms: int = 1_000
    answer: str | None = None
    """Name of an answer in `ANSWERS`, sent with `status` or the status of a success."""
    accept: bool = False
    """With `answer`: accept the request first."""
    plan: CallbackPlan | None = None
    """With `callback`: what is called back, and how."""
    seen_ms: list[int] = field(default_factory=list)


ANSWERS: Final[dict[str, tuple[bytes, str]]] = {
    "page": (b"<!doctype html><title>Sign in</title><h1>Welcome to the network</h1>", "text/html"),
    "error": (b'{"error": "as told"}', "application/json"),
    "other": (b'{"status": "ok", "service": "gateway"}', "application/json"),
    "false": (b"false", "application/json"),
    "empty": (b"", "text/plain"),
    "cut": (b'{"id": "true_', "application/json"),
    "list": (b'{"messages": {}, "data": {}}', "application/json"),
}
"""Answers of a proxy, and malformed answers of a provider: body and content type."""
PROVIDERS: Final = ("waha", "resend", "twilio")
LONGEST_MS: Final = 86_400_000


class BadRule(ValueError):
    """A member is unknown or wrong; the message names it, the value found and the values allowed."""


def _one_of(*allowed: str) -> tuple[Any, str]:
    return (lambda value: value in allowed, ", ".join(allowed))


def _whole(least: int, most: int) -> tuple[Any, str]:
    return (lambda value: type(value) is int and least <= value <= most, f"a whole number from {least} to {most}")


_TEXT: Final = (lambda value: isinstance(value, str), "text")
_YES_NO: Final = (lambda value: isinstance(value, bool), "true or false")
_MS: Final = _whole(0, LONGEST_MS)
_SHARE: Final = (lambda value: type(value) in (int, float) and 0 <= value <= 1, "a number from 0 to 1")
_CODE: Final = (lambda value: type(value) is int or isinstance(value, str), "text or a whole number")
MEMBERS: Final[dict[str, tuple[Any, str]]] = {
    "provider": _one_of(*PROVIDERS),
    "what": _one_of("send", "ask", "session", "callback"),
    "to": _TEXT,
    "text": _TEXT,
    "probability": _SHARE,
    "times": _whole(0, 1_000_000_000),
    "delay_ms": _MS,
    "status": _whole(200, 599),
    "code": _CODE,
    "headers": (
        lambda value: isinstance(value, dict) and all(map(_is_header, value.items())),
        "a map of text, without line breaks",
    ),
    "drop": _one_of("before", "after"),
    "status_after": _whole(200, 599),
    "delay_after_ms": _MS,
    "limit": _whole(0, 1_000_000),
    "per_ms": _whole(1, LONGEST_MS),
    "seed": _whole(-(2**63), 2**63),
    "answer": _one_of(*ANSWERS),
    "accept": _YES_NO,
}
"""Each member of a rule: a check of its value, and the allowed values in words."""
_CHOICE: Final = ("provider", "what", "to", "text", "probability", "times", "seed")
HOW: Final[dict[str, tuple[Any, str]]] = {
    "delay_ms": _MS,
    "within_ms": _MS,
    "repeat": _whole(1, MOST_REPEATS),
    "loss": _SHARE,
    "forge": _one_of(*any_of(FORGERIES)),
    "lid": _one_of(*LIDS),
}
"""Members that say how a callback comes, of a message or of an inbound one."""
CALLBACK_MEMBERS: Final[dict[str, tuple[Any, str]]] = {
    **{name: MEMBERS[name] for name in _CHOICE},
    "outcome": _one_of(*any_of(OUTCOMES)),
    "code": _CODE,
    **HOW,
    "before_answer": _YES_NO,
    "reply": _TEXT,
    "quote": _YES_NO,
}
"""The members of a rule for callbacks, in the same form."""


def _is_header(pair: tuple[object, object]) -> bool:
    return all(isinstance(each, str) and each.isprintable() for each in pair)


def checked(raw: object, members: Mapping[str, tuple[Any, str]] = MEMBERS) -> dict[str, Any]:
    """Return `raw` without its null members. Raises BadRule for an unknown member or a wrong value."""
    if not isinstance(raw, dict):
        raise BadRule("a JSON object is expected")
    for name, value in raw.items():
        if name not in members:
            raise BadRule(f"{name!r} is unknown; allowed: {', '.join(members)}")
        is_right, allowed = members[name]
        if value is not None and not is_right(value):
            raise BadRule(f"{name} is {value!r}; allowed: {allowed}")
    return {name: value for name, value in raw.items() if value is not None}


class Rules:
    """The rules in force."""

    def __init__(self) -> None:
        self._rules: list[Rule] = []
        self._dice = random.Random(1)

    def add(self, raw: object) -> None:
        """Add a rule. Raises BadRule for an unknown member or a wrong value."""
        is_callback = isinstance(raw, dict) and raw.get("what") == "callback"
        told = checked(raw, CALLBACK_MEMBERS if is_callback else MEMBERS)
        seed, code = told.pop("seed", None), told.get("code")
        if told.get("provider") == "twilio" and code is not None and not str(code).isdigit():
            raise BadRule(f"code is {code!r}; allowed with twilio: a whole number")
        told = told if code is None else {**told, "code": str(code)}
        self._rules.append(_callback_rule(told) if is_callback else Rule(**told))
        if seed is not None:
            self._dice.seed(seed)

    def clear(self) -> None:
        """Delete all rules."""
        self._rules.clear()

    def pick(self, provider: str, what: str, to: str, text: str, now_ms: int) -> Rule | None:
        """Return the first rule that matches the request, or None, and reduce its `times` by one."""
        for rule in self._rules:
            if rule.what != what or rule.provider not in (None, provider) or rule.to not in (None, to):
                continue
            if (rule.text is not None and rule.text not in text) or rule.times == 0:
                continue
            if rule.limit is not None and not _is_over(rule, now_ms):
                continue
            if rule.plan is not None and not rule.plan.fits(provider):
                continue
            if rule.probability < 1 and self._dice.random() >= rule.probability:
                continue
            if rule.times is not None:
                rule.times -= 1
            return rule
        return None


def _callback_rule(told: dict[str, Any]) -> Rule:
    """Return a rule for callbacks. Raises BadRule for what its provider cannot do."""
    plan = CallbackPlan(**{name: value for name, value in told.items() if name not in _CHOICE})
    provider = told.get("provider")
    if provider is not None and not plan.fits(provider):
        allowed = f"outcome {', '.join(OUTCOMES[provider])}; forge {', '.join(FORGERIES[provider])}"
        raise BadRule(f"outcome or forge is none of {provider}'s; allowed: {allowed}")
    if not any(plan.fits(each) for each in PROVIDERS):
        raise BadRule("outcome and forge fit no provider together; allowed: see docs/sandbox.md")
    return Rule(**{name: value for name, value in told.items() if name in _CHOICE}, plan=plan)


def _is_over(rule: Rule, now_ms: int) -> bool:
    """Count a request against the rule's limit; return whether it exceeds it."""
    rule.seen_ms = [at for at in rule.seen_ms if at > now_ms - rule.per_ms]
    if len(rule.seen_ms) >= (rule.limit or 0):
        rule.status = rule.status or 429
        return True
    rule.seen_ms.append(now_ms)
    return False


def odd(rule: Rule | None, *, accepted: bool = False, status: int = 200) -> web.Response | None:
    """Return the rule's unusual answer, with `status` unless the rule has its own; None without one."""
    if rule is None or rule.answer is None or rule.accept is not accepted:
        return None
    body, kind = ANSWERS[rule.answer]
    return web.Response(status=rule.status or status, body=body, content_type=kind, headers=rule.headers)


def hang_up(request: web.Request) -> web.Response:
    """Close the connection without an answer."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=500)


async def before(rule: Rule | None) -> bool:
    """Wait for the rule's delay; return whether the connection must be closed now."""
    if rule is not None and rule.delay_ms:
        await asyncio.sleep(rule.delay_ms / 1000)
    return rule is not None and rule.drop == "before"


async def after(request: web.Request, rule: Rule | None, answer: web.Response) -> web.Response:
    """Return the answer to an accepted request, as the rule delays, replaces or drops it."""
    if rule is None:
        return answer
    if rule.delay_after_ms:
        await asyncio.sleep(rule.delay_after_ms / 1000)
    if rule.drop == "after":
        return hang_up(request)
    if (strange := odd(rule, accepted=True, status=answer.status)) is not None:
        return strange
    if rule.status_after is not None:
        return web.json_response({"message": "something went wrong afterwards"}, status=rule.status_after)
    return answer
