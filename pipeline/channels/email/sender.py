"""E-mail through Resend: frozen batches under their Idempotency-Key."""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final

import resend
from resend.exceptions import ResendError

from pipeline.channels.email import payload, resolve, setup, verdict
from pipeline.channels.http import Clock, HttpAnswer, Unreached, Wire
from pipeline.domain.sender import CheckDoubtful, CheckFailed, LastLook, nothing_forbids

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import httpx

    from pipeline.domain.account import ResendAccount
    from pipeline.domain.callback import CallbackSetup
    from pipeline.domain.verdict import Paused, Resolution, Unbegun, Unknown, Verdict
    from pipeline.domain.work import Claim, Request, Work

SEND_ONLY = "restricted_api_key"
"""Error type for a key that may only send; such a key is sufficient."""


class ResendSender:
    """A Resend account; of its `addresses` the first is used where a touch names none."""

    replays: Final = True

    def __init__(
        self,
        account: ResendAccount,
        addresses: Sequence[str],
        *,
        request_timeout_ms: int,
        now_ms: Clock,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._account = account
        self._addresses = tuple(addresses)
        self._now_ms = now_ms
        key = {"Authorization": f"Bearer {account.api_key.reveal()}"}
        self._wire = Wire(
            account.base_url, key, request_timeout_ms=request_timeout_ms, now_ms=now_ms, transport=transport
        )

    async def open(self) -> None:
        """Make ready to call."""
        await self._wire.open()

    async def close(self) -> None:
        """Close all connections."""
        await self._wire.close()

    def request(
        self, works: Sequence[Work], claim_id: str, lease_until_ms: int, window_closes_ms: int | None
    ) -> Request:
        """Return the request that sends `works`; lease and window have no place in it."""
        del lease_until_ms, window_closes_ms
        return payload.build(works, claim_id, self._addresses[0])

    async def call(self, claim: Claim, may_begin: LastLook = nothing_forbids) -> Verdict:
        """Send the claim's bytes under its key."""
        # Not `resend.Batch.send_async`: it encodes its own JSON, and a replay must be the claim's bytes, also after
        # an upgrade of the library. It also hides whether anything was sent behind one error code.
        answer = await self._post(claim, may_begin)
        if not isinstance(answer, HttpAnswer):
            return answer
        return verdict.judge(answer, len(claim.works), self._now_ms(), is_mixed=_is_mixed(claim))

    async def ask(self, claim: Claim, known_ids: frozenset[str], may_begin: LastLook = nothing_forbids) -> Resolution:
        """Send the same bytes under the same key again, within the claim's renewed lease; never past 23 h."""
        del known_ids
        late = resolve.too_late(claim, self._now_ms())
        if late is not None:
            return late
        answer = await self._post(claim, may_begin)
        return resolve.judge(answer, len(claim.works), self._now_ms()) if isinstance(answer, HttpAnswer) else answer

    async def _post(self, claim: Claim, may_begin: LastLook) -> HttpAnswer | Paused | Unbegun | Unknown:
        key = {"Idempotency-Key": claim.request.handle}
        return await self._wire.post(claim.request, claim.lease_until_ms, key, may_begin=may_begin)

    async def check(self) -> str:
        """Ask for the account's domains. Raises CheckFailed; CheckDoubtful if it has not verified that of a `from`."""
        url = self._account.base_url
        try:
            with _speaking_through(self._wire):
                found = await resend.Domains.list_async()
        except ResendError as error:
            if error.error_type == SEND_ONLY:
                return f"Resend at {url}: the key may send only, which is enough"
            raise CheckFailed(f"Resend at {url}: {error.message}; {_mend(str(error.code))}") from error
        rows = found.get("data") if isinstance(found, dict) else None
        if not isinstance(rows, list) or not all(isinstance(each, dict) and "name" in each for each in rows):
            raise CheckFailed(f"Resend at {url}: no list of domains in its answer; check base_url")
        domains = ", ".join(f"{each['name']} ({each.get('status')})" for each in rows)
        told = f"Resend at {url}: {domains or 'no domain'}"
        strange = self._unverified({str(each["name"]).lower() for each in rows if each.get("status") == "verified"})
        # Resend tells its domains in pages; what is not on the first may be on another.
        if strange and found.get("has_more") is not True:
            raise CheckDoubtful(
                f"{told}; of `from` it has not verified {', '.join(strange)}, and refuses what is sent so"
            )
        return told

    def _unverified(self, verified: set[str]) -> list[str]:
        """Return the domains of our addresses that are neither verified nor below one that is."""
        domains = {address.rpartition("@")[2].rstrip(">").lower() for address in self._addresses}
        return sorted(
            domain for domain in domains if not any(domain == each or domain.endswith(f".{each}") for each in verified)
        )

    async def callback_setup(self, url: str) -> CallbackSetup:
        """Return how the account's webhooks agree with `url`."""
        return await setup.look(self._wire, url)


class _ResendHttpClient(resend.AsyncHTTPClient):
    """HTTP client for the resend library that uses the calling sender's connection; the library's own is global to the process."""

    async def request(  # noqa: PLR0917  the library's signature
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        json: object = None,
        files: object = None,
        data: object = None,
    ) -> tuple[bytes, int, Mapping[str, str]]:
        """Ask over the present wire; the sender's key wins over the library's."""
        del json, files, data
        if method.upper() != "GET":
            raise NotImplementedError("the library only reads: what sends goes out under a claim")
        wire = _WIRE.get()
        said = {name: value for name, value in headers.items() if name != "Authorization"}
        try:
            answer = await wire.get(url.removeprefix(resend.api_url), headers=said)
        except Unreached as error:
            raise ResendError(0, "unreached", f"cannot be reached ({error})", "") from error
        return answer.body, answer.status, answer.headers


_WIRE: ContextVar[Wire] = ContextVar("wire")
_CLIENT = _ResendHttpClient()


@contextmanager
def _speaking_through(wire: Wire) -> Iterator[None]:
    """Let the library speak through `wire` in this task."""
    resend.default_async_http_client = _CLIENT
    token = _WIRE.set(wire)
    try:
        yield
    finally:
        _WIRE.reset(token)


def _is_mixed(claim: Claim) -> bool:
    """Whether its e-mails come from several addresses: one of these may be refused, and not the others."""
    return len({work.content.from_ for work in claim.works}) > 1


def _mend(code: str) -> str:
    return "check api_key" if code in ("401", "403") else "check base_url and that it is up"
