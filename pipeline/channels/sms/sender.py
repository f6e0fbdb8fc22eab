"""SMS through Twilio: plain HTTP for what sends, Twilio's library for what reads."""

from __future__ import annotations

import logging
from base64 import b64encode
from typing import TYPE_CHECKING, Final

from twilio.base.exceptions import TwilioException, TwilioRestException
from twilio.http import AsyncHttpClient
from twilio.http.response import Response
from twilio.rest import Client

from pipeline.channels.http import Clock, HttpAnswer, Unreached, Wire, retry_after_s
from pipeline.channels.sms import payload, resolve, setup, verdict
from pipeline.channels.words import http_words
from pipeline.domain.sender import CheckFailed, LastLook, nothing_forbids
from pipeline.domain.verdict import AskLater, Resolution, Verdict

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import httpx

    from pipeline.domain.account import TwilioAccount
    from pipeline.domain.callback import CallbackSetup
    from pipeline.domain.work import Claim, Request, Work

MOST_PAGES = 40
"""20,000 messages to one number are no answer."""


class TwilioSender:
    """A Twilio number, or a Messaging Service."""

    replays: Final = False

    def __init__(
        self,
        account: TwilioAccount,
        *,
        request_timeout_ms: int,
        now_ms: Clock,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._account = account
        self._now_ms = now_ms
        pair = f"{account.account_sid}:{account.auth_token.reveal()}".encode()
        key = {"Authorization": f"Basic {b64encode(pair).decode('ascii')}"}

        def wire(base_url: str) -> Wire:
            return Wire(base_url, key, request_timeout_ms=request_timeout_ms, now_ms=now_ms, transport=transport)

        self._wire = wire(account.base_url)
        self._service_wire = wire(setup.service_url(account.base_url))
        self._library = _library(account, self._wire)

    async def open(self) -> None:
        """Make ready to call."""
        await self._wire.open()

    async def close(self) -> None:
        """Close all connections."""
        await self._wire.close()

    def request(
        self, works: Sequence[Work], claim_id: str, lease_until_ms: int, window_closes_ms: int | None
    ) -> Request:
        """Return the request that sends the one touch of `works`; Twilio knows no claim."""
        del claim_id
        return payload.build(works, self._account, lease_until_ms, window_closes_ms)

    async def call(self, claim: Claim, may_begin: LastLook = nothing_forbids) -> Verdict:
        """Send the claim's bytes."""
        # Not `messages.create_async`: it encodes its own form, and the claim's bytes are what a look-up compares
        # with; it also costs three times the CPU time and hides the answer's headers.
        request = payload.with_login(claim.request, self._account.status_callback)
        answer = await self._wire.post(request, claim.lease_until_ms, may_begin=may_begin)
        return verdict.judge(answer, self._now_ms()) if isinstance(answer, HttpAnswer) else answer

    async def ask(self, claim: Claim, known_ids: frozenset[str], may_begin: LastLook = nothing_forbids) -> Resolution:
        """Look for the claim's message among those to its number, all pages."""
        # Not `messages.page_async`: it takes any list in an answer for the messages.
        del may_begin  # a look-up sends nothing
        asked = resolve.question(claim)
        messages: list[resolve.Message] = []
        url = resolve.list_path(asked)
        try:
            for _ in range(MOST_PAGES):
                answer = await self._wire.get(url)
                page = resolve.page_of(answer)
                if page is None:
                    return self._ask_later(answer)
                messages += page.messages
                url = page.next_url
                if not url:
                    return resolve.first_match(messages, asked, known_ids)
        except Unreached as error:
            return AskLater(f"the look-up was not answered: {error}")
        return AskLater("there are too many messages to this number to tell")

    async def check(self) -> str:
        """Ask for the account. Raises CheckFailed."""
        sid, url = self._account.account_sid, self._account.base_url
        try:
            found = await self._library.api.accounts(sid).fetch_async()
        except Unreached as error:
            raise CheckFailed(f"Twilio at {url} cannot be reached ({error}); check base_url") from error
        except TwilioRestException as error:
            fix = "check account_sid and auth_token" if error.status in (401, 403, 404) else "try again later"
            raise CheckFailed(f"Twilio at {url}: {error.code}: {error.msg}; {fix}") from error
        except (TwilioException, ValueError, TypeError, AttributeError) as error:
            raise CheckFailed(f"Twilio at {url}: no account in its answer; check base_url") from error
        if found.sid != sid or found.status is None:
            raise CheckFailed(f"Twilio at {url}: no account in its answer; check base_url")
        if found.status != "active":
            raise CheckFailed(f"Twilio at {url}: account {sid} is {found.status}; see its console")
        sends_as = self._account.messaging_service_sid or self._account.from_
        return f"Twilio at {url}: account {sid} is active, sends as {sends_as}"

    async def callback_setup(self, url: str) -> CallbackSetup:
        """Return how the number, or the Messaging Service, agrees with `url`."""
        if self._account.messaging_service_sid is None:
            return await setup.look(self._wire, self._account, url)
        await self._service_wire.open()
        try:
            return await setup.look(self._service_wire, self._account, url)
        finally:
            await self._service_wire.close()

    def _ask_later(self, answer: HttpAnswer) -> AskLater:
        return AskLater(f"the look-up answered {http_words(answer)}", retry_after_s(answer.headers, self._now_ms()))


class _TwilioHttpClient(AsyncHttpClient):  # type: ignore[misc]
    """Twilio's library over our wire: its own ignores timeouts and would retry what must not be repeated."""

    def __init__(self, wire: Wire) -> None:
        super().__init__(logging.getLogger("twilio"), is_async=True, timeout=None)
        self._wire = wire

    async def request(  # noqa: PLR0917  the library's signature
        self,
        method: str,
        uri: str,
        params: Mapping[str, str | int] | None = None,
        data: object = None,
        headers: Mapping[str, str] | None = None,
        auth: object = None,
        timeout: float | None = None,  # noqa: ASYNC109
        allow_redirects: bool = False,
    ) -> Response:
        """Ask over the wire, which knows the credentials. Raises Unreached."""
        del data, auth, timeout, allow_redirects
        if method.upper() != "GET":
            raise NotImplementedError("the library only reads: what sends goes out under a claim")
        answer = await self._wire.get(uri, params, headers)
        return Response(answer.status, answer.body.decode("utf-8", "replace"), answer.headers)


def _library(account: TwilioAccount, wire: Wire) -> Client:
    client = Client(account.account_sid, account.auth_token.reveal(), http_client=_TwilioHttpClient(wire))
    client.edge = client.region = None  # from the environment: they would rewrite the host we are configured with
    client.api.base_url = account.base_url
    return client
