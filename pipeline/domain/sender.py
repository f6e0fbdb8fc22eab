"""The port to a provider: what every sender offers to a lane."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pipeline.domain.callback import CallbackSetup
    from pipeline.domain.verdict import Resolution, Verdict
    from pipeline.domain.work import Claim, Request, Work


LastLook = Callable[[], bool]
"""Whether the body of a request may be written now: asked once, when the connection stands."""


def nothing_forbids() -> bool:
    """Return that a body may be written: where no order can concern it."""
    return True


class CheckFailed(Exception):
    """The account cannot be used; the message is one line: what is wrong and how to fix it."""


class CheckDoubtful(Exception):
    """The account answers, but may refuse what is sent; the message is one line: why, and how to fix it."""


@runtime_checkable
class RevealsNumbers(Protocol):
    """A sender whose provider may know the number behind an account that hides it."""

    async def people_behind(self, lid: str, privacy_key: bytes) -> tuple[str, ...]:
        """Return the hashes of the number behind an account; () while the provider does not tell."""


class Sender(Protocol):
    """One account at one provider. Calls and questions may run side by side."""

    @property
    def replays(self) -> bool:
        """Whether `ask` sends the request again; then window, limit and lease apply as to a call."""

    async def open(self) -> None:
        """Create the HTTP client inside the running loop. Opens no connection."""

    async def close(self) -> None:
        """Close all connections; a call still under way ends as not begun or unknown."""

    def request(
        self, works: Sequence[Work], claim_id: str, lease_until_ms: int, window_closes_ms: int | None
    ) -> Request:
        """Return the request that sends `works`, the same bytes for the same arguments. Pure.

        `lease_until_ms` is the latest instant at which it may begin; `window_closes_ms` the true close of the window
        it begins in, None without one.
        """

    async def call(self, claim: Claim, may_begin: LastLook = nothing_forbids) -> Verdict:
        """Send the claim's bytes; the body is written strictly before `claim.lease_until_ms` and if `may_begin`, or never.

        What the network does is a verdict, not an exception. Cancelled, it may have sent: the claim stays open.
        """

    async def ask(self, claim: Claim, known_ids: frozenset[str], may_begin: LastLook = nothing_forbids) -> Resolution:
        """Return what the provider knows about a claim whose outcome is unknown.

        `known_ids` are provider message ids that belong to other touches with the same address and text. A sender
        that `replays` sends the same bytes again under the claim's (renewed) lease, if `may_begin`.
        """

    async def check(self) -> str:
        """Return one line on the account; sends nothing. Raises CheckFailed, CheckDoubtful."""

    async def callback_setup(self, url: str) -> CallbackSetup:
        """Return what is set at the provider, beside `url`: `<public_url>/callbacks/<provider>/<sender>`. Changes nothing."""
