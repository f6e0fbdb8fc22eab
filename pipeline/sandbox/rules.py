"""How the sandbox is told to misbehave: rules, the first that matches counts."""

from __future__ import annotations

import asyncio
import random  # noqa: TID251 - a sandbox's whims, the same in every run
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import Mapping

MAGIC = re.compile(r"#fail-(once|twice|always)\b")
"""In a message's text: its first attempts are refused, as by a provider that has a bad moment."""
MAGIC_TIMES = {"once": 1, "twice": 2, "always": 1_000_000}


@dataclass(slots=True)
class Rule:
    """One way to misbehave; see `docs/sandbox.md`."""

    provider: str | None = None
    what: str = "send"
    """`send`, or `ask` for look-ups."""
    to: str | None = None
    text: str | None = None
    """A part of the text."""
    probability: float = 1.0
    times: int | None = None
    """How often it still applies; None: until it is deleted."""
    delay_ms: int = 0
    """Before anything is judged or accepted."""
    status: int | None = None
    """Answer so, without accepting."""
    code: str | None = None
    """The provider's error code or name."""
    headers: dict[str, str] | None = None
    drop: str | None = None
    """`before`: hang up, accepting nothing. `after`: accept, then hang up."""
    status_after: int | None = None
    """Accept, then answer so."""
    delay_after_ms: int = 0
    """Accept, and answer that much later."""
    limit: int | None = None
    """Take so many requests per `per_ms`, and answer `status` (429) beyond."""
    per_ms: int = 1_000
    seen_ms: list[int] = field(default_factory=list)


class Rules:
    """The rules in force."""

    def __init__(self) -> None:
        self._rules: list[Rule] = []
        self._dice = random.Random(1)

    def add(self, raw: Mapping[str, Any]) -> None:
        """Add a rule. Raises TypeError for an unknown member."""
        self._rules.append(Rule(**{k: v for k, v in raw.items() if k != "seed"}))
        if "seed" in raw:
            self._dice.seed(raw["seed"])

    def clear(self) -> None:
        """Behave again."""
        self._rules.clear()

    def pick(self, provider: str, what: str, to: str, text: str, now_ms: int) -> Rule | None:
        """Return the rule for this request, if any, and use it up by one."""
        for rule in self._rules:
            if rule.what != what or rule.provider not in (None, provider) or rule.to not in (None, to):
                continue
            if (rule.text is not None and rule.text not in text) or rule.times == 0:
                continue
            if rule.limit is not None and not _is_over(rule, now_ms):
                continue
            if rule.probability < 1 and self._dice.random() >= rule.probability:
                continue
            if rule.times is not None:
                rule.times -= 1
            return rule
        return None


def _is_over(rule: Rule, now_ms: int) -> bool:
    """Count a request against a limit; whether it is one too many."""
    rule.seen_ms = [at for at in rule.seen_ms if at > now_ms - rule.per_ms]
    if len(rule.seen_ms) >= (rule.limit or 0):
        rule.status = rule.status or 429
        return True
    rule.seen_ms.append(now_ms)
    return False


def hang_up(request: web.Request) -> web.Response:
    """Close the connection without an answer."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=500)


async def before(rule: Rule | None) -> bool:
    """Delay, and say whether to hang up now."""
    if rule is not None and rule.delay_ms:
        await asyncio.sleep(rule.delay_ms / 1000)
    return rule is not None and rule.drop == "before"


async def after(request: web.Request, rule: Rule | None, answer: web.Response) -> web.Response:
    """Give the answer to what was accepted, or lose it."""
    if rule is None:
        return answer
    if rule.delay_after_ms:
        await asyncio.sleep(rule.delay_after_ms / 1000)
    if rule.drop == "after":
        return hang_up(request)
    if rule.status_after is not None:
        return web.json_response({"message": "something went wrong afterwards"}, status=rule.status_after)
    return answer
