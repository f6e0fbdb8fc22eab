"""The port to a provider: what a lane may ask of a sender, whoever it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pipeline.domain.verdict import Resolution, Verdict
    from pipeline.domain.work import Claim, Request, Work


class CheckFailed(Exception):
    """The account cannot be used; the message is one line with what is wrong and how it is mended."""


class Sender(Protocol):
    """One account at one provider. Calls and questions may run side by side."""

    @property
    def replays(self) -> bool:
        """Whether `ask` may send: then window, limit and lease apply to it as to a call."""

    async def open(self) -> None:
        """Make ready to call, inside the running loop. Reaches out to nobody."""

    async def close(self) -> None:
        """Close all connections; a call still under way ends as not begun or unknown."""

    def request(
        self, works: Sequence[Work], claim_id: str, lease_until_ms: int, window_closes_ms: int | None
    ) -> Request:
        """Return the request that sends `works`, the same bytes for the same arguments. Pure.

        `lease_until_ms` is the latest instant at which it may begin; `window_closes_ms` the true close of the window
        it begins in, None without one.
        """

    async def call(self, claim: Claim) -> Verdict:
        """Send the claim's bytes; the body is written strictly before `claim.lease_until_ms`, or never.

        What the network does is a verdict, not an exception. Cancelled, it may have sent: the claim stays open.
        """

    async def ask(self, claim: Claim, known_ids: frozenset[str]) -> Resolution:
        """Ask what became of a claim whose outcome is unknown.

        `known_ids` are provider message ids that belong to other touches with the same address and text. A sender
        that `replays` sends the same bytes again under the claim's (renewed) lease.
        """

    async def check(self) -> str:
        """Return one line on the account; sends nothing. Raises CheckFailed."""
