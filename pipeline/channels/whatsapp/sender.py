"""WhatsApp through a session of a WAHA server. WAHA has no client library worth having: plain HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from pipeline.channels.http import Clock, HttpAnswer, Unreached, Wire
from pipeline.channels.whatsapp import payload, resolve, setup, verdict
from pipeline.channels.whatsapp.callback import people_of
from pipeline.channels.words import http_words
from pipeline.domain.sender import CheckFailed, LastLook, nothing_forbids
from pipeline.domain.sender_policy import OWN_IDS
from pipeline.domain.verdict import AskLater, Paused, Resolution, Unbegun, Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence

    import httpx

    from pipeline.domain.account import WahaAccount
    from pipeline.domain.callback import CallbackSetup
    from pipeline.domain.work import Claim, Request, Work

SHORTEST_LOOK_S = 1.0
STATUS_KEPT_MS = 2_000
"""Time for which a session seen WORKING is taken as such. Any other state is asked for before every call, so that the breaker
can close soon."""


class WahaSender:
    """A WhatsApp number: one session of a WAHA server."""

    replays: Final = False

    def __init__(
        self,
        account: WahaAccount,
        *,
        request_timeout_ms: int,
        now_ms: Clock,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._account = account
        self._now_ms = now_ms
        key = {} if account.api_key is None else {"X-Api-Key": account.api_key.reveal()}
        self._wire = Wire(
            account.base_url, key, request_timeout_ms=request_timeout_ms, now_ms=now_ms, transport=transport
        )
        self._working_ms: int | None = None

    async def open(self) -> None:
        """Make ready to call."""
        await self._wire.open()

    async def close(self) -> None:
        """Close all connections."""
        await self._wire.close()

    def request(
        self, works: Sequence[Work], claim_id: str, lease_until_ms: int, window_closes_ms: int | None
    ) -> Request:
        """Return the request that sends the one touch of `works`; lease and window have no place in it."""
        del lease_until_ms, window_closes_ms
        return payload.build(works, claim_id, self._account.session, self._account.engine)

    async def call(self, claim: Claim, may_begin: LastLook = nothing_forbids) -> Verdict:
        """Send the claim's bytes if the session is WORKING and the lease holds."""
        left_ms = claim.lease_until_ms - self._now_ms()
        if left_ms <= 0:
            return Unbegun()
        paused = await self._session_trouble(resolve.question(claim).session, max(left_ms / 1000, SHORTEST_LOOK_S))
        if paused is not None:
            return paused
        answer = await self._wire.post(claim.request, claim.lease_until_ms, may_begin=may_begin)
        if not isinstance(answer, HttpAnswer):
            return answer
        judged = verdict.judge(answer, claim.request.handle, self._now_ms())
        if isinstance(judged, Paused):
            self._working_ms = None
        return judged

    async def ask(self, claim: Claim, known_ids: frozenset[str], may_begin: LastLook = nothing_forbids) -> Resolution:
        """Look the claim's message up; a session that is not WORKING may not know what it sent."""
        del may_begin  # a look-up sends nothing
        asked = resolve.question(claim)
        paused = await self._session_trouble(asked.session)
        if paused is not None:
            return AskLater(paused.error, paused.retry_after_s)
        try:
            if asked.handle and self._account.engine in OWN_IDS:
                return resolve.judge_id(await self._wire.get(resolve.id_path(asked)), asked)
            return await self._ask_chat(asked, known_ids)
        except Unreached as error:
            return AskLater(f"the look-up was not answered: {error}")

    async def people_behind(self, lid: str, privacy_key: bytes) -> tuple[str, ...]:
        """Return the hashes of the number behind an account (`…@lid`); () while WAHA does not tell. Source: WAHA, "LIDs"."""
        session = quote(self._account.session, safe="")
        try:
            answer = await self._wire.get(f"/api/{session}/lids/{quote(lid, safe='')}")
        except Unreached:
            return ()
        return people_of(answer.text("pn"), privacy_key) if answer.is_accepted else ()

    async def check(self) -> str:
        """Return the session's state. Raises CheckFailed."""
        session, url = self._account.session, self._account.base_url
        self._working_ms = None
        paused = await self._session_trouble(session)
        if paused is not None:
            raise CheckFailed(f"WAHA at {url}, session {session}: {paused.error}; {_mend(paused.code)}")
        return f"WAHA at {url}: session {session} is {verdict.WORKING} ({self._account.engine})"

    async def callback_setup(self, url: str) -> CallbackSetup:
        """Return how the session's webhooks agree with `url`."""
        return await setup.look(self._wire, self._account, url)

    async def _session_trouble(self, session: str, within_s: float | None = None) -> Paused | None:
        """Return why the session cannot be used now, or None."""
        now_ms = self._now_ms()
        if self._working_ms is not None and 0 <= now_ms - self._working_ms < STATUS_KEPT_MS:
            return None
        try:
            answer = await self._wire.get(f"/api/sessions/{quote(session, safe='')}", within_s=within_s)
        except Unreached as error:
            return Paused("connection", f"no connection: {error}")
        paused = verdict.judge_session(answer, now_ms) or self._engine_trouble(answer)
        self._working_ms = now_ms if paused is None else None
        return paused

    def _engine_trouble(self, answer: HttpAnswer) -> Paused | None:
        """An engine that ignores our message ids could not be asked by them: a lost answer would become a second send."""
        found = answer.member("engine")
        runs = found.get("engine") if isinstance(found, dict) else None
        wanted = self._account.engine
        if isinstance(runs, str) and wanted in OWN_IDS and runs not in OWN_IDS:
            return Paused("engine", f"the session runs on {runs}, configured is engine = {wanted!r}")
        return None

    async def _ask_chat(self, asked: resolve.WahaLookup, known_ids: frozenset[str]) -> Resolution:
        messages: list[dict[str, object]] = []
        for number in range(resolve.MOST_PAGES):
            answer = await self._wire.get(resolve.chat_path(asked, number * resolve.PAGE))
            page = resolve.page_of(answer)
            if page is None:
                return AskLater(f"the look-up answered {http_words(answer)}")
            messages += page
            if len(page) < resolve.PAGE:
                return resolve.first_match(messages, asked, known_ids)
        return AskLater("the chat has too many messages since the claim to tell")


def _mend(code: str) -> str:
    match code:
        case "401" | "403":
            return "check api_key"
        case "404" | "422":
            return "check the session's name, and that it is created"
        case "session":
            return "start it and scan its code in WAHA's dashboard"
        case "engine":
            return "set the sender's engine to what WAHA runs"
        case _:
            return "check base_url and that WAHA runs"
