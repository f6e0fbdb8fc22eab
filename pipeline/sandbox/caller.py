"""Calls back: what becomes of each accepted message, and what people answer; each call and its answer is kept."""

from __future__ import annotations

import asyncio
import random  # noqa: TID251 - seeded, so that a run can be repeated
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl

import aiohttp

from pipeline.sandbox.events import events_of
from pipeline.sandbox.inbound import InboundMessage, Lids, inbound_event
from pipeline.sandbox.plans import CallbackPlan
from pipeline.sandbox.signatures import signed

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from typing import Any

    from pipeline.sandbox.rules import Rules
    from pipeline.sandbox.signatures import SandboxEvent
    from pipeline.sandbox.store import Message, Store
    from pipeline.sandbox.webhooks import Webhooks

PATIENCE: Final = aiohttp.ClientTimeout(total=15)
"""Time for an answer, at Resend (Svix) and Twilio."""
CONNECTIONS: Final = 100
RETRIES_S: Final = {"resend": (5, 300, 1_800, 7_200, 18_000, 36_000, 36_000), "waha": (2,) * 15}
"""Waits before each retry, at Resend as its documentation says and at WAHA by default; Twilio's are in the URL's fragment."""
TWILIO_RETRY_S: Final = 1
RETRY_MOST_MS: Final = 60_000
EARLY_S: Final = 2.0
"""The longest that the answer of a send waits for callbacks that are to come before it."""
GOOD: Final = range(200, 300)


@dataclass(slots=True)
class CallbackCall:
    """One callback as it was made."""

    provider: str
    event: str
    message_id: str
    event_id: str
    url: str
    attempt: int
    at_ms: int
    forge: str | None = None
    status: int = 0
    """Of the answer; 0: there was none."""
    took_ms: float = 0.0


