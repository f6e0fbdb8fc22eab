"""What the pipeline must know of a channel. `pipeline/channels/<name>/spec.py` has the values, its registry the list."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from pipeline.domain.callback import CallbackPath
    from pipeline.domain.phone import PhoneCheck
    from pipeline.domain.sender import Sender
    from pipeline.domain.sender_policy import SenderPolicy
    from pipeline.domain.work import Channel


class Normalise(Protocol):
    """Brings a recipient's address into the form that is sent."""

    def __call__(self, text: str, *, region: str | None, numbers: PhoneCheck) -> str:
        """Return the address in `text`. Raises BadAddress.

        `region` and `numbers` are the channel's configuration for phone numbers; other channels ignore them.
        """


class MakeSender(Protocol):
    """Makes the client of one configured sender."""

    def __call__(
        self, account: Any, policy: SenderPolicy, *, request_timeout_ms: int, now_ms: Callable[[], int]
    ) -> Sender:
        """Return the client, not opened yet. `account` is the type that the channel's settings make."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelSpec:
    """One channel: its addresses, its limits, how an unknown outcome is resolved, and its client."""

    channel: Channel
    message: str
    """What one touch is called in an error: "an SMS"."""
    provider: str
    """Name of the provider, for the log."""
    own_host: str | None
    """Host of the provider's API; None: each customer runs a server."""
    normalise: Normalise
    longest_text: int | None
    """Most characters of a composed text; None: only the size of a record limits it."""
    replays: bool
    """True: an unknown outcome is resolved by the same request under the same key; False: by a look-up."""
    compares_text: Callable[[SenderPolicy | None], bool]
    """Whether look-ups of this sender compare address and text; None: the lane has no sender any more."""
    window_margin_ms: int
    """Time before a window closes that already counts as closed."""
    make_sender: MakeSender
    opt_out_codes: frozenset[str] = frozenset()
    """Codes of a rejection that say that the recipient does not want to be written to."""
    unreachable_codes: frozenset[str] = frozenset()
    """Codes of a rejection that say that this address can never be reached."""
    callback_paths: tuple[CallbackPath, ...] = ()
    """Where the provider calls back, behind `/callbacks/<provider>/<sender>`."""
