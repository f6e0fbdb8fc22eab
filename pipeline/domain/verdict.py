"""What an answer means, as closed sets: the verdict on a call, the resolution of a question."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Sent:
    """The provider accepted; one id per touch in the claim's order (None: accepted, id unknown)."""

    message_ids: tuple[str | None, ...]


@dataclass(frozen=True, slots=True)
class Rejected:
    """Refused for good; nothing was accepted. Every touch of the call is `failed`/`rejected`."""

    code: str
    error: str


@dataclass(frozen=True, slots=True)
class Split:
    """A batch refused as a whole for one of its touches; nothing was accepted. Halve it (a new key is safe)."""

    code: str
    error: str


@dataclass(frozen=True, slots=True)
class Refused:
    """A transient refusal of this touch; nothing was accepted. Counts against `attempts`; back off."""

    code: str
    error: str
    retry_after_s: float | None = None


@dataclass(frozen=True, slots=True)
class Paused:
    """The lane cannot send now (connection, 429, quota, session, credentials, domain, billing); nothing was accepted; counts for nobody."""

    code: str
    error: str
    retry_after_s: float | None = None
    """When the provider said; None leaves it to the breaker's probes."""
    may_be_the_touch: bool = False
    """Nothing says whose fault it is (an error nobody has documented, a country or a recipient the account may not write
    to): the account's, until others of the same sender are sent; then a refusal of this touch, which counts."""


@dataclass(frozen=True, slots=True)
class Unbegun:
    """The request's body was never written because the lease was over. Nothing happened."""


@dataclass(frozen=True, slots=True)
class Unknown:
    """Maybe accepted (lost answer, reset, timeout, 5xx): must be asked, never guessed."""

    code: str
    error: str
    refused: bool = False
    """The provider answered 5xx: counts as a refusal if it turns out that nothing was accepted."""


@dataclass(frozen=True, slots=True)
class Absent:
    """Asked: the provider does not have it. A send is safe."""


@dataclass(frozen=True, slots=True)
class AskLater:
    """Asked: no answer now (still running, provider away). Ask again with back-off."""

    error: str
    retry_after_s: float | None = None


@dataclass(frozen=True, slots=True)
class Unanswerable:
    """Asked: the provider can never tell (a key expired)."""

    error: str


Verdict = Sent | Rejected | Split | Refused | Paused | Unbegun | Unknown
Resolution = Sent | Rejected | Split | Refused | Paused | Unbegun | Unknown | Absent | AskLater | Unanswerable
"""A replay (Resend) answers with a verdict, a look-up (Twilio, WAHA) with Sent, Absent or AskLater."""