class Caller:
    """Makes the callbacks of one sandbox."""

    def __init__(self, store: Store, rules: Rules, webhooks: Webhooks) -> None:
        self.webhooks = webhooks
        self.calls: list[CallbackCall] = []
        self.lids = Lids()
        self.retry_most_ms = RETRY_MOST_MS
        """The longest wait before a retry."""
        self._store, self._rules = store, rules
        self._dice = random.Random(1)
        self._tasks: set[asyncio.Task[None]] = set()
        self._early: list[asyncio.Task[None]] = []
        self._session: aiohttp.ClientSession | None = None

    @property
    def is_on(self) -> bool:
        """Whether anything is called back."""
        return bool(self.webhooks.of)

    @property
    def pending(self) -> int:
        """Callbacks, or chains of them, that are still to be made."""
        return len(self._tasks)

    def accepted(self, message: Message) -> None:
        """Begin what is called back about a message that was accepted just now."""
        if message.provider not in self.webhooks.of:
            return
        rule = self._rules.pick(message.provider, "callback", message.to, message.text, self._store.now_ms())
        plan = CallbackPlan() if rule is None or rule.plan is None else rule.plan
        events = events_of(message, plan, self.webhooks, self._store.now_ms(), self._store.new_id)
        if plan.reply is not None and (answer := self._reply(message, plan)) is not None:
            events.append(answer)
        task = self._begin(self._make(events, plan))
        if plan.before_answer:
            self._early.append(task)

    async def before_answer(self) -> None:
        """Wait for the callbacks that are to come before the answer of the request handled now, `EARLY_S` at most.

        To be called by the handler in the same turn of the event loop in which it accepted the messages.
        """
        early, self._early = self._early, []
        if early:
            await asyncio.wait(early, timeout=EARLY_S)

    def write(self, said: InboundMessage, plan: CallbackPlan) -> bool:
        """Begin to call back a message to us; return whether its provider calls anything back."""
        event = inbound_event(said, self.webhooks, self.lids, self._store.now_ms(), self._store.new_id)
        if event is not None:
            self._begin(self._make([event], plan))
        return event is not None

    async def reset(self) -> None:
        """Forget the calls, and make none of those that are due."""
        self.calls.clear()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def close(self) -> None:
        """End all calls."""
        await self.reset()
        if self._session is not None:
            await self._session.close()

    def _reply(self, message: Message, plan: CallbackPlan) -> SandboxEvent | None:
        is_waha = message.provider == "waha"
        if message.provider == "resend":
            return None
        person = f"+{message.to.partition('@')[0]}" if is_waha else message.to
        said = InboundMessage(
            provider=message.provider,
            person=person,
            text=plan.reply or "",
            account=message.sender if is_waha else message.extra.get("account", ""),
            to=message.sender,
            message_id=self.inbound_id(message.provider),
            lid=plan.lid,
            quotes=message.id if plan.quote else None,
        )
        return inbound_event(said, self.webhooks, self.lids, self._store.now_ms(), self._store.new_id)

    def inbound_id(self, provider: str) -> str:
        """Return an id for a message to us."""
        return f"SM{self._store.new_id()}" if provider == "twilio" else self._store.new_id()[:20].upper()

    def _begin(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _make(self, events: list[SandboxEvent], plan: CallbackPlan) -> None:
        await asyncio.sleep(plan.delay_ms / 1000)
        due = [event for event in events for _ in range(plan.repeat) if self._dice.random() >= plan.loss]
        if plan.within_ms is None:
            for event in due:
                await self._call(event, plan.forge)
            return
        waits = [self._dice.random() * plan.within_ms / 1000 for _ in due]
        await asyncio.gather(*(self._later(event, plan.forge, wait) for event, wait in zip(due, waits, strict=True)))

    async def _later(self, event: SandboxEvent, forge: str | None, wait_s: float) -> None:
        await asyncio.sleep(wait_s)
        await self._call(event, forge)

    async def _call(self, event: SandboxEvent, forge: str | None) -> None:
        """Call once; what fails is called again meanwhile, as the provider does."""
        status = await self._attempt(event, forge, 1)
        waits = [] if forge is not None or status in GOOD else _retry_waits_s(event, status)
        if waits:
            self._begin(self._retry(event, waits))

    async def _retry(self, event: SandboxEvent, waits_s: list[float]) -> None:
        for attempt, wait_s in enumerate(waits_s, 2):
            await asyncio.sleep(min(wait_s, self.retry_most_ms / 1000))
            if await self._attempt(event, None, attempt) in GOOD:
                return

    async def _attempt(self, event: SandboxEvent, forge: str | None, attempt: int) -> int:
        now_ms, began = self._store.now_ms(), time.monotonic()
        call = CallbackCall(
            event.provider, event.name, event.message_id, event.event_id, event.url, attempt, now_ms, forge
        )
        request = signed(event, self.webhooks.of[event.provider], forge, now_ms)
        url = self.webhooks.reached_at(event.url.partition("#")[0])
        try:
            async with self._client().post(
                url, data=request.body, headers=request.headers, allow_redirects=False
            ) as answer:
                await answer.read()
                call.status = answer.status
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
            call.status = 0
        call.took_ms = round((time.monotonic() - began) * 1000, 1)
        self.calls.append(call)
        return call.status

    def _client(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=CONNECTIONS), timeout=PATIENCE, cookie_jar=aiohttp.DummyCookieJar()
            )
        return self._session


def _retry_waits_s(event: SandboxEvent, status: int) -> list[float]:
    """Return the waits before each retry after an answer (0: none).

    Source of Twilio's: "Webhooks connection overrides"; once more and only without connection, unless the URL says.
    """
    if event.provider != "twilio":
        return list(RETRIES_S[event.provider])
    said = dict(parse_qsl(event.url.partition("#")[2]))
    count = int(said["rc"]) if said.get("rc", "") in tuple("012345") else 1
    words = said.get("rp", "ct").split(",")
    word = "ct" if status == 0 else f"{status // 100}xx"
    return [TWILIO_RETRY_S] * count if word in words or "all" in words else []
